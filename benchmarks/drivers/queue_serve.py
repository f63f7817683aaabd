"""What every driver of a queue does: submit runs, have one worker process make them, and measure both ends.

A run tells when it has begun (``queues/beat.py``); times of all processes are by the same clock.
"""

from __future__ import annotations

import os
import random
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import serve
from queues import beat

WAIT_SECONDS = 60.0
STOP_SECONDS = 20.0
PAUSES = (0.02, 0.06)
"""Seconds between one run's end and the next one's submission: the worker is waiting again by then."""


class Queue:
    """A system under test: a queue, and one worker process that makes one run at a time."""

    command: list[str]
    """Starts the worker, which stays until it is told to stop."""

    def __init__(self) -> None:
        self._worker: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="bursty-bench-")
        self.folder = Path(self._folder.name)
        self._given: dict[int, int] = {}
        os.environ[beat.PIPE] = str(self.folder / "beats")
        os.mkfifo(os.environ[beat.PIPE], 0o600)
        self._beats = os.open(os.environ[beat.PIPE], os.O_RDWR | os.O_NONBLOCK)

    def start(self, workers: int) -> serve.Facts:
        """Make its stores. Facts worth printing (its version, what it was set to)."""
        raise NotImplementedError

    def submit(self, number: int) -> None:
        """Queue the no-op run with this number, for good."""
        raise NotImplementedError

    def unfinished(self) -> int:
        """How many runs are queued or running. Raises when one has failed."""
        raise NotImplementedError

    # The worker

    def begin(self) -> None:
        if self._worker is None:
            self._worker = subprocess.Popen(self.command, cwd=self.folder, stdout=sys.stderr)

    def end(self) -> None:
        if self._worker is None:
            return
        self._worker.send_signal(signal.SIGINT)
        try:
            self._worker.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._worker.kill()
            self._worker.wait()
        self._worker = None

    def close(self) -> None:
        self.end()
        self._folder.cleanup()

    # What the runs tell

    def await_beats(self, numbers: set[int]) -> dict[int, int]:
        """When these runs began, in nanoseconds. Any run begins exactly once here, for nothing goes wrong."""
        begun: dict[int, int] = {}
        end = time.monotonic() + WAIT_SECONDS
        while len(begun) < len(numbers):
            ready, _, _ = select.select([self._beats], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{len(numbers) - len(begun)} of {len(numbers)} runs did not begin")
            for number, at in beat.BEAT.iter_unpack(os.read(self._beats, 4096 * beat.BEAT.size)):
                if number not in numbers or number in begun:
                    raise AssertionError(f"run {number} began, which nobody expected")
                begun[number] = at
        return begun

    def await_end(self) -> None:
        """Every run is recorded as done."""
        end = time.monotonic() + WAIT_SECONDS
        while left := self.unfinished():
            if time.monotonic() > end:
                raise TimeoutError(f"{left} runs are not over")
            time.sleep(0.02)


def run_start(queue: Queue, calls: int, seed: int, workers: int) -> serve.Facts:
    """One run after the other, the worker waiting: seconds from before ``submit`` until the run has begun."""
    chance = random.Random(seed)
    taken: list[float] = []
    queue.begin()
    try:
        for number in range(calls + 1):  # the first one waits for the worker's start
            submitted = time.monotonic_ns()
            queue.submit(number)
            taken.append((queue.await_beats({number})[number] - submitted) / 1e9)
            queue.await_end()
            time.sleep(chance.uniform(*PAUSES))
    finally:
        queue.end()
    warm = sorted(taken[1:])
    return {"value": statistics.median(warm), "p95": warm[int(0.95 * (len(warm) - 1))], "first": taken[0]}


def run_drain(queue: Queue, calls: int, seed: int, workers: int) -> serve.Facts:
    """A backlog, then a worker: seconds from one run's begin to the next one's, all that lies between included."""
    for number in range(calls):
        queue.submit(number)
    queue.begin()
    try:
        begun = sorted(queue.await_beats(set(range(calls))).values())
        queue.await_end()
    finally:
        queue.end()
    return {"value": (begun[-1] - begun[0]) / 1e9 / (calls - 1)}


WORKLOADS: serve.Workloads = {"start": run_start, "drain": run_drain}


def server(name: str) -> str:
    """Where a server that all peers share listens (see ``harness/servers.py``)."""
    url = os.environ.get(f"BURSTY_BENCH_{name.upper()}")
    if url is None:
        raise FileNotFoundError(f"{name} is not installed")
    return url


def program(name: str) -> str:
    """A command of this environment."""
    return str(Path(sys.executable).with_name(name))


def main(make: type[Queue], more: serve.Workloads | None = None) -> None:
    serve.main(make, {**WORKLOADS, **(more or {})})
