"""Memory that a worker shares with its supervisor: marks, and the journal of small outcomes.

The worker writes which call it runs since when, and each small outcome as soon as there is one. When it dies or hangs,
the supervisor reads from here who was running and what was finished. The supervisor writes one word: the limit, the
number of the first call that the worker must not start any more.

Each word is written by one side only and is eight bytes aligned, so that it is never seen half written. The worker
marks a call before it reads the limit; the supervisor sets the limit and reads the mark a moment later. So a call
that is not marked by then will not be started by this worker, and may be given to another one.
"""

from __future__ import annotations

import mmap
import operator
import os
import pickle
import sys
import tempfile
import time
from array import array
from collections.abc import Sequence
from typing import Any

from bursty.core import codec
from bursty.runtime.journal import (
    COUNT,
    CURRENT,
    FIRST,
    FLOATS,
    FLUSH_SECONDS,
    GENERATION,
    IDLE,
    INTS,
    KIND,
    LIMIT,
    NO_LIMIT,
    NONES,
    PICKLES,
    RECORDS,
    SHORT_CALL,
    STARTED,
    peak_memory,
)
from bursty.supervise.link import ChildLink
from bursty.values import Batch, Buffer, Frame, Mark, Outcome

WORDS = 16
OFFSET = 9
HEAD = WORDS * 8 + RECORDS * 8
SIZE = 1 << 20
NONE = pickle.dumps(None, 5)


def create_memory() -> int:
    """A descriptor of fresh shared memory of ``SIZE`` bytes, without a name in any folder."""
    if sys.platform == "linux":
        fd = os.memfd_create("bursty", os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp(prefix="bursty-")
        os.unlink(path)
    os.ftruncate(fd, SIZE)
    return fd


class SharedMemory:
    """The layout, seen from both sides."""

    def __init__(self, fd: int) -> None:
        self.map = mmap.mmap(fd, SIZE)
        self._lay_out(memoryview(self.map))

    def _lay_out(self, view: memoryview) -> None:
        self.words = view[: WORDS * 8].cast("q")
        self.floats = view[: WORDS * 8].cast("d")
        self.sizes = view[WORDS * 8 : HEAD].cast("q")
        self.reals = view[WORDS * 8 : HEAD].cast("d")
        self.data = view[HEAD:]

    def detach(self) -> None:
        """Go on with a private copy: a fork of the worker must not write into its parent's marks."""
        private = mmap.mmap(-1, SIZE)
        private[:] = self.map[:]
        private.seek(self.map.tell())
        self.map = private
        self._lay_out(memoryview(private))


class Marks(SharedMemory):
    """The supervisor's side."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.words[CURRENT] = IDLE
        self.words[LIMIT] = NO_LIMIT

    def revoke(self, seq: int | None) -> None:
        self.words[LIMIT] = NO_LIMIT if seq is None else seq

    def mark(self) -> Mark:
        started = self.floats[STARTED]
        seq = self.words[CURRENT]
        return Mark(None if seq == IDLE else seq, started)

    def state(self) -> tuple[int, ...]:
        """Changes whenever the worker begins a call, records an outcome or sends the journal off."""
        return tuple(self.words[place] for place in (CURRENT, COUNT, GENERATION))

    def unsent(self, worker: int) -> Batch | None:
        """The outcomes that lie in the journal; only to be called while the worker is inside a call, or dead.

        Their times are the worker's own business and lost with it: all are put at the start of the last call.
        """
        count = self.words[COUNT]
        if not 0 < count <= RECORDS:
            return None
        first = self.words[FIRST]
        values = values_of(self.words[KIND], self.sizes[:count].cast("B"), self.data)
        started, nothing = [self.floats[STARTED]] * count, [0.0] * count
        return Batch(worker, range(first, first + count), started, nothing, nothing, values, self.floats[OFFSET], 0)


def cut(data: Buffer, sizes: list[int]) -> list[Buffer]:
    """Pieces of ``data`` with these sizes."""
    pieces: list[Buffer] = []
    position = 0
    for size in sizes:
        pieces.append(data[position : position + size])
        position += size
    return pieces


def values_of(kind: int, column: memoryview, data: Buffer) -> Sequence[Buffer | int | float]:
    """What a column of records stands for: numbers as they are, or pieces of ``data`` with these sizes."""
    if kind == INTS:
        return column.cast("q").tolist()
    if kind == FLOATS:
        return column.cast("d").tolist()
    if kind == NONES:
        return [NONE] * (len(column) // 8)
    sizes = column.cast("q").tolist()
    return cut(bytes(memoryview(data)[: sum(sizes)]), sizes)


@codec.shaped("batch")
def batch_of(worker: int, frame: Frame) -> Batch:
    """The batch in a frame of kind ``batch``."""
    meta = frame.meta
    count, first = meta["count"], meta["first"]
    values = values_of(meta["values"], memoryview(frame.parts[0]), frame.parts[3])
    started: Any = memoryview(frame.parts[1]).cast("d").tolist()
    ended: Any = memoryview(frame.parts[2]).cast("d").tolist()
    if not count == len(values) == len(started) == len(ended):
        raise codec.FrameError(f"a batch of {count} outcomes came with {len(values)}")
    wall: list[float] = list(map(operator.sub, ended, started))
    cpu = wall
    if meta["cpu"]:
        cpu = wall.copy()
        for index, seconds in meta["cpu"]:
            cpu[index] = seconds
    return Batch(worker, range(first, first + count), started, wall, cpu, values, meta["offset"], meta["memory"])


class SharedJournal(SharedMemory):
    """The worker's side: a ``runtime.execute.Journal``, and its own ``Lane``."""

    def __init__(self, fd: int, link: ChildLink) -> None:
        super().__init__(fd)
        self._link = link
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.cpu: list[tuple[int, float]] = []
        self.write = self.map.write
        self.map.seek(HEAD)
        self._flush_at = 0.0
        self._memory, self._memory_at = 0, 0.0
        self.floats[OFFSET] = time.time() - time.monotonic()

    @property
    def lane(self) -> SharedJournal:
        return self

    def current(self) -> int:
        """The call that runs now."""
        return self.words[CURRENT]

    def limit(self) -> int:
        return self.words[LIMIT]

    def begin(self, seq: int, now: float) -> None:
        self.floats[STARTED] = now
        self.words[CURRENT] = seq

    def value(self, seq: int, value: bytes, started: float, wall: float, cpu: float) -> None:
        count = self.words[COUNT]
        full = count == RECORDS or self.map.tell() + len(value) > SIZE
        if full or started + wall > self._flush_at or self.words[KIND] != PICKLES:
            self.flush()
            count = 0
        if not count:
            self.words[FIRST], self.words[KIND] = seq, PICKLES
        self.sizes[count] = len(value)
        self.write(value)
        self.starts.append(started)
        self.ends.append(started + wall)
        if wall >= SHORT_CALL:
            self.cpu.append((count, cpu))
        self.words[COUNT] = count + 1

    def outcome(self, outcome: Outcome) -> None:
        self.flush()
        self._link.send(codec.pack_outcome(outcome))

    def idle(self) -> None:
        self.words[CURRENT] = IDLE

    def flush(self, ended: tuple[int, int] | None = None) -> None:
        """Send what the journal holds, with the word that an invocation has ended in the same frame."""
        if self._link.pending:
            self._link.end_call()
        count = self.words[COUNT]
        if count or ended:
            offset = self.floats[OFFSET] = time.time() - time.monotonic()
            meta = {"kind": "batch", "count": count, "first": self.words[FIRST], "values": self.words[KIND]}
            meta |= {"cpu": self.cpu, "offset": offset, "memory": self._peak_memory(), "ended": ended}
            times = (array("d", self.starts).tobytes(), array("d", self.ends).tobytes())
            parts: list[Buffer] = [self.sizes[:count].cast("B"), *times, self.data[: self.map.tell() - HEAD]]
            self._link.send(Frame(meta, parts))
        self.words[GENERATION] += 1
        self.words[COUNT] = 0
        self.map.seek(HEAD)
        for column in (self.starts, self.ends, self.cpu):
            column.clear()
        self._flush_at = time.monotonic() + FLUSH_SECONDS

    def _peak_memory(self) -> int:
        """Asked of the kernel at most once in FLUSH_SECONDS: it only grows."""
        now = time.monotonic()
        if now > self._memory_at:
            self._memory, self._memory_at = peak_memory(), now + FLUSH_SECONDS
        return self._memory

    def ended(self, seq: int, stopped: int) -> None:
        """The invocation that began with ``seq`` is over; calls from ``stopped`` on were not started."""
        self.idle()
        self.flush((seq, stopped))
