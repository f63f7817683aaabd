"""What the benchmarks' commands have in common: options, and the way from a table to the terminal and to files."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import envs, report
from harness.peers import Peer, Workload
from harness.rounds import Table
from harness.targets import Verdict

REQUIREMENTS = Path(__file__).resolve().parents[1] / "peers"
EXPLANATION = "Medians of the rounds. Ratios and shares are taken within each round, and their median is shown."
Facts = Mapping[str, Mapping[str, Any]]
Extra = tuple[str, report.Row, Sequence[report.Row]]
Draw = Callable[[report.Row, Sequence[report.Row]], str]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--short", action="store_true", help="less of everything: proves that it runs")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--output", type=Path, default=report.RESULTS, help="folder of the results")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 unless every target is met (always when bursty fails)"
    )


def names_of(known: Sequence[Peer] | Sequence[Workload]) -> Callable[[str], list[str]]:
    """The type of an option that takes some of their names."""

    def names(text: str) -> list[str]:
        wanted = [name for name in text.split(",") if name]
        unknown = sorted(set(wanted) - {one.name for one in known})
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
        return wanted

    return names


def say(text: str) -> None:
    print(report.clean(text), flush=True)


def environment(peer: Peer) -> Path:
    return envs.ensure(REQUIREMENTS / f"{peer.env}.txt")


def python_of(peers: Sequence[Peer], short: bool, needs: Sequence[str]) -> Callable[[Peer], Path]:
    """Where each peer's Python is. A short run is content with this one if it can import all of ``needs``: it only
    shows that the benchmark runs."""
    if short and all(importlib.util.find_spec(name) for name in needs):
        return lambda peer: Path(sys.executable)
    install(peers)
    return environment


def install(peers: Sequence[Peer]) -> None:
    """Now, so that no peer is measured beside an installation. What fails is said in the peer's rows."""
    for name in dict.fromkeys(peer.env for peer in peers):
        say(f"environment {name}")
        try:
            envs.ensure(REQUIREMENTS / f"{name}.txt")
        except envs.EnvFailed as error:
            say(f"  {error}")


def end_in_order() -> None:
    """On SIGTERM too, so that no server stays."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Run:
    """One run of one benchmark, from its first second to its report."""

    def __init__(self, options: argparse.Namespace, name: str) -> None:
        self.options = options
        self.name = f"{name}-short" if options.short else name
        self.facts = report.machine_facts()
        self._begun = time.monotonic()

    def finish(
        self,
        table: Table,
        peers: Sequence[Peer],
        workloads: Sequence[Workload],
        verdicts: Sequence[Verdict],
        started: Facts,
        title: str,
        more: Sequence[Extra] = (),
        shown: Sequence[Workload] | None = None,
    ) -> int:
        """Print, write, and give the exit code. ``more``: tables of the benchmark's own. ``shown``: the workloads that
        have a table each (``None``: all)."""
        self.facts["load after"] = report.load()
        self.facts["took"] = f"{time.monotonic() - self._begun:.0f} s"
        named = [titled(peer, started) for peer in peers]
        units = {workload.name: workload.unit for workload in workloads}
        rows = [report.verdict_row(verdict, units[verdict.workload]) for verdict in verdicts]
        tables = workloads if shown is None else shown
        said = sections(table, named, tables, report.text_table, "") + drawn(more, report.text_table, "")
        say("\n" + "\n\n".join([*said, "targets\n\n" + report.text_table(report.VERDICT_HEADER, rows)]))
        page = [
            f"# {title}",
            "\n".join(f"- {line}" for line in report.facts_lines(self.facts)),
            f"{EXPLANATION} Raw samples: `{self.name}.json`.",
            "## Targets",
            report.markdown_table(report.VERDICT_HEADER, rows),
            *sections(table, named, tables, report.markdown_table, "## "),
            *drawn(more, report.markdown_table, "## "),
        ]
        data = {"facts": self.facts, "peers": started, "verdicts": [dataclasses.asdict(one) for one in verdicts]}
        files = report.write(self.name, self.options.output, {**data, "workloads": cells(table)}, "\n\n".join(page))
        say("\nwritten: " + ", ".join(str(file) for file in files))
        missed = self.options.strict and any(verdict.status != "PASS" for verdict in verdicts)
        return int(missed or subject_failed(table))


def subject_failed(table: Table) -> bool:
    """A peer may fail; bursty may not."""
    return any(bool(cell.reason) for row in table.values() for name, cell in row.items() if report.is_subject(name))


def titled(peer: Peer, started: Facts) -> Peer:
    """With its version, and what it was set to."""
    facts = started.get(peer.name, {})
    version = str(facts.get("version", "")) if peer.env != "stdlib" else ""
    others = [str(value) for key, value in facts.items() if key != "version"]
    return dataclasses.replace(peer, title=" ".join([peer.title, *filter(None, [version, *others])]))


def sections(table: Table, peers: Sequence[Peer], workloads: Sequence[Workload], draw: Draw, mark: str) -> list[str]:
    return [
        f"{mark}{one.title}\n\n{draw(report.HEADER, report.workload_rows(one, peers, table.get(one.name, {})))}"
        for one in workloads
    ]


def drawn(tables: Sequence[Extra], draw: Draw, mark: str) -> list[str]:
    return [f"{mark}{title}\n\n{draw(header, rows)}" for title, header, rows in tables]


def cells(table: Table) -> dict[str, dict[str, Any]]:
    return {
        workload: {peer: {"median": cell.value, **dataclasses.asdict(cell)} for peer, cell in row.items()}
        for workload, row in table.items()
    }
