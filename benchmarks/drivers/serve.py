"""What every driver does: start its peer once, then run the workloads it is asked for and say how long they took.

A driver speaks JSON lines: a question a line on stdin, an answer a line on stdout. Whatever a peer prints
goes to stderr. With ``--cold`` it starts its peer, makes one call, says so at once and ends: the parent holds the
watch.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

import memory_use
import work

Function = Callable[[Any], Any]
Facts = dict[str, Any]
Workloads = Mapping[str, Callable[..., Facts]]
CALL_SECONDS = 3.0
REPEAT_SECONDS = 0.3
MOST_REPEATS = 5


class Peer:
    """A system under test. Each method returns when all values are here, opened and ready to use."""

    def start(self, workers: int) -> Facts:
        """Start; return facts worth printing (its version, what it was set to)."""
        raise NotImplementedError

    def map(self, function: Function, inputs: list[Any]) -> list[Any]:
        """Its plain way to apply a function to many inputs, with no chunk size given."""
        raise NotImplementedError

    def each(self, function: Function, inputs: list[Any]) -> list[Any]:
        """The same with a future for each input, where that is something else."""
        return self.map(function, inputs)

    def call(self, function: Function, value: Any) -> Any:
        """One round trip."""
        raise NotImplementedError

    def total(self, function: Function, inputs: Iterator[int]) -> int:
        """The sum of the values, taken from a stream of inputs that nobody holds at once. (memory.py asks for it.)"""
        raise NotImplementedError

    def close(self) -> None:
        """Stop."""


def timed(what: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    value = what()
    return time.perf_counter() - begin, value


def expect(given: Any, got: Any) -> None:
    if given != got:
        raise AssertionError("the values that came back are not those expected")


def repeated(what: Callable[[], Any], expected: Any) -> Facts:
    """The median of a few times when it is quick, for a few milliseconds on a busy machine say little."""
    taken: list[float] = []
    while not taken or (len(taken) < MOST_REPEATS and sum(taken) < REPEAT_SECONDS):
        seconds, got = timed(what)
        expect(expected, got)
        taken.append(seconds)
    return {"value": statistics.median(taken), "repeats": taken}


def run_map(peer: Peer, calls: int, seed: int, workers: int) -> Facts:
    inputs = list(range(calls))
    return repeated(lambda: peer.map(work.same, inputs), inputs)


def run_futures(peer: Peer, calls: int, seed: int, workers: int) -> Facts:
    inputs = list(range(calls))
    return repeated(lambda: peer.each(work.same, inputs), inputs)


def run_call(peer: Peer, calls: int, seed: int, workers: int) -> Facts:
    """The median of ``calls`` round trips, or of as many as fit into a few seconds."""
    taken: list[float] = []
    end = time.perf_counter() + CALL_SECONDS
    while len(taken) < calls and (len(taken) < 3 or time.perf_counter() < end):
        seconds, got = timed(lambda: peer.call(work.same, len(taken)))
        expect(len(taken), got)
        taken.append(seconds)
    return {"value": statistics.median(taken), "calls": len(taken)}


def run_arrays(peer: Peer, calls: int, seed: int, workers: int) -> Facts:
    inputs = work.arrays(calls, seed)
    seconds, got = timed(lambda: peer.map(work.plus_one, inputs))
    work.check_arrays(inputs, got)
    return {"value": seconds}


def run_uneven(peer: Peer, calls: int, seed: int, workers: int) -> Facts:
    """The makespan as a multiple of the ideal."""
    inputs = work.durations(calls, seed)
    seconds, pids = timed(lambda: peer.map(work.rest, inputs))
    ideal = work.ideal_makespan(inputs, workers)
    facts = {"seconds": seconds, "ideal": ideal, "greedy": work.greedy_makespan(inputs, workers) / ideal}
    return {"value": seconds / ideal, "processes": len(set(pids)), **facts}


def run_memory(peer: Peer, calls: int, seed: int, workers: int) -> Facts:
    """By how many MB (10^6 bytes) this process's peak grows while it maps over a generator."""
    peer.total(work.same, (number for number in range(1000)))
    before = memory_use.reset_peak()
    seconds, total = timed(lambda: peer.total(work.same, (number for number in range(calls))))
    grown = (memory_use.peak() - before) / 1e6
    expect(calls * (calls - 1) // 2, total)
    return {"value": grown, "seconds": seconds, "before": before / 1e6}


WORKLOADS: Workloads = {
    "map": run_map,
    "futures": run_futures,
    "call": run_call,
    "arrays": run_arrays,
    "uneven": run_uneven,
    "memory": run_memory,
}


class Driver:
    """Answers the parent's questions. ``workloads``: what it can run, by name."""

    def __init__(self, peer: Any, workloads: Workloads) -> None:
        self.peer = peer
        self.workloads = workloads
        self.workers = 0

    def answer(self, question: Facts) -> Facts:
        if question["do"] == "start":
            self.workers = question["workers"]
            return self.peer.start(self.workers)
        if question["do"] == "run":
            run = self.workloads[question["workload"]]
            return run(self.peer, question["calls"], question["seed"], self.workers)
        if question["do"] == "close":
            self.peer.close()
            return {}
        raise ValueError(f"a driver can't do {question['do']!r}")


def say(out: TextIO, answer: Facts) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


def one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def take_stdout() -> TextIO:
    """Keep the parent's pipe to ourselves and send everybody else's prints to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def serve(peer: Any, workloads: Workloads, questions: TextIO, out: TextIO) -> None:
    driver = Driver(peer, workloads)
    for line in questions:
        question = json.loads(line)
        try:
            say(out, driver.answer(question))
        except Exception as error:
            traceback.print_exc()
            say(out, {"error": one_line(error)})
        if question["do"] == "close":
            return


def cold(peer: Peer, workers: int, out: TextIO) -> None:
    try:
        peer.start(workers)
        expect(7, peer.call(work.same, 7))
        say(out, {})
        peer.close()
    except Exception as error:
        traceback.print_exc()
        say(out, {"error": one_line(error)})


def main(make: Callable[[], Any], workloads: Workloads = WORKLOADS) -> None:
    out = take_stdout()
    if sys.argv[1:2] == ["--cold"]:
        cold(make(), int(sys.argv[2]), out)
    else:
        serve(make(), workloads, sys.stdin, out)
