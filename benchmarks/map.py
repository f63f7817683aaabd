"""bursty beside its peers: maps, futures, single calls, arrays, uneven work and cold starts, all with two workers.

python benchmarks/map.py [--short] [--peers ppe,joblib] [--workloads map,call] [--rounds 7]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import command, envs, report
from harness.peers import PEERS, WORKLOADS, Peer, Workload
from harness.rounds import Session
from harness.targets import SUBJECT, TARGETS, Verdict, judge

ROUNDS = 7
SHORT_ROUNDS = 3
SHORT_UNEVEN_ROUNDS = 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_options(parser)
    parser.add_argument("--peers", type=command.names_of(PEERS), help=", ".join(peer.name for peer in PEERS))
    parser.add_argument("--workloads", type=command.names_of(WORKLOADS), help=", ".join(one.name for one in WORKLOADS))
    return parser.parse_args(arguments)


def chosen_peers(options: argparse.Namespace) -> list[Peer]:
    if options.peers:
        return [peer for peer in PEERS if peer.name in options.peers]
    return [peer for peer in PEERS if peer.cheap or not options.short]


def chosen_workloads(options: argparse.Namespace) -> list[Workload]:
    chosen = [one for one in WORKLOADS if not options.workloads or one.name in options.workloads]
    if options.short:
        return [dataclasses.replace(one, rounds=SHORT_UNEVEN_ROUNDS) if one.name == "uneven" else one for one in chosen]
    return chosen


def verdicts(session: Session, peers: Sequence[Peer], workloads: Sequence[Workload]) -> list[Verdict]:
    if SUBJECT not in {peer.name for peer in peers}:
        return []
    series = report.series_of(session.table, [peer.name for peer in peers if peer.aside])
    asked = {workload.name for workload in workloads}
    return [judge(target, series) for target in TARGETS if target.workload in asked]


def main(arguments: Sequence[str] | None = None, python_of: Callable[[Peer], Path] | None = None) -> int:
    options = parse(arguments)
    peers, workloads = chosen_peers(options), chosen_workloads(options)
    if python_of is None:
        command.install(peers)
    run = command.Run(options, "map")
    session = Session(python_of or command.environment, envs.ENVS / "logs", say=command.say)
    session.measure(peers, workloads, options.rounds or (SHORT_ROUNDS if options.short else ROUNDS))
    judged = verdicts(session, peers, workloads)
    return run.finish(session.table, peers, workloads, judged, session.facts, "bursty beside its peers")


if __name__ == "__main__":
    sys.exit(main())
