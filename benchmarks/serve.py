"""bursty's endpoints beside other servers: an echo and a forest, at 1, 8 and 64 connections.

python benchmarks/serve.py [--short] [--peers bursty,fastapi] [--workloads echo,forest] [--connections 1,64]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import command, hosting, report
from harness.envs import EnvFailed
from harness.loads import BUSY, WRK, closed_loop
from harness.peers import Peer, Workload
from harness.process import PeerFailed
from harness.rounds import Cell, Table, order
from harness.serve_targets import CONNECTIONS, KINDS, METRICS, TARGETS, workloads
from harness.served import ECHO, ITEM, NEEDS, SERVED, Served
from harness.targets import Verdict, judge

ROUNDS = 3
SECONDS = 5.0
SHORT_SECONDS = 1.0
SHORT_CONNECTIONS = (1, 64)
WARM_SECONDS = 1.0
Say = Callable[[str], None]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_options(parser)
    known = [one.peer for one in SERVED]
    parser.add_argument("--peers", type=command.names_of(known), help=", ".join(peer.name for peer in known))
    kinds = [Workload(kind, kind, 0) for kind in KINDS]
    parser.add_argument("--workloads", type=command.names_of(kinds), default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--connections", type=counts, help="1,8,64")
    parser.add_argument("--seconds", type=float, help="of each sample")
    options = parser.parse_args(arguments)
    options.connections = options.connections or list(SHORT_CONNECTIONS if options.short else CONNECTIONS)
    return options


def counts(text: str) -> list[int]:
    return [int(one) for one in text.split(",")]


def chosen(options: argparse.Namespace) -> list[Served]:
    if options.peers:
        return [one for one in SERVED if one.name in options.peers]
    return [one for one in SERVED if one.peer.cheap or not options.short]


class Measuring:
    """Each round, one server after the other: it is started, checked, asked all there is to ask, and stopped, so that
    none of them is there while another one is measured."""

    def __init__(self, options: argparse.Namespace, truth: hosting.Truth, python_of: Callable[[Peer], Path]) -> None:
        self.table: Table = {}
        self.kinds: Sequence[str] = options.workloads
        self.connections: Sequence[int] = options.connections
        self.seconds: float = options.seconds or (SHORT_SECONDS if options.short else SECONDS)
        self.warm: bool = not options.short
        self.truth = truth
        self.python_of = python_of

    def round(self, peers: Sequence[Served], say: Say) -> None:
        for served in peers:
            say(f"  {served.peer.title}")
            try:
                host = hosting.Host(served, self.python_of(served.peer), self.truth)
            except EnvFailed as error:
                self._fail(served, str(error))
                continue
            try:
                host.ready()
                self._samples(host, served)
            except PeerFailed as error:
                self._fail(served, error.reason)
            finally:
                host.stop()

    def _samples(self, host: hosting.Host, served: Served) -> None:
        for kind in filter(served.takes_part, self.kinds):
            path, bodies = asked(served, kind, self.truth)
            for connections in self.connections:
                begin = time.monotonic()
                cell = self.cell(f"{kind} {connections}", served.name)
                try:
                    if self.warm:
                        closed_loop(host.port, path, bodies, connections, WARM_SECONDS)
                    pace = closed_loop(host.port, path, bodies, connections, self.seconds)
                except PeerFailed as error:
                    cell.reason = cell.reason or error.reason
                    continue
                cell.samples.append(pace.value)
                cell.details.append(dataclasses.asdict(pace))
                cell.spent.append(time.monotonic() - begin)
                if pace.generator > BUSY:
                    cell.note = "the generator was as busy as it can be"

    def _fail(self, served: Served, reason: str) -> None:
        for kind in filter(served.takes_part, self.kinds):
            for connections in self.connections:
                cell = self.cell(f"{kind} {connections}", served.name)
                cell.reason = cell.reason or reason

    def cell(self, workload: str, name: str) -> Cell:
        return self.table.setdefault(workload, {}).setdefault(name, Cell())


def asked(served: Served, kind: str, truth: hosting.Truth) -> tuple[str, list[bytes]]:
    wire = served.wire
    if kind == ECHO:
        return wire.echo_path, [wire.item(ITEM)]
    return wire.path, [wire.prediction(row) for row in truth.rows]


def derive(table: Table) -> None:
    """Times of answers are workloads of their own."""
    for workload in list(table):
        for metric in METRICS:
            table[f"{workload} {metric}"] = {
                name: Cell([detail[metric] for detail in cell.details], [], [], cell.reason)
                for name, cell in table[workload].items()
            }


def verdicts(table: Table, peers: Sequence[Served]) -> list[Verdict]:
    series = report.series_of(table, [])
    names = {one.name for one in peers}
    return [judge(target, series) for target in TARGETS if target.workload in table and target.subject in names]


def overview(table: Table, peers: Sequence[Served], options: argparse.Namespace) -> list[command.Extra]:
    """One table for each kind: all peers, and what each gave at so many connections."""
    return [(KINDS[kind], *_overview(table, peers, kind, options.connections)) for kind in options.workloads]


def _overview(
    table: Table, peers: Sequence[Served], kind: str, connections: Sequence[int]
) -> tuple[report.Row, list[report.Row]]:
    columns = [column for one in connections for column in (f"{one}: /s", f"{one}: p50", f"{one}: p99")]
    rows: list[report.Row] = []
    for served in peers:
        if not served.takes_part(kind):
            continue
        row = [served.peer.title]
        notes: dict[str, None] = {}
        for one in connections:
            cells = [table[name].get(served.name, Cell()) for name in names_of_columns(kind, one)]
            row += [shown(cell, unit) for cell, unit in zip(cells, ("/s", "s", "s"), strict=True)]
            notes |= dict.fromkeys(filter(None, (cells[0].note, report.clean(cells[0].reason))))
        rows.append((*row, "; ".join(notes)))
    return ("peer", *columns, "note"), rows


def names_of_columns(kind: str, connections: int) -> list[str]:
    return [f"{kind} {connections}", *(f"{kind} {connections} {metric}" for metric in METRICS)]


def shown(cell: Cell, unit: str) -> str:
    if cell.value is None:
        return "not run"
    return report.show(cell.value, unit).removesuffix(" /s")


def main(
    arguments: Sequence[str] | None = None,
    python_of: Callable[[Peer], Path] | None = None,
    truth: hosting.Truth | None = None,
) -> int:
    options = parse(arguments)
    peers = chosen(options)
    python_of = python_of or command.python_of([one.peer for one in peers], options.short, NEEDS)
    run = command.Run(options, "serve")
    run.facts["generator"] = "wrk, one thread" if WRK else "its own"
    measuring = Measuring(options, truth or hosting.truth(python_of(peers[0].peer)), python_of)
    run.facts["scikit-learn"] = measuring.truth.version
    rounds = options.rounds or (1 if options.short else ROUNDS)
    for number in range(rounds):
        command.say(f"round {number + 1} of {rounds}")
        measuring.round(order(peers, number), command.say)
    table = measuring.table
    derive(table)
    return run.finish(
        table,
        [one.peer for one in peers],
        workloads(options.workloads, options.connections),
        verdicts(table, peers),
        {},
        "bursty's endpoints beside other servers",
        overview(table, peers, options),
        shown=(),
    )


if __name__ == "__main__":
    command.end_in_order()
    sys.exit(main())
