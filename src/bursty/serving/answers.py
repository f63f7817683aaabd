"""Cached answers, for fallbacks: in memory, and in a cache that processes share, which is never waited for longer than
there is time.

What is remembered is in memory at once; a thread writes it to the shared cache. What is recalled comes from memory at
once, else from the shared cache on one of a few threads. A shared cache that fails or hangs costs the caller no more
than its time-out, and then nothing for a while: see ``core.breaker``.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass

from bursty.core.breaker import Breaker
from bursty.errors import StoreError
from bursty.ports import Clock
from bursty.ports.serving import Cache, CacheItem
from bursty.stores.cache import MemoryCache
from bursty.values import Buffer

MAX_REQUEST = 1 << 20
"""Bytes of the longest request whose answer is cached: longer ones hardly ever come twice."""
READERS = 4
GATHER_SECONDS = 0.05
BATCH_ITEMS = 256
BATCH_BYTES = 1 << 20
CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Since the beginning. Of recalls: ``hits`` and ``misses``; of the misses, ``late``: the shared cache was too slow,
    ``skipped``: it was not asked, since it fails or too many ask. ``errors``: what the shared cache failed at. Of
    answers: ``written`` to the shared cache, and ``dropped``: those that never came there.
    """

    hits: int = 0
    misses: int = 0
    late: int = 0
    skipped: int = 0
    errors: int = 0
    written: int = 0
    dropped: int = 0


class Answers:
    """The last good answers of endpoints. Thread-safe.

    ``shared``: the cache beside memory; closed with this. ``scope``: parts the answers of apps and stages that share
    a cache. ``memory_bytes``, ``queue_bytes``: the most that memory and what waits to be written may hold.
    """

    def __init__(
        self,
        shared: Cache | None = None,
        *,
        scope: str = "",
        memory_bytes: int = 16 << 20,
        queue_bytes: int = 16 << 20,
        clock: Clock | None = None,
    ) -> None:
        self._counts = Counter[str]()
        self._memory = MemoryCache(memory_bytes, clock)
        self._shared = shared
        self._scope = scope
        self._now: Callable[[], float] = clock.monotonic if clock is not None else time.monotonic
        self._breaker = Breaker()
        self._lock = threading.Lock()
        self._asking = 0
        self._readers: ThreadPoolExecutor | None = None
        self._queue = _Queue(queue_bytes)
        self._writer: threading.Thread | None = None

    # Keys

    def key(self, endpoint: str, stamp: object, request: Buffer) -> bytes | None:
        """Of the answer to this request by what is stamped so; ``None``: it is not cached."""
        if len(request) > MAX_REQUEST:
            return None
        return self._digest("same", endpoint, str(stamp), request)

    def any_key(self, endpoint: str) -> bytes:
        """Of the endpoint's last good answer, whatever was asked."""
        return self._digest("any", endpoint, "", b"")

    def _digest(self, kind: str, endpoint: str, stamp: str, request: Buffer) -> bytes:
        names = f"{kind}\0{self._scope}\0{endpoint}\0{stamp}".encode("utf-8", "replace")
        digest = hashlib.sha256(len(names).to_bytes(4, "little"))
        digest.update(names)
        digest.update(request)
        return digest.digest()

    # Remembering

    def remember(self, key: bytes, answer: bytes, ttl: float) -> None:
        """Keep a good answer for ``ttl`` seconds; costs no more than a few microseconds."""
        self._memory.put(key, answer, ttl)
        if self._shared is None:
            return
        self._queue.put(key, answer, self._now() + ttl)
        if self._writer is None:
            self._start_writer(self._shared)

    def _start_writer(self, shared: Cache) -> None:
        with self._lock:
            if self._writer is None and not self._queue.is_closed:
                self._writer = threading.Thread(
                    target=self._write_all, args=(shared,), name="bursty-answers", daemon=True
                )
                self._writer.start()

    def _write_all(self, shared: Cache) -> None:
        while self._queue.wait():
            if self._may_ask():
                self._write_batch(shared)
            elif self._queue.is_closed:
                break
            else:
                self._queue.pause(GATHER_SECONDS)
        self._queue.drop_all()

    def _write_batch(self, shared: Cache) -> None:
        batch = self._queue.take()
        now = self._now()
        items = [CacheItem(key, value, end - now) for key, (value, end) in batch.items() if end > now]
        try:
            shared.put_many(items)
        except StoreError:
            self._failed()
            self._queue.put_back(batch)
        else:
            self._worked()
            self._count("written", len(items))
            self._queue.drop(len(batch) - len(items))

    # Recalling

    def recall_now(self, key: bytes) -> bytes | None:
        """From memory; not counted as a miss when there is a shared cache to ask."""
        found = self._memory.get(key)
        if found is not None or self._shared is None:
            self._count("misses" if found is None else "hits")
        return found

    async def recall(self, key: bytes, seconds: float) -> bytes | None:
        """From memory, else from the shared cache, at most so many seconds from now."""
        found = self.recall_now(key)
        asked = self._ask(key, seconds) if found is None else None
        if asked is None:
            return found
        done, _ = await asyncio.wait([asyncio.wrap_future(asked)], timeout=seconds)
        return self._counted(done.pop().result()) if done else self._late()

    def recall_blocking(self, key: bytes, seconds: float) -> bytes | None:
        """As ``recall``, for callers without an event loop."""
        found = self.recall_now(key)
        asked = self._ask(key, seconds) if found is None else None
        if asked is None:
            return found
        try:
            return self._counted(asked.result(seconds))
        except FutureTimeout:
            return self._late()

    def _ask(self, key: bytes, seconds: float) -> Future[bytes | None] | None:
        """The shared cache's answer to come; ``None`` when it is not asked."""
        if self._shared is None:
            return None
        with self._lock:
            may = seconds > 0 and self._asking < READERS and not self._queue.is_closed
            if not may or not self._breaker.may_ask(self._now()):
                self._counts["skipped"] += 1
                self._counts["misses"] += 1
                return None
            self._readers = self._readers or ThreadPoolExecutor(READERS, "bursty-recall")
            self._asking += 1
            return self._readers.submit(self._get, self._shared, key)

    def _get(self, shared: Cache, key: bytes) -> bytes | None:
        try:
            found = shared.get(key)
        except StoreError:
            self._failed()
            return None
        else:
            self._worked()
            return found
        finally:
            with self._lock:
                self._asking -= 1

    def _counted(self, found: bytes | None) -> bytes | None:
        self._count("misses" if found is None else "hits")
        return found

    def _late(self) -> None:
        self._count("late")
        self._count("misses")

    # State of the shared cache

    @property
    def counts(self) -> AnswerCounts:
        """Until now."""
        with self._lock:
            return AnswerCounts(**self._counts, dropped=self._queue.dropped)

    def _count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self._counts[what] += number

    @property
    def is_shared_down(self) -> bool:
        """Whether the shared cache failed so often that it is left alone for now."""
        return self._breaker.is_open

    def _may_ask(self) -> bool:
        with self._lock:
            return self._breaker.may_ask(self._now())

    def _failed(self) -> None:
        with self._lock:
            self._counts["errors"] += 1
            self._breaker.failed(self._now())

    def _worked(self) -> None:
        with self._lock:
            self._breaker.worked()

    def flush(self, timeout: float) -> bool:
        """Write what waits, at most so long; tell whether nothing waits any more."""
        return self._queue.wait_empty(timeout)

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Write what waits, at most so long, and close the shared cache."""
        self._queue.close()
        with self._lock:
            writer, readers = self._writer, self._readers
        if writer is not None:
            writer.join(timeout)
        if readers is not None:
            readers.shutdown(wait=False, cancel_futures=True)
        if self._shared is not None and (writer is None or not writer.is_alive()):
            self._shared.close()


class _Queue:
    """What waits to be written: of each key the newest value, with the time when it ends. Bounded in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._items: dict[bytes, tuple[bytes, float]] = {}
        self._bytes = 0
        self._changed = threading.Condition()
        self._taken = False
        """A batch is being written."""
        self._in_a_hurry = False
        """Somebody waits for all of it to be written."""
        self.is_closed = False
        self.dropped = 0

    def put(self, key: bytes, value: bytes, end: float) -> None:
        with self._changed:
            if self.is_closed:
                self.dropped += 1
                return
            self._keep(key, value, end)
            if len(self._items) in (1, BATCH_ITEMS):
                self._changed.notify_all()

    def _keep(self, key: bytes, value: bytes, end: float) -> None:
        present = self._items.get(key)
        size = self._bytes + len(value) - (len(present[0]) if present is not None else -len(key))
        if size > self._max:
            self.dropped += 1
            return
        self._items[key] = value, end
        self._bytes = size

    def put_back(self, batch: dict[bytes, tuple[bytes, float]]) -> None:
        """What could not be written, unless something newer waits."""
        with self._changed:
            for key, (value, end) in batch.items():
                if key not in self._items:
                    self._keep(key, value, end)

    def drop(self, count: int) -> None:
        """Count what was taken and is of no use any more."""
        with self._changed:
            self.dropped += count

    def drop_all(self) -> None:
        with self._changed:
            self.dropped += len(self._items)
            self._items.clear()
            self._bytes = 0

    def wait(self) -> bool:
        """Until there is a batch, gathered for a moment; ``False``: closed and empty."""
        with self._changed:
            self._taken = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._items or self.is_closed)
            self._changed.wait_for(
                lambda: self.is_closed or self._in_a_hurry or len(self._items) >= BATCH_ITEMS, GATHER_SECONDS
            )
            return bool(self._items)

    def pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.is_closed, seconds)

    def take(self) -> dict[bytes, tuple[bytes, float]]:
        """The oldest, to be written."""
        batch: dict[bytes, tuple[bytes, float]] = {}
        size = 0
        with self._changed:
            self._taken = True
            for key, item in self._items.items():
                if batch and (len(batch) == BATCH_ITEMS or size + len(item[0]) > BATCH_BYTES):
                    break
                batch[key] = item
                size += len(item[0])
            for key in batch:
                self._bytes -= len(key) + len(self._items.pop(key)[0])
        return batch

    def wait_empty(self, timeout: float) -> bool:
        with self._changed:
            self._in_a_hurry = True
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._items and not self._taken, timeout)
            finally:
                self._in_a_hurry = False

    def close(self) -> None:
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()
