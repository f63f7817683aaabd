"""A cold start on AWS Lambda's Python runtime: from starting it to the first answer of an endpoint that does nothing.

python benchmarks/coldstart.py [--short] [--rounds 15]

The real awslambdaric, beside a handler that does nothing, against a small Runtime API on loopback.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness import command
from harness.peers import Peer, Workload
from harness.rounds import Cell, Table, order
from harness.targets import Series, Target, judge

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
Function: Any = importlib.import_module("lambda_runtime").Function

ROUNDS = 15
SHORT_ROUNDS = 3
BARE = Peer("bare", "a handler that does nothing", "lambda")
BURSTY = Peer("bursty", "bursty's handler, an endpoint that does nothing", "lambda")
PEERS = (BARE, BURSTY)
HANDLERS = {"bare": "bare.handler", "bursty": "bursty.lambda_handler.handler"}
COLD = Workload("coldstart", "from starting awslambdaric to the first answer", 1)
TARGET = Target(
    "coldstart", "under 1.5 times a bare handler plus 250 ms", lambda r: 1.5 * r.of("coldstart", "bare") + 0.25
)

APP = """
from bursty import App

app = App("cold")

@app.endpoint("/predict", deadline="5 s", auth="public", log=False)
def predict(x: float) -> float:
    return x
"""
BARE_APP = """
def handler(event, context):
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": "1.0", "isBase64Encoded": False}
"""
MANIFEST = """
import json, sys
from bursty.runtime.describe import describe
made = {"format": 1, "app": "cold", "target": "app.py", "path": [""], "describe": describe("app.py")}
open(sys.argv[1], "w").write(json.dumps(made))
"""
EVENT = {
    "version": "2.0",
    "rawPath": "/predict",
    "rawQueryString": "x=1.0",
    "requestContext": {"stage": "$default", "http": {"method": "GET", "path": "/predict"}},
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_options(parser)
    return parser.parse_args(arguments)


def prepare(task: Path, python: Path) -> None:
    """The task folder of both."""
    (task / "app.py").write_text(APP)
    (task / "bare.py").write_text(BARE_APP)
    subprocess.run([python, "-c", MANIFEST, "bursty-manifest.json"], cwd=task, check=True)


def sample(peer: Peer, task: Path, folder: Path, python: Path) -> dict[str, Any]:
    """Seconds until the first answer, and of a warm one after it; memory of all its processes, megabytes."""
    begun = time.monotonic()
    with Function(task, HANDLERS[peer.name], folder=folder, python=str(python), freezes=False) as function:
        first = function.invoke(EVENT)
        cold = function.answered_at - begun
        if first["statusCode"] != 200 or first["body"] != "1.0":
            raise RuntimeError(f"{first}\n{function.log}")
        begun = time.monotonic()
        function.invoke(EVENT)
        warm = function.answered_at - begun
        memory = sum(resident(pid) for pid in function.family()) / (1 << 20)
    return {"cold": cold, "warm": warm, "memory": memory}


def resident(pid: int) -> float:
    """Bytes, shared ones in equal parts where the kernel tells."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def measure(task: Path, folder: Path, python: Path, rounds: int) -> Table:
    table: Table = {COLD.name: {peer.name: Cell() for peer in PEERS}}
    for peer in PEERS:
        sample(peer, task, folder, python)  # files come off the disk once, and are compiled: packages bring bytecode
    for number in range(rounds):
        for peer in order(PEERS, number):
            found = sample(peer, task, folder, python)
            cell = table[COLD.name][peer.name]
            cell.samples.append(found["cold"])
            cell.details.append(found)
    for cell in table[COLD.name].values():
        last = cell.details[-1]
        cell.note = f"warm {1e3 * min(one['warm'] for one in cell.details):.1f} ms, {last['memory']:.0f} MB"
    return table


def main(arguments: Sequence[str] | None = None, python_of: Callable[[Peer], Path] = command.environment) -> int:
    options = parse(arguments)
    run = command.Run(options, "coldstart")
    python = python_of(BURSTY)
    with tempfile.TemporaryDirectory(prefix="bursty-coldstart-") as scratch:
        task = Path(scratch) / "task"
        task.mkdir()
        prepare(task, python)
        rounds = options.rounds or (SHORT_ROUNDS if options.short else ROUNDS)
        table = measure(task, Path(scratch), python, rounds)
    samples = {(COLD.name, name): cell.samples for name, cell in table[COLD.name].items()}
    verdict = judge(TARGET, Series(samples, {}))
    return run.finish(table, PEERS, [COLD], [verdict], {}, "A cold start on AWS Lambda's runtime")


if __name__ == "__main__":
    command.end_in_order()
    sys.exit(main())
