"""Where a worker notes what it runs and what that gave, so that a crash loses neither."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from bursty.values import Buffer, Outcome, Payload, Status

SHORT_CALL = 50e-6
"""Below this many seconds a call's CPU time is taken to be its wall time: reading the CPU clock costs as much."""

SMALL_VALUE = 64 << 10

NO_LIMIT = (1 << 63) - 1

# Places in Lane.words, and of STARTED in Lane.floats.
CURRENT, LIMIT, COUNT, FIRST, KIND, GENERATION = 0, 1, 2, 3, 4, 5
STARTED = 8
IDLE = -1
LARGE, PICKLES, INTS, FLOATS, NONES = -1, 0, 1, 2, 3
"""What a journal's records are: one kind at a time, for numbers need no pickle. LARGE is no record. See Lane."""
MAX_TURNS = 4
"""How often in an invocation the kind may change before all is pickled."""
RECORDS = 8192
FLUSH_SECONDS = 0.02
"""How long small outcomes may be held back while calls go on."""


class Journal(Protocol):
    """Where a call's begin and outcome are recorded, so that a crash loses neither the finished nor the culprit's
    name.
    """

    def limit(self) -> int:
        """Calls from this number on are not to be started. Read after ``begin``, for the order decides who owns a
        call.
        """
        ...

    def begin(self, seq: int, now: float) -> None:
        """The call ``seq`` starts; ``now`` is monotonic seconds."""
        ...

    def value(self, seq: int, value: bytes, started: float, wall: float, cpu: float) -> None:
        """It gave this small pickled value. ``started`` is monotonic."""
        ...

    def outcome(self, outcome: Outcome) -> None:
        """It gave a value with parts of its own, or an error. ``started`` is monotonic."""
        ...

    def idle(self) -> None:
        """No call runs now; everything recorded must reach the engine."""
        ...

    @property
    def lane(self) -> Lane | None:
        """The same journal without its methods, for calls that take less time than a method call; may be ``None``."""
        ...


class Lane(Protocol):
    """A journal as bare arrays. What ``run_items`` does with them is what the methods of ``Journal`` do."""

    words: memoryview[int]
    """Eight-byte integers at CURRENT, LIMIT, COUNT, FIRST and KIND."""
    floats: memoryview[float]
    """The same memory as doubles: STARTED."""
    sizes: memoryview[int]
    """COUNT records: the length of each pickle, or the value itself where KIND is INTS."""
    reals: memoryview[float]
    """The same memory as ``sizes``, where KIND is FLOATS."""
    starts: list[float]
    ends: list[float]
    cpu: list[tuple[int, float]]
    """CPU seconds by record, for those whose CPU time isn't simply their wall time."""

    @property
    def write(self) -> Callable[[bytes], Any]:
        """Appends a pickled value; ``ValueError`` when there is no room."""
        ...

    def flush(self) -> None: ...


def peak_memory() -> int:
    """The process's memory high-water mark in bytes (``ru_maxrss``: KiB on Linux, bytes on macOS)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class ListJournal:
    """Keeps everything in a list: for workers without a supervisor's shared memory, and for tests."""

    lane = None

    def __init__(self, limit: int = NO_LIMIT) -> None:
        self.outcomes: list[Outcome] = []
        self.running: int | None = None
        self._limit = limit

    def limit(self) -> int:
        return self._limit

    def begin(self, seq: int, now: float) -> None:
        self.running = seq

    def value(self, seq: int, value: Buffer, started: float, wall: float, cpu: float) -> None:
        self.outcomes.append(Outcome(seq, Status.OK, Payload((value,)), started, wall, cpu, 0))

    def outcome(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def idle(self) -> None:
        self.running = None

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)
