"""The engine proper: one thread that turns a backend's events into outcomes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from bursty.engine.block import Block, Failed
from bursty.engine.losses import closed_error
from bursty.engine.pool import Announcement, Pool
from bursty.errors import BackendError
from bursty.ports import Backend
from bursty.runtime.pickling import Parts
from bursty.values import Answered, Asked, Batch, Ended, Event, Lost, Output, WorkerSpec

WATCH_SECONDS = 0.1
HOLD_SECONDS = 0.003
"""After a cancellation nothing new is begun for so long: who cancels one call mostly goes on to cancel the next."""


IDLE_SECONDS = 600.0
"""Workers without work are let go after so long; a new one is forked in milliseconds."""


class Listener(Protocol):
    """Who wants to know, on the driver's thread: output of calls, questions of child code, that time goes by."""

    def wrote(self, label: str, event: Output) -> None: ...

    def asked(self, event: Asked) -> None: ...

    def calls_over(self, worker: int) -> None: ...

    def worker_gone(self, worker: int) -> None: ...

    def looked(self) -> None: ...


class Engine:
    """Owns a backend. ``submit`` and ``cancel`` may be called from any thread."""

    def __init__(
        self, backend: Backend, parts: Parts, listener: Listener, *, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._idle_seconds = idle_seconds
        self.backend = backend
        self._parts = parts
        self._listener = listener
        self._lock = threading.RLock()
        self._pools: dict[WorkerSpec, Pool] = {}
        self._owners: dict[int, Pool] = {}
        self._parents: dict[int, int] = {}
        self._hold_until = 0.0
        self._thread: threading.Thread | None = None
        self._closing = False
        self._broken: BaseException | None = None
        self._drained = threading.Condition(self._lock)
        self.watched = False

    # Calls

    def submit(self, block: Block) -> None:
        """Begin a block's calls. Raises ``BackendError`` when no worker can be had."""
        with self._lock:
            if self._closing or self._broken:
                raise BackendError("the executor was shut down", "Make a new one.") from self._broken
            if not len(block):
                return
            pool = self._pool(block.options.worker)
            pool.add(block)
            try:
                self._staff(pool)
            except BaseException:
                pool.drop(block)
                raise
            pool.dispatch(time.monotonic())
            pending = self._announcements()
            if self._thread is None:
                self._thread = threading.Thread(target=self._drive, name="bursty-driver", daemon=True)
                self._thread.start()
            elif self._needs_tick(pool):
                self.backend.wake()
        _announce(pending)

    def grow(self, block: Block, arguments: Any, added: Callable[[], None]) -> int | None:
        """Add a call to a block that still waits, and tell its index; ``None``: it doesn't, make another block.

        ``added`` is called before the call can be settled.
        """
        with self._lock:
            pool = self._pools.get(block.options.worker)
            index = pool.grow(block, arguments) if pool is not None and not self._closing else None
            if index is not None:
                added()
            return index

    def is_driver(self) -> bool:
        """Whether this is the driver's own thread, which must not wait for calls."""
        return threading.current_thread() is self._thread

    def _pool(self, spec: WorkerSpec) -> Pool:
        pool = self._pools.get(spec)
        if pool is None:
            pool = self._pools[spec] = Pool(spec, self.backend, self._parts)
        return pool

    def _needs_tick(self, pool: Pool) -> bool:
        return pool.plan.wait(time.monotonic()) is not None or self.watched

    def cancel(self, block: Block, index: int) -> None:
        """Drop a call; kill it when it runs."""
        self._cancel_calls([(block, index)])

    def _cancel_calls(self, calls: Sequence[tuple[Block, int]]) -> None:
        """All are dropped before workers get anything new: else each would begin one that is cancelled next."""
        with self._lock:
            if self._closing:
                return
            now = time.monotonic()
            pools = {pool for block, _ in calls if (pool := self._pools.get(block.options.worker)) is not None}
            for block, index in calls:
                if (pool := self._pools.get(block.options.worker)) is not None:
                    pool.cancel(block, index, now)
            for pool in pools:
                pool.act_on_cancelled()
            self._hold_until = now + HOLD_SECONDS
            pending = self._announcements()
        _announce(pending)
        self.backend.wake()

    def cancel_block(self, block: Block) -> None:
        """Drop all calls of a block that have no outcome."""
        self._cancel_calls([(block, index) for index, result in enumerate(block.results) if result is None])

    def cancel_waiting(self) -> None:
        """Drop every call that has not begun."""
        with self._lock:
            waiting = [
                (block, index)
                for pool in self._pools.values()
                for block in pool.blocks.values()
                for index, result in enumerate(block.results)
                if result is None and not self.is_running(block, index)
            ]
        self._cancel_calls(waiting)

    def is_running(self, block: Block, index: int) -> bool:
        """Whether a worker is inside this call now."""
        with self._lock:
            pool = self._pools.get(block.options.worker)
            if pool is None:
                return False
            for number, worker in pool.plan.workers.items():
                mark = self.backend.mark(number) if worker.flights else None
                place = pool.plan.locate(number, mark.seq) if mark is not None and mark.seq is not None else None
                if place is not None and place[0].span.group == block.number and place[1] == index:
                    return True
            return False

    # Workers

    def _staff(self, pool: Pool) -> None:
        """Open workers for what is queued, within the budget; idle workers of other pools make room."""
        wanted = pool.plan.wanted()
        for _ in range(min(self._room(pool), wanted) if wanted else 0):
            number = pool.open_worker(time.monotonic())
            self._owners[number] = pool

    def _room(self, pool: Pool) -> int:
        """How many more workers this pool may have. Each depth of nested calls has a budget of its own, so that calls
        that wait for calls never wait for each other's workers."""
        budget = self._budget(pool.spec.depth)
        others = 0
        for other in self._pools.values():
            if other is pool or other.spec.depth != pool.spec.depth:
                continue
            for worker in other.plan.idle_workers() if not other.plan.queue else ():
                worker.doomed = True
                self.backend.retire(worker.number)
            others += len(other.plan.workers)
        return max(0, max(1, budget - others) - len(pool.plan.workers))

    def _budget(self, depth: int) -> int:
        """Workers that calls at this depth may have: what calls around them, that are not just waiting, leave free."""
        busy = 0
        for pool in self._pools.values():
            if pool.spec.depth < depth:
                busy += sum(1 for n, worker in pool.plan.workers.items() if worker.flights and n not in self._parents)
        return max(1, self.backend.traits.workers - busy)

    def spec_of(self, worker: int) -> WorkerSpec | None:
        """What kind of worker this is; ``None`` when it is gone."""
        with self._lock:
            pool = self._owners.get(worker)
            return pool.spec if pool is not None else None

    def parent_began(self, worker: int) -> None:
        """A call on this worker made calls of its own, and most likely waits for them."""
        with self._lock:
            self._parents[worker] = self._parents.get(worker, 0) + 1

    def parent_ended(self, worker: int) -> None:
        """They all have their outcomes."""
        with self._lock:
            self._parents[worker] = self._parents.get(worker, 0) - 1
            if self._parents[worker] <= 0:
                del self._parents[worker]

    # The thread

    def _drive(self) -> None:
        timeout: float | None = 0.0
        try:
            while not self._closing:
                events = self.backend.poll(timeout)
                with self._lock:
                    if self._closing:
                        return
                    now = time.monotonic()
                    told = [(self._label(event), event) for event in events if not self._handle(event, now)]
                    for pool in list(self._pools.values()):
                        self._advance(pool, now)
                        self._retire_idle(pool, now)
                    pending = self._announcements()
                    timeout = self._timeout(now)
                self._tell(told)
                for event in events:
                    if isinstance(event, Ended):
                        self._listener.calls_over(event.worker)
                self._listener.looked()
                _announce(pending)  # last: who waits needs the interpreter's lock, which poll gives back
        except BaseException as error:
            self._break(error)
            raise

    def _retire_idle(self, pool: Pool, now: float) -> None:
        for worker in pool.plan.idle_workers():
            if now - worker.idle_since >= self._idle_seconds:
                worker.doomed = True
                self.backend.retire(worker.number)

    def _timeout(self, now: float) -> float | None:
        waits = [wait for pool in self._pools.values() if (wait := pool.plan.wait(now)) is not None]
        for pool in self._pools.values():
            waits.extend(max(0.0, worker.idle_since + self._idle_seconds - now) for worker in pool.plan.idle_workers())
        if self.watched:
            waits.append(WATCH_SECONDS)
        if now < self._hold_until:
            waits.append(self._hold_until - now)
        return min(waits, default=None)

    def _handle(self, event: Event, now: float) -> bool:
        """Take an event in; ``False``: it is for the listener, outside the lock."""
        pool = self._owners.get(event.worker)
        if pool is None:
            return True
        match event:
            case Batch():
                pool.take_batch(event)
            case Answered():
                pool.take_outcome(event, now)
            case Ended():
                pool.ended(event, now)
            case Lost():
                del self._owners[event.worker]
                self._parents.pop(event.worker, None)
                pool.lost(event, now)
                return False
            case _:
                return False
        return True

    def _advance(self, pool: Pool, now: float) -> None:
        if pool.plan.is_idle:
            return
        pool.tick(now)
        if now < self._hold_until:
            return
        try:
            self._staff(pool)
        except BackendError as error:
            self._fail_pool(pool, error)
        pool.dispatch(now)

    def _fail_pool(self, pool: Pool, error: BaseException) -> None:
        for block in list(pool.blocks.values()):
            for index, result in enumerate(block.results):
                if result is None:
                    pool.cancel(block, index, time.monotonic(), error)
        pool.act_on_cancelled()

    def _announcements(self) -> list[Announcement]:
        pending: list[Announcement] = []
        for pool in self._pools.values():
            pending.extend(pool.announcements)
            pool.announcements.clear()
        if pending and not any(pool.blocks for pool in self._pools.values()):
            self._drained.notify_all()
        return pending

    def _tell(self, events: Sequence[tuple[str, Event]]) -> None:
        for label, event in events:
            if isinstance(event, Output):
                self._listener.wrote(label, event)
            elif isinstance(event, Asked):
                self._listener.asked(event)
            elif isinstance(event, Lost):
                self._listener.worker_gone(event.worker)

    def _label(self, event: Event) -> str:
        """Whose text it is, found while the call is still known: the next event may be its outcome."""
        pool = self._owners.get(event.worker)
        if pool is None or not isinstance(event, Output) or event.seq is None:
            return f"w{event.worker}"
        place = pool.plan.locate(event.worker, event.seq)
        block = pool.blocks.get(place[0].span.group) if place else None
        if place is None or block is None:
            return f"w{event.worker}"
        return f"{block.code.label} {block.first + place[1]}"

    def _break(self, error: BaseException) -> None:
        """The driver itself failed, which is a bug: nobody may wait for ever."""
        with self._lock:
            self._broken = error
            blocks = [block for pool in self._pools.values() for block in pool.blocks.values()]
            for pool in self._pools.values():
                pool.blocks.clear()
            pending = _fail_blocks(blocks, error)
            self._drained.notify_all()
        _announce(pending)

    # End

    def join(self, timeout: float | None = None) -> bool:
        """Wait until every call has its outcome."""
        with self._drained:
            return self._drained.wait_for(lambda: not any(pool.blocks for pool in self._pools.values()), timeout)

    def close(self) -> None:
        """Kill workers; calls without an outcome fail. May be called twice."""
        with self._lock:
            first = not self._closing
            self._closing = True
        if not first:
            return
        self.backend.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self.backend.close()
        with self._lock:
            blocks = [block for pool in self._pools.values() for block in pool.blocks.values()]
            self._pools.clear()
            pending = [item for block in blocks for item in _fail_blocks([block], closed_error(block.code.label))]
            self._drained.notify_all()
        _announce(pending)


def _fail_blocks(blocks: Sequence[Block], error: BaseException) -> list[Announcement]:
    pending: list[Announcement] = []
    for block in blocks:
        for index, result in enumerate(block.results):
            if result is None:
                block.settle(index, [Failed(error)])
                block.errors += 1
                pending.append((block, index, index + 1))
    return pending


def _announce(pending: Sequence[Announcement]) -> None:
    for block, low, high in pending:
        block.announce(low, high)
