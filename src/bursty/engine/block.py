"""Blocks: calls of one function that were made together, their arguments, and what became of them."""

from __future__ import annotations

import itertools
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from bursty.engine.code import Code
from bursty.engine.ending import note_interrupt
from bursty.runtime.faults import decode_error
from bursty.runtime.pickling import Parts, loads, pack_atoms
from bursty.values import Buffer, Call, CallStats, Invocation, Layout, Payload, Status, WorkerSpec


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for a call. ``timeout`` in seconds; see FunctionSpec for the rest."""

    retries: int = 0
    timeout: float | None = None
    idempotent: bool | None = None
    worker: WorkerSpec = field(default_factory=WorkerSpec)


class Sealed:
    """An outcome as it came: bytes that ``open`` turns into the value or the exception."""

    __slots__ = ("parts", "payload", "status", "where")

    def __init__(self, status: Status, payload: Payload, where: str, parts: Parts) -> None:
        self.status = status
        self.payload = payload
        self.where = where
        self.parts = parts

    def open(self) -> Any:
        """The value; raises the call's exception. Opening twice gives two values."""
        if self.status is Status.ERROR:
            raise decode_error(self.payload, self.where)
        return loads(self.payload, self.parts)


class Failed:
    """An outcome that the engine gave: the worker was lost, the time was up."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def open(self) -> Any:
        raise self.error

    @staticmethod
    def of(future: Future[Any]) -> Failed | None:
        """What a plain future raised; ``None`` when it has a value."""
        error = future.exception(0)
        return None if error is None else Failed(error)


Result = Buffer | int | float | Sealed | Failed
"""Plain bytes are the pickle of a value, a number is the value: the hot path has no objects of its own."""


def open_result(result: Result) -> Any:
    """The value, or raise."""
    if isinstance(result, Sealed | Failed):
        return result.open()
    return result if isinstance(result, int | float) else pickle.loads(result)


def payload_of(result: Buffer | int | float) -> Payload:
    """A plain result as a payload."""
    return Payload((pickle.dumps(result, 5) if isinstance(result, int | float) else bytes(result),))


def is_error(result: Result) -> bool:
    """Whether opening it would raise what the call raised, or why it was lost."""
    return isinstance(result, Failed) or (isinstance(result, Sealed) and result.status is Status.ERROR)


@dataclass(slots=True)
class Run:
    """Times of settled calls ``low`` to ``high - 1``, in columns from ``start`` on; ``offset`` makes ``started``
    epoch seconds.
    """

    low: int
    high: int
    start: int
    started: Sequence[float]
    wall: Sequence[float]
    cpu: Sequence[float]
    offset: float
    memory: int
    sent: float
    done: float
    worker: int
    attempt: int

    def stats(self, index: int, submitted: float) -> CallStats:
        at = self.start + index - self.low
        started = self.started[at] + self.offset
        return CallStats(
            submitted=submitted,
            queued=self.sent,
            started=started,
            finished=started + self.wall[at],
            done=self.done,
            cpu=self.cpu[at],
            memory=self.memory or None,
            worker=f"w{self.worker}",
            attempt=self.attempt,
        )


@dataclass(slots=True)
class CallLog:
    """What reports need of a block, without its function, arguments and values. ``failed``: calls without a value."""

    label: str
    first: int
    submitted: float
    size: int
    runs: list[Run] = field(default_factory=list[Run])
    failed: set[int] = field(default_factory=set[int])


_numbers = itertools.count(1)


@dataclass(slots=True, eq=False)
class Block:
    """``arguments``: plain values (ITEMS), tuples of them (TUPLES) or encoded calls (EACH); freed as calls settle.

    ``keep(low, results)``: puts results away before anybody sees them, and gives them or errors in their place.
    ``on_settled(low, high)``: told, on the driver's thread and without its lock, when calls have their results.
    """

    code: Code
    layout: Layout
    arguments: list[Any]
    options: Options
    submitted: float
    weight: int = 0
    first: int = 0
    number: int = field(default_factory=lambda: next(_numbers))
    results: list[Result | None] = field(default_factory=list[Result | None])
    log: CallLog = field(init=False)
    settled: int = 0
    errors: int = 0
    retries: int = 0
    on_settled: Callable[[int, int], None] | None = None
    keep: Callable[[int, Sequence[Result]], Sequence[Result]] | None = None
    changed: threading.Condition | None = None
    waiting: int = -1

    def __post_init__(self) -> None:
        self.results = [None] * len(self.arguments)
        self.log = CallLog(self.code.label, self.first, self.submitted, len(self.arguments))

    @property
    def runs(self) -> list[Run]:
        """Times of the calls that have outcomes."""
        return self.log.runs

    def grow(self, arguments: Any) -> None:
        """One more call."""
        self.arguments.append(arguments)
        self.results.append(None)
        self.log.size += 1

    def know(self, index: int, result: Result) -> None:
        """The call's result is known before it is made."""
        self.results[index] = result
        self.settled += 1

    def known_ranges(self) -> list[tuple[int, int]]:
        """Runs of calls that have results."""
        ranges: list[tuple[int, int]] = []
        if self.settled:
            for index, result in enumerate(self.results):
                if result is not None and ranges and ranges[-1][1] == index:
                    ranges[-1] = (ranges[-1][0], index + 1)
                elif result is not None:
                    ranges.append((index, index + 1))
        return ranges

    def __len__(self) -> int:
        return len(self.results)

    def invocation(self, seq: int, low: int, high: int, *, with_code: bool) -> Invocation:
        """Calls ``low`` to ``high - 1`` as a worker gets them."""
        packed: Buffer = b""
        calls: tuple[Call, ...] = ()
        if self.layout is Layout.EACH:
            calls = tuple(self.arguments[low:high])
        else:
            packed = pack_atoms(self.arguments[low:high])
        code = self.code
        return Invocation(
            seq,
            high - low,
            code.digest,
            code.label,
            self.layout,
            code.payload if with_code else None,
            packed,
            calls,
            self.options.worker.depth,
        )

    def settle(self, low: int, results: Sequence[Result]) -> None:
        """Keep results and let go of the arguments."""
        if self.keep is not None:
            results = self.keep(low, results)
        high = low + len(results)
        self.results[low:high] = results
        if len(results) == 1 and is_error(results[0]):  # errors come one by one
            self.log.failed.add(low)
        self.arguments[low:high] = [None] * len(results)
        self.settled += len(results)

    def announce(self, low: int, high: int) -> None:
        """Wake who waits for these, call who wants to be called."""
        if self.on_settled is not None:
            self.on_settled(low, high)
        if self.changed is not None and self.waiting >= 0:
            with self.changed:
                if low <= self.waiting < high:
                    self.changed.notify_all()

    def let_go(self) -> None:
        """Nobody reads these results any more."""
        self.results[:] = [_TAKEN] * len(self.results)

    def take(self, index: int, timeout: float | None = None) -> list[Result]:
        """Wait for the result of call ``index``; give it and those behind it that are there too, and let go of them.

        Raises ``TimeoutError``.
        """
        results = self.results
        if results[index] is None:
            changed = self.changed = self.changed or threading.Condition()
            with changed:
                self.waiting = index
                try:
                    if not changed.wait_for(lambda: results[index] is not None, timeout):
                        raise TimeoutError("the results did not all come within the time that was given to them")
                except KeyboardInterrupt:
                    note_interrupt()
                    raise
                finally:
                    self.waiting = -1
        try:
            end = results.index(None, index)
        except ValueError:
            end = len(results)
        taken: list[Any] = results[index:end]
        results[index:end] = [_TAKEN] * (end - index)
        return taken

    def stats(self, index: int) -> CallStats:
        """Times of one call; those not known yet are ``None``."""
        for run in reversed(self.runs):
            if run.low <= index < run.high:
                return run.stats(index, self.submitted)
        return CallStats(submitted=self.submitted)


_TAKEN = b""
