"""Fakes for tests of code that uses bursty, and of bursty itself; they hold the ports' contracts (tests/conformance).

>>> from bursty import Executor
>>> from bursty.testing import fake_session
>>> with Executor(fake_session()) as executor:
...     print(list(executor.map(abs, [-1, -2])))
[1, 2]
"""

from __future__ import annotations

import queue
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from bursty.engine.session import Session
from bursty.runtime.execute import Functions, execute
from bursty.runtime.journal import NO_LIMIT, peak_memory
from bursty.runtime.pickling import Parts
from bursty.stores.blobs import MemoryBlobs
from bursty.stores.cache import MemoryCache
from bursty.stores.memory import MemoryState
from bursty.stores.parts import ClientParts
from bursty.stores.predictions import MemoryPredictions
from bursty.values import (
    Answered,
    BackendTraits,
    Batch,
    Buffer,
    Ended,
    Event,
    Frame,
    Invocation,
    Loss,
    LossKind,
    Lost,
    Mark,
    Outcome,
    WorkerSpec,
)

if TYPE_CHECKING:
    from bursty.app import App
    from bursty.testing.web import Client


__all__ = [
    "FakeBackend",
    "FakeClock",
    "MemoryBlobs",
    "MemoryCache",
    "MemoryPredictions",
    "MemoryState",
    "die",
    "fake_session",
]

HELD = 16
"""Small outcomes that a fake worker holds back before it reports them together."""

Fate = Callable[[int], Loss | None]
"""Told the ordinal of a call that begins (from 0, over all workers); the loss of its worker, or ``None``: it runs."""


class FakeClock:
    """``ports.Clock`` that stands still until it is told to go on.

    ``start``: seconds since the epoch at the beginning; ``monotonic`` begins with 0.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start = start
        self._passed = 0.0

    def monotonic(self) -> float:
        return self._passed

    def time(self) -> float:
        return self._start + self._passed

    def advance(self, seconds: float) -> None:
        """Let this much time pass."""
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        self._passed += seconds


class _Died(BaseException):
    """Ends the call that a fake worker died of."""


_here = threading.local()


def die(kind: LossKind = "exit", code: int | None = 1, detail: str = "") -> NoReturn:
    """Inside a call on a ``FakeBackend``: lose the worker, as a crash would."""
    worker: _Worker | None = getattr(_here, "worker", None)
    if worker is None:
        raise RuntimeError("die() works inside a call on a FakeBackend")
    worker.lose(Loss(kind, code, detail=detail))
    raise _Died


class FakeBackend:
    """``ports.Backend`` whose workers are threads of this process.

    ``fate``: scripts losses. Calls can also lose their worker by ``die()``. A killed worker reports its loss at once;
    its thread runs its call to the end, for threads can't be killed, and nobody hears of it.
    ``opened``: the spec of every worker so far; ``sent``: how many calls each invocation had.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        parts: Parts | None = None,
        fate: Fate | None = None,
        names_culprit: bool = True,
        can_kill: bool = True,
    ) -> None:
        self.traits = BackendTraits(workers, can_kill=can_kill, names_culprit=names_culprit)
        self.opened: list[WorkerSpec] = []
        self.sent: list[int] = []
        self._parts = parts
        self._fate = fate
        self._begun = 0
        self._lock = threading.Lock()
        self._workers: dict[int, _Worker] = {}
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def open(self, spec: WorkerSpec) -> int:
        with self._lock:
            self.opened.append(spec)
            number = len(self.opened)
            self._workers[number] = _Worker(number, self._emit, self._next_fate, self._parts, self.traits)
        return number

    def _emit(self, event: Event) -> None:
        self._events.put(event)

    def _next_fate(self) -> Loss | None:
        with self._lock:
            ordinal, self._begun = self._begun, self._begun + 1
        return self._fate(ordinal) if self._fate is not None else None

    def send(self, worker: int, invocation: Invocation) -> None:
        self.sent.append(invocation.count)
        self._workers[worker].inbox.put(invocation)

    def tell(self, worker: int, frame: Frame) -> None:
        """Fake workers ask nothing."""

    def revoke(self, worker: int, seq: int | None) -> None:
        self._workers[worker].stop = NO_LIMIT if seq is None else seq

    def mark(self, worker: int) -> Mark:
        return self._workers[worker].mark

    def peek(self, worker: int) -> Sequence[Event]:
        return self._workers[worker].peek()

    def kill(self, worker: int, kind: LossKind, limit: float | None = None) -> None:
        if self.traits.can_kill:
            self._workers[worker].lose(Loss(kind, limit=limit))

    def retire(self, worker: int) -> None:
        self._workers[worker].inbox.put(None)

    def poll(self, timeout: float | None) -> Sequence[Event]:
        events: list[Event] = []
        try:
            first = self._events.get(timeout=timeout)
            while True:
                if first is not None:
                    events.append(first)
                first = self._events.get_nowait()
        except queue.Empty:
            return events

    def wake(self) -> None:
        self._events.put(None)

    def close(self) -> None:
        for worker in list(self._workers.values()):
            worker.lose(Loss("closed"))
            worker.inbox.put(None)


@dataclass(slots=True)
class _Held:
    """Small outcomes that were not reported yet, in the columns of a ``Batch``."""

    seqs: list[int] = field(default_factory=list[int])
    started: list[float] = field(default_factory=list[float])
    wall: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])
    values: list[Buffer] = field(default_factory=list[Buffer])


class _Worker:
    """A thread that runs invocations, and the journal that they are recorded in."""

    lane: None = None

    def __init__(
        self,
        number: int,
        emit: Callable[[Event], None],
        fate: Callable[[], Loss | None],
        parts: Parts | None,
        traits: BackendTraits,
    ) -> None:
        self.number = number
        self.inbox: queue.SimpleQueue[Invocation | None] = queue.SimpleQueue()
        self.stop = NO_LIMIT
        self.mark = Mark()
        self._emit = emit
        self._fate = fate
        self._parts = parts
        self._traits = traits
        self._lost = False
        self._held = _Held()
        self._guard = threading.RLock()
        threading.Thread(target=self._run, name=f"fake-worker-{number}", daemon=True).start()

    def _run(self) -> None:
        _here.worker = self
        functions = Functions(self._parts)
        while (invocation := self.inbox.get()) is not None:
            stopped = execute(invocation, self, functions, self._parts)
            with self._guard:
                self.idle()
                self._flush()
                if self._lost:
                    return
                self._emit(Ended(self.number, invocation.seq, stopped))
        self.lose(Loss("closed"))

    def lose(self, loss: Loss) -> None:
        """Report what is finished, then the loss; later nothing more."""
        with self._guard:
            if self._lost:
                return
            self._flush()
            self._lost = True
            running = self.mark.seq if self._traits.names_culprit else None
            self._emit(Lost(self.number, loss, running))
            self.mark = Mark()

    def peek(self) -> Sequence[Event]:
        with self._guard:
            return [self._batch()] if self._held.seqs and self.mark.seq is not None else []

    def _batch(self) -> Batch:
        held, offset = self._held, time.time() - time.monotonic()
        columns = held.seqs[:], held.started[:], held.wall[:], held.cpu[:], held.values[:]
        return Batch(self.number, *columns, offset, peak_memory())

    def _flush(self) -> None:
        if self._held.seqs and not self._lost:
            self._emit(self._batch())
        self._held = _Held()

    # The journal

    def limit(self) -> int:
        return 0 if self._lost else self.stop

    def begin(self, seq: int, now: float) -> None:
        with self._guard:
            if self._lost:
                return
            self.mark = Mark(seq, now)
            if seq < self.stop and (loss := self._fate()) is not None:
                self.lose(loss)

    def value(self, seq: int, value: Buffer, started: float, wall: float, cpu: float) -> None:
        with self._guard:
            held = self._held
            for column, item in zip(
                (held.seqs, held.started, held.wall, held.cpu, held.values),
                (seq, started, wall, cpu, value),
                strict=True,
            ):
                column.append(item)  # pyright: ignore[reportArgumentType]
            if len(held.seqs) >= HELD:
                self._flush()

    def outcome(self, outcome: Outcome) -> None:
        with self._guard:
            self._flush()
            if not self._lost:
                self._emit(Answered(self.number, outcome))

    def idle(self) -> None:
        self.mark = Mark()


def fake_session(
    workers: int = 2,
    *,
    fate: Fate | None = None,
    names_culprit: bool = True,
    can_kill: bool = True,
    spill_bytes: int = 1 << 20,
) -> Session:
    """What ``Executor`` takes as its backend: an engine on a ``FakeBackend`` that spills to memory; no process."""
    parts = ClientParts(MemoryBlobs(), spill_bytes)
    backend = FakeBackend(workers, parts=parts, fate=fate, names_culprit=names_culprit, can_kill=can_kill)
    return Session(backend, parts, lambda: Path(tempfile.mkdtemp(prefix="bursty-")), output="hide")


def client(app: App) -> Client:
    """A client of this app's endpoints, for tests: they answer in this process. See ``bursty.testing.web``."""
    from bursty.testing.web import Client

    return Client(app)
