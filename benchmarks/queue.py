"""bursty's jobs beside other queues, one worker process that makes one run at a time; and lists of many runs.

python benchmarks/queue.py [--short] [--peers bursty,procrastinate] [--workloads drain] [--rounds 5]

Nothing here may need the standard library's module of this name: this file hides it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from harness import command, envs, report, servers
from harness.peers import Peer, Workload
from harness.queues import LIST_TITLE, LISTS, QUEUES, TARGETS, workloads
from harness.rounds import Cell, Session, Table
from harness.targets import Verdict, judge

ROUNDS = 9
SHORT_ROUNDS = 1
BUDGET_SECONDS = 150.0
"""For all rounds of one peer at one workload: the forking worker takes its time."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_options(parser)
    parser.add_argument("--peers", type=command.names_of(QUEUES), help=", ".join(peer.name for peer in QUEUES))
    known = workloads(short=False)
    parser.add_argument("--workloads", type=command.names_of(known), help=", ".join(one.name for one in known))
    return parser.parse_args(arguments)


def derived(table: Table, asked: Sequence[Workload]) -> list[Workload]:
    """The workloads as they are shown: the slow starts are a table of their own."""
    shown: list[Workload] = []
    for workload in asked:
        shown.append(workload)
        if workload.name == "start":
            table["p95"] = {name: slow_starts(cell) for name, cell in table["start"].items()}
            shown.append(Workload("p95", "the same: the 95th percentile of each round", workload.calls))
    return shown


def slow_starts(cell: Cell) -> Cell:
    return Cell([detail["p95"] for detail in cell.details], [], [], cell.reason)


def verdicts(table: Table, peers: Sequence[Peer], asked: Sequence[Workload]) -> list[Verdict]:
    series = report.series_of(table, [])
    chosen = {peer.name for peer in peers}
    names = {workload.name for workload in asked}
    return [judge(target, series) for target in TARGETS if target.workload in names and target.subject in chosen]


def lists(table: Table, peers: Sequence[Peer]) -> list[command.Extra]:
    """Each filter with its median on each database."""
    cells = table.get(LISTS, {})
    taken = {peer.title: medians(cells[peer.name]) for peer in peers if peer.name in cells}
    filters = dict.fromkeys(name for column in taken.values() for name in column)
    rows = [(name, *(report.show(column[name]) if column else "" for column in taken.values())) for name in filters]
    return [(LIST_TITLE, ("filter", *taken), rows)] if rows else []


def medians(cell: Cell) -> dict[str, float]:
    """Of each filter over the rounds."""
    told = [detail["filters"] for detail in cell.details if "filters" in detail]
    return {name: statistics.median(one[name] for one in told) for name in (told[0] if told else ())}


def main(
    arguments: Sequence[str] | None = None,
    python_of: Callable[[Peer], Path] | None = None,
    serve: Callable[[], AbstractContextManager[dict[str, str]]] = servers.running,
) -> int:
    options = parse(arguments)
    peers = [peer for peer in QUEUES if not options.peers or peer.name in options.peers]
    asked = [one for one in workloads(options.short) if not options.workloads or one.name in options.workloads]
    if python_of is None:
        command.install(peers)
    run = command.Run(options, "queue")
    session = Session(python_of or command.environment, envs.ENVS / "logs", budget=BUDGET_SECONDS, say=command.say)
    with serve() as started:
        run.facts |= {"workers": 1, **started}
        session.measure(peers, asked, options.rounds or (SHORT_ROUNDS if options.short else ROUNDS))
    shown = derived(session.table, asked)
    judged = verdicts(session.table, peers, asked)
    more = lists(session.table, peers)
    return run.finish(session.table, peers, shown, judged, session.facts, "bursty's jobs beside other queues", more)


if __name__ == "__main__":
    sys.exit(main())
