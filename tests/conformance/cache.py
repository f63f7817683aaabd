"""What every ``Cache`` does. Subclass ``CacheSuite`` and give two fixtures: ``cache``, an empty one that holds at least
some MiB, and ``small``: a cache and its bound in bytes, or ``None`` where that is the server's business.
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from bursty.ports.serving import Cache, CacheItem

LONG = 1000.0
SHORT = 0.02

Small = tuple[Cache, int] | None


def await_that(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


class CacheSuite:
    @pytest.mark.parametrize("value", [b"", b"{}", bytes(range(256)) * 4000], ids=["empty", "short", "long"])
    @pytest.mark.parametrize("key", [b"k", bytes(range(32)), b"\xff\0\r\n" * 8])
    def test_gives_back_what_was_put(self, cache: Cache, key: bytes, value: bytes) -> None:
        assert cache.get(key) is None
        cache.put(key, value, LONG)
        assert cache.get(key) == value
        assert type(cache.get(key)) is bytes

    def test_the_later_put_counts(self, cache: Cache) -> None:
        cache.put(b"a", b"1", LONG)
        cache.put(b"a", b"2", LONG)
        assert cache.get(b"a") == b"2"
        cache.put_many([CacheItem(b"a", b"3", LONG), CacheItem(b"b", b"4", LONG), CacheItem(b"a", b"5", LONG)])
        assert (cache.get(b"a"), cache.get(b"b")) == (b"5", b"4")

    def test_putting_nothing(self, cache: Cache) -> None:
        cache.put_many([])

    def test_time_is_over(self, cache: Cache) -> None:
        cache.put_many([CacheItem(b"short", b"1", SHORT), CacheItem(b"long", b"2", LONG)])
        await_that(lambda: cache.get(b"short") is None)
        assert cache.get(b"long") == b"2"
        cache.prune()
        assert cache.get(b"long") == b"2"
        cache.put(b"short", b"3", LONG)
        assert cache.get(b"short") == b"3"

    def test_a_put_sets_the_time_anew(self, cache: Cache) -> None:
        cache.put(b"a", b"1", SHORT)
        cache.put(b"a", b"2", LONG)
        cache.put(b"b", b"1", SHORT)
        await_that(lambda: cache.get(b"b") is None)
        assert cache.get(b"a") == b"2"
        cache.put(b"a", b"3", SHORT)
        await_that(lambda: cache.get(b"a") is None)

    def test_endless_times(self, cache: Cache) -> None:
        cache.put(b"a", b"1", 1e12)
        assert cache.get(b"a") == b"1"

    def test_is_bounded(self, small: Small) -> None:
        if small is None:
            return
        cache, most = small
        size = most // 40
        for number in range(400):
            cache.put(b"%d" % number, os.urandom(size), LONG)
        kept = [number for number in range(400) if cache.get(b"%d" % number) is not None]
        assert kept[-1] == 399
        assert kept == list(range(kept[0], 400)), "the oldest went first"
        assert 10 <= len(kept) <= 40
        cache.put(b"large", bytes(2 * most), LONG)
        assert cache.get(b"large") is None
        assert cache.get(b"399") is not None

    def test_a_value_that_is_too_large_takes_the_old_one_away(self, small: Small) -> None:
        if small is None:
            return
        cache, most = small
        cache.put(b"a", b"old", LONG)
        cache.put(b"a", bytes(2 * most), LONG)
        assert cache.get(b"a") is None

    def test_threads(self, cache: Cache) -> None:
        gate = threading.Barrier(8)

        def work(number: int) -> None:
            gate.wait()
            for turn in range(50):
                cache.put_many([CacheItem(b"same", b"%d" % number * 1000, LONG), CacheItem(b"%d" % number, b"x", LONG)])
                found = cache.get(b"same")
                assert found is not None
                assert found == found[:1] * 1000
                assert cache.get(b"%d" % number) == b"x", turn

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))

    def test_used_after_a_close(self, cache: Cache) -> None:
        cache.put(b"a", b"1", LONG)
        cache.close()
        cache.close()
        cache.put(b"b", b"2", LONG)
        assert cache.get(b"b") == b"2"
        cache.close()
