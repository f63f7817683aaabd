"""How much the client's peak memory grows while one million no-op calls go through map over a generator.

python benchmarks/memory.py [--short] [--calls 1000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import command, envs
from harness.peers import BURSTY, Peer, Workload
from harness.rounds import Cell, Session
from harness.targets import Verdict

CALLS = 1_000_000
SHORT_CALLS = 200_000
LIMIT_MB = 150.0
ROUNDS = 3
PROMISE = f"the client's peak grows by less than {LIMIT_MB:g} MB, even in the worst round"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_options(parser)
    parser.add_argument("--calls", type=int)
    return parser.parse_args(arguments)


def sample(peer: Peer, workload: Workload, rounds: int, python_of: Callable[[Peer], Path]) -> Cell:
    """A new client for each sample: a peak that was reached once hides the next."""
    whole = Cell()
    for _ in range(rounds):
        session = Session(python_of, envs.ENVS / "logs", warm=False)
        cell = session.measure([peer], [workload], 1)[workload.name][peer.name]
        whole.samples += cell.samples
        whole.details += cell.details
        whole.reason = whole.reason or cell.reason
    return dataclasses.replace(whole, note=throughput(whole, workload.calls))


def throughput(cell: Cell, calls: int) -> str:
    rates = [calls / detail["seconds"] for detail in cell.details]
    return f"{min(rates):,.0f} to {max(rates):,.0f} calls a second" if rates else ""


def judge(cell: Cell) -> Verdict:
    if not cell.samples or cell.reason:
        return Verdict("memory", PROMISE, "UNKNOWN", note="bursty did not run")
    worst = max(cell.samples)
    return Verdict("memory", PROMISE, "PASS" if worst < LIMIT_MB else "MISS", worst, LIMIT_MB, worst / LIMIT_MB)


def main(arguments: Sequence[str] | None = None, python_of: Callable[[Peer], Path] = command.environment) -> int:
    options = parse(arguments)
    calls = options.calls or (SHORT_CALLS if options.short else CALLS)
    workload = Workload(
        "memory", f"growth of the client's peak memory, {calls:,} no-op calls from a generator", calls, "MB"
    )
    run = command.Run(options, "memory")
    cell = sample(BURSTY, workload, options.rounds or (1 if options.short else ROUNDS), python_of)
    table = {workload.name: {BURSTY.name: cell}}
    return run.finish(table, [BURSTY], [workload], [judge(cell)], {}, f"bursty's memory: {calls:,} calls in a stream")


if __name__ == "__main__":
    sys.exit(main())
