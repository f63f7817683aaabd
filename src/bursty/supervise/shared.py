"""Memory that a worker shares with its supervisor: marks, and the journal of small outcomes.

The worker writes which call it runs since when, and each small outcome as soon as there is one. When it dies or hangs,
the supervisor reads from here who was running and what was finished. The supervisor writes one word: the limit, the
number of the first call that the worker must not start any more.

Each word is written by one side only and is eight bytes aligned, so that it is never seen half written. The worker marks
a call before it reads the limit; the supervisor sets the limit and reads the mark a moment later. So a call that is not
marked by then will not be started by this worker, and may be given to another one.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
import time

from bursty.core import codec
from bursty.runtime.execute import NO_LIMIT, peak_memory
from bursty.supervise.link import ChildLink
from bursty.values import Batch, Buffer, Frame, Mark, Outcome

RECORDS = 8192
DATA = 704 << 10
WORDS = 16
COLUMN = RECORDS * 8
SIZE = WORDS * 8 + 5 * COLUMN + DATA

CURRENT, LIMIT, COUNT = 0, 1, 2
STARTED, OFFSET = 8, 9
IDLE = -1
FLUSH_SECONDS = 0.02


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
        columns = [view[WORDS * 8 + i * COLUMN : WORDS * 8 + (i + 1) * COLUMN] for i in range(5)]
        self.seqs, self.sizes = columns[0].cast("q"), columns[1].cast("q")
        self.started, self.wall, self.cpu = (column.cast("d") for column in columns[2:])
        self.data = view[WORDS * 8 + 5 * COLUMN :]

    def detach(self) -> None:
        """Go on with a private copy: a fork of the worker must not write into its parent's marks."""
        self._lay_out(memoryview(bytearray(self.map[:])))


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

    def unsent(self, worker: int) -> Batch | None:
        """The outcomes that lie in the journal; only to be called while the worker is inside a call, or dead."""
        count = self.words[COUNT]
        if not 0 < count <= RECORDS:
            return None
        sizes = self.sizes[:count].tolist()
        return Batch(
            worker,
            self.seqs[:count].tolist(),
            self.started[:count].tolist(),
            self.wall[:count].tolist(),
            self.cpu[:count].tolist(),
            cut(bytes(self.data[: sum(sizes)]), sizes),
            self.floats[OFFSET],
            0,
        )


def cut(data: Buffer, sizes: list[int]) -> list[Buffer]:
    """Pieces of ``data`` with these sizes."""
    pieces: list[Buffer] = []
    position = 0
    for size in sizes:
        pieces.append(data[position : position + size])
        position += size
    return pieces


def batch_of(worker: int, frame: Frame) -> Batch:
    """The batch in a frame of kind ``batch``."""
    count = frame.meta["count"]
    seqs, sizes, started, wall, cpu, data = frame.parts
    size_list = memoryview(sizes).cast("q").tolist()
    if len(size_list) != count:
        raise codec.FrameError(f"a batch of {count} outcomes came with {len(size_list)}")
    return Batch(
        worker,
        memoryview(seqs).cast("q").tolist(),
        memoryview(started).cast("d").tolist(),
        memoryview(wall).cast("d").tolist(),
        memoryview(cpu).cast("d").tolist(),
        cut(bytes(data), size_list),
        frame.meta["offset"],
        frame.meta["memory"],
    )


class SharedJournal(SharedMemory):
    """The worker's side: a ``runtime.execute.Journal``."""

    def __init__(self, fd: int, link: ChildLink) -> None:
        super().__init__(fd)
        self._link = link
        self._count = 0
        self._end = 0
        self._flush_at = 0.0
        self.current = IDLE
        self.floats[OFFSET] = time.time() - time.monotonic()

    def limit(self) -> int:
        return self.words[LIMIT]

    def begin(self, seq: int, now: float) -> None:
        self.current = seq
        self.floats[STARTED] = now
        self.words[CURRENT] = seq

    def value(self, seq: int, value: bytes, started: float, wall: float, cpu: float) -> None:
        link = self._link
        if link.pending:
            link.end_call()
        count, start = self._count, self._end
        end = start + len(value)
        if count == RECORDS or end > DATA:
            self.flush()
            count, start, end = 0, 0, len(value)
        self.seqs[count] = seq
        self.sizes[count] = len(value)
        self.started[count] = started
        self.wall[count] = wall
        self.cpu[count] = cpu
        self.data[start:end] = value
        self._end = end
        self._count = self.words[COUNT] = count + 1
        if started + wall > self._flush_at:
            self.flush()

    def outcome(self, outcome: Outcome) -> None:
        if self._link.pending:
            self._link.end_call()
        self.flush()
        self._link.send(codec.pack_outcome(outcome))

    def idle(self) -> None:
        self.current = self.words[CURRENT] = IDLE

    def flush(self, ended: tuple[int, int] | None = None) -> None:
        """Send what the journal holds, with the word that an invocation has ended in the same frame."""
        count = self._count
        if count or ended:
            meta = {"kind": "batch", "count": count, "memory": peak_memory(), "ended": ended}
            meta["offset"] = self.floats[OFFSET] = time.time() - time.monotonic()
            columns = [column[:count].cast("B") for column in (self.seqs, self.sizes, self.started, self.wall, self.cpu)]
            self._link.send(Frame(meta, [*columns, self.data[: self._end]]))
        self._count = self._end = self.words[COUNT] = 0
        self._flush_at = time.monotonic() + FLUSH_SECONDS

    def ended(self, seq: int, stopped: int) -> None:
        """The invocation that began with ``seq`` is over; calls from ``stopped`` on were not started."""
        self.idle()
        self.flush((seq, stopped))
