"""Answers for fallbacks: recalled in time, whatever becomes of the shared cache; and when that is left alone."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.core.answers import Stamp
from bursty.core.breaker import Breaker
from bursty.errors import StoreError
from bursty.ports.serving import CacheItem
from bursty.serving.answers import MAX_REQUEST, READERS, Answers
from bursty.stores.cache import MemoryCache
from bursty.stores.cache_redis import RedisCache
from bursty.stores.cache_sqlite import SqliteCache
from bursty.testing import FakeClock
from conformance.cache import LONG, await_that
from redis_server import Redis, run_redis
from tcp_proxy import Proxy

PATIENT = 60.0
"""Seconds; what works answers sooner on any machine."""
BRIEF = 0.05


class ScriptedCache(MemoryCache):
    """Fails while ``fails``, and hangs while ``hangs``."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False
        self.asked = 0
        self.began = threading.Event()
        self.puts: list[Sequence[CacheItem]] = []
        self.goes = threading.Event()
        self.goes.set()
        self.closed = False

    def get(self, key: bytes) -> bytes | None:
        self.asked += 1
        self.began.set()
        self._check()
        return super().get(key)

    def put_many(self, items: Sequence[CacheItem]) -> None:
        self._check()
        self.puts.append(items)
        super().put_many(items)

    def _check(self) -> None:
        assert self.goes.wait(PATIENT)
        if self.fails:
            raise StoreError("the cache is away")

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def shared() -> ScriptedCache:
    return ScriptedCache()


@pytest.fixture
def answers(shared: ScriptedCache) -> Iterator[Answers]:
    answers = Answers(shared)
    yield answers
    shared.goes.set()
    answers.close()


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    yield from run_redis()


# Keys


def test_keys_tell_what_they_are_of() -> None:
    answers, other = Answers(scope="a"), Answers(scope="b")
    stamp = Stamp("v1", ("knn@3",))
    names = ["rank", "ran"]
    keys = [
        answers.key("rank", stamp, b"{}"),
        answers.key("rank", stamp, b"{ }"),
        answers.key("rank", Stamp("v1", ("knn@4",)), b"{}"),
        answers.key("rank", Stamp("v2", ("knn@3",)), b"{}"),
        answers.key("rank2", stamp, b"{}"),
        other.key("rank", stamp, b"{}"),
        other.any_key("rank"),
        *(answers.any_key(name) for name in names),
    ]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys if key is not None} == {32}
    assert answers.key("rank", str(stamp), memoryview(b"{}")) == keys[0]


def test_names_and_requests_can_not_be_mistaken_for_each_other() -> None:
    answers = Answers()
    assert answers.key("a", "v1", b"x") != answers.key("a", "v1x", b"")
    assert answers.any_key("a") != answers.key("a", "", b"")


def test_long_requests_are_not_cached() -> None:
    answers = Answers()
    assert answers.key("a", "v", bytes(MAX_REQUEST)) is not None
    assert answers.key("a", "v", bytes(MAX_REQUEST + 1)) is None


# Memory


def test_memory_alone() -> None:
    clock = FakeClock()
    answers = Answers(clock=clock)
    answers.remember(b"a", b"1", 10)
    assert answers.recall_now(b"a") == b"1"
    assert answers.recall_blocking(b"b", PATIENT) is None
    assert asyncio.run(answers.recall(b"a", PATIENT)) == b"1"
    clock.advance(10)
    assert answers.recall_now(b"a") is None
    assert (answers.counts.hits, answers.counts.misses) == (2, 2)
    answers.close()


# The shared cache


def test_what_one_process_remembers_another_recalls(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/answers.sqlite"
    first, second = Answers(SqliteCache(url)), Answers(SqliteCache(url))
    first.remember(b"a", b"1", LONG)
    assert first.flush(PATIENT)
    assert second.recall_now(b"a") is None
    assert asyncio.run(second.recall(b"a", PATIENT)) == b"1"
    assert second.recall_blocking(b"a", PATIENT) == b"1"
    assert second.recall_blocking(b"b", PATIENT) is None
    assert (second.counts.hits, second.counts.misses) == (2, 1)
    first.remember(b"b", b"2", LONG)
    first.close()
    assert second.recall_blocking(b"b", PATIENT) == b"2", "closing writes what waits"
    second.close()


def test_the_newest_is_written_in_few_batches(answers: Answers, shared: ScriptedCache) -> None:
    for number in range(1000):
        answers.remember(b"%d" % (number % 10), b"%d" % number, LONG)
    assert answers.flush(PATIENT)
    assert [MemoryCache.get(shared, b"%d" % number) for number in range(10)] == [b"%d" % (990 + n) for n in range(10)]
    assert len(shared.puts) < 500
    assert answers.counts.written == sum(map(len, shared.puts))
    assert answers.counts.dropped == 0


def test_a_queue_that_is_full_drops_and_counts(shared: ScriptedCache) -> None:
    answers = Answers(shared, queue_bytes=10_000)
    shared.goes.clear()
    for number in range(100):
        answers.remember(b"%d" % number, bytes(1000), LONG)
    dropped = answers.counts.dropped
    assert 80 <= dropped <= 91, "ten wait; up to ten more were being written"
    assert all(answers.recall_now(b"%d" % number) for number in range(100)), "memory has them all"
    shared.goes.set()
    assert answers.flush(PATIENT)
    assert answers.counts.written == 100 - dropped
    answers.close()


def test_what_could_not_be_written_is_written_later(answers: Answers, shared: ScriptedCache) -> None:
    shared.fails = True
    answers.remember(b"a", b"1", LONG)
    answers.remember(b"b", b"2", LONG)
    await_that(lambda: answers.is_shared_down)
    answers.remember(b"a", b"3", LONG)
    shared.fails = False
    assert answers.flush(PATIENT)
    assert (MemoryCache.get(shared, b"a"), MemoryCache.get(shared, b"b")) == (b"3", b"2")
    assert answers.counts.dropped == 0
    assert not answers.is_shared_down


def test_closing_while_the_shared_cache_fails(shared: ScriptedCache) -> None:
    shared.fails = True
    answers = Answers(shared)
    for number in range(10):
        answers.remember(b"%d" % number, b"1", LONG)
    answers.close(PATIENT)
    assert answers.counts.dropped == 10
    assert shared.closed
    answers.remember(b"a", b"1", LONG)
    assert answers.recall_blocking(b"b", PATIENT) is None
    assert answers.counts.dropped == 11


# In time


def recall_both_ways(answers: Answers, key: bytes, seconds: float) -> list[bytes | None]:
    return [answers.recall_blocking(key, seconds), asyncio.run(answers.recall(key, seconds))]


def test_a_cache_that_hangs_costs_no_more_than_the_time_there_is(answers: Answers, shared: ScriptedCache) -> None:
    MemoryCache.put(shared, b"a", b"1", LONG)
    shared.goes.clear()
    assert recall_both_ways(answers, b"a", BRIEF) == [None, None]
    assert answers.counts.late == 2
    for _ in range(10):
        recall_both_ways(answers, b"a", BRIEF)
    assert shared.asked == READERS, "threads don't pile up"
    assert answers.counts.skipped == 22 - READERS
    shared.goes.set()
    await_that(lambda: recall_both_ways(answers, b"a", PATIENT) == [b"1", b"1"])


def test_no_time_is_no_question(answers: Answers, shared: ScriptedCache) -> None:
    assert recall_both_ways(answers, b"a", 0.0) == [None, None]
    assert recall_both_ways(answers, b"a", -1.0) == [None, None]
    assert shared.asked == 0


def test_a_cache_that_fails_is_left_alone_for_a_while() -> None:
    shared, clock = ScriptedCache(), FakeClock()
    MemoryCache.put(shared, b"a", b"1", LONG)
    answers = Answers(shared, clock=clock)
    shared.fails = True
    for _ in range(20):
        assert answers.recall_blocking(b"a", PATIENT) is None
    assert shared.asked == 2
    assert answers.is_shared_down
    shared.fails = False
    clock.advance(0.6)
    assert answers.recall_blocking(b"a", PATIENT) == b"1"
    assert not answers.is_shared_down
    assert (answers.counts.errors, answers.counts.skipped, answers.counts.hits) == (2, 18, 1)
    answers.close()


def test_a_recall_that_is_cancelled(answers: Answers, shared: ScriptedCache) -> None:
    async def main() -> None:
        shared.goes.clear()
        task = asyncio.create_task(answers.recall(b"a", PATIENT))
        assert await asyncio.to_thread(shared.began.wait, PATIENT)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        shared.goes.set()

    asyncio.run(main())
    answers.recall_blocking(b"a", PATIENT)
    assert shared.asked == 2, "its thread is free again"


# Redis


def test_a_redis_that_hangs_restarts_and_comes_back(redis: Redis) -> None:
    answers, other = Answers(RedisCache(redis.url)), Answers(RedisCache(redis.url, PATIENT))
    answers.remember(b"a", b"1", LONG)
    assert answers.flush(PATIENT)
    assert other.recall_blocking(b"a", PATIENT) == b"1"
    with redis.hanging():
        for _ in range(50):
            assert answers.recall_blocking(b"b", 0.01) is None
            answers.remember(b"c", b"2", LONG)
        await_that(lambda: answers.is_shared_down)
        assert answers.recall_now(b"c") == b"2"
    assert answers.flush(PATIENT), "what waited is written by itself"
    assert other.recall_blocking(b"c", PATIENT) == b"2"
    redis.restart()
    answers.remember(b"d", b"3", LONG)
    assert answers.flush(PATIENT)
    assert other.recall_blocking(b"d", PATIENT) == b"3"
    answers.close()
    other.close()


@pytest.mark.parametrize("cut", [{"up": 0}, {"down": 0}], ids=["before", "midway"])
def test_a_connection_that_breaks(redis: Redis, cut: dict[str, int]) -> None:
    with Proxy(redis.port) as proxy:
        answers = Answers(RedisCache(proxy.url.replace("http", "redis"), PATIENT))
        proxy.cut(**cut)
        for _ in range(20):
            assert answers.recall_blocking(b"none", PATIENT) is None
        answers.remember(b"e", b"1", LONG)
        await_that(lambda: answers.is_shared_down)
        proxy.cut()
        assert answers.flush(PATIENT)
        answers.close()
    with contextlib.closing(RedisCache(redis.url, PATIENT)) as cache:
        assert cache.get(b"e") == b"1"


# The breaker


def test_the_breaker_closes_when_one_try_goes_well() -> None:
    breaker = Breaker(failures=2, pause=1, longest=4)
    breaker.failed(0)
    assert breaker.may_ask(0)
    breaker.failed(0)
    assert breaker.is_open
    assert [breaker.may_ask(at) for at in (0.9, 1, 1, 1.9)] == [False, True, False, False]
    breaker.failed(1)
    assert [breaker.may_ask(at) for at in (2.9, 3)] == [False, True]
    breaker.worked()
    assert breaker.may_ask(3)


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=60))
def test_the_breaker_asks_seldom_while_it_fails_and_soon_again(steps: list[tuple[float, bool]]) -> None:
    """Whatever happens: while open no two tries come within a pause, and the longest pause is never exceeded."""
    breaker = Breaker()
    now, last = 0.0, None
    for wait, works in steps:
        now += wait
        was_open = breaker.is_open
        may = breaker.may_ask(now)
        assert may or was_open
        assert may or last is None or now - last < breaker.longest
        if not may:
            continue
        assert not was_open or last is None or now - last >= breaker.pause
        last = now
        if works:
            breaker.worked()
            assert breaker.may_ask(now)
        else:
            breaker.failed(now)
