"""Answers in this process's memory, bounded in bytes."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bursty.ports import Clock
from bursty.ports.serving import Cache, CacheItem

OVERHEAD = 200
"""Bytes that an item costs beside its key and value, about."""


class MemoryCache:
    """``Cache`` of at most ``max_bytes``; what nobody asked for goes first. ``clock``: whose time counts."""

    url = "memory://"

    def __init__(self, max_bytes: int = 64 << 20, clock: Clock | None = None) -> None:
        self._max = max_bytes
        self._now = clock.monotonic if clock is not None else time.monotonic
        self._items: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: bytes) -> bytes | None:
        with self._lock:
            found = self._items.get(key)
            if found is None:
                return None
            if found[1] <= self._now():
                self._drop(key)
                return None
            self._items.move_to_end(key)
            return found[0]

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        with self._lock:
            self._put(key, value, self._now() + ttl)

    def put_many(self, items: Sequence[CacheItem]) -> None:
        with self._lock:
            now = self._now()
            for key, value, ttl in items:
                self._put(key, value, now + ttl)

    def _put(self, key: bytes, value: bytes, end: float) -> None:
        self._drop(key)
        size = len(key) + len(value) + OVERHEAD
        if size > self._max:
            return
        self._items[key] = value, end
        self.bytes += size
        while self.bytes > self._max:
            self._drop(next(iter(self._items)))

    def _drop(self, key: bytes) -> None:
        found = self._items.pop(key, None)
        if found is not None:
            self.bytes -= len(key) + len(found[0]) + OVERHEAD

    def prune(self, *, dry_run: bool = False) -> int:
        with self._lock:
            now = self._now()
            old = [key for key, (_, end) in self._items.items() if end <= now]
            for key in () if dry_run else old:
                self._drop(key)
            return len(old)

    def close(self) -> None:
        """There is nothing to close: what it keeps goes with it."""


if TYPE_CHECKING:
    _adapters: list[type[Cache]] = [MemoryCache]
