"""Caches of answers: the suite on each, and what can go wrong with a file and with a Redis."""

import contextlib
import sqlite3
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bursty import wiring
from bursty.errors import ConfigError, MissingExtra, StoreError
from bursty.ports.serving import CacheItem
from bursty.stores.cache import MemoryCache
from bursty.stores.cache_redis import RedisCache
from bursty.stores.cache_sqlite import SqliteCache
from bursty.testing import FakeClock
from conformance.cache import LONG, CacheSuite, Small, await_that
from redis_server import PASSWORD, Redis, run_redis
from servers import free_port
from test_blobs import run_python, small_disk

SMALL = 1 << 20


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    yield from run_redis()


@pytest.fixture(scope="module")
def own_redis() -> Iterator[Redis]:
    """One that tests may stop."""
    yield from run_redis(PASSWORD)


class TestMemory(CacheSuite):
    @pytest.fixture
    def cache(self) -> MemoryCache:
        return MemoryCache()

    @pytest.fixture
    def small(self) -> Small:
        return MemoryCache(SMALL), SMALL


class TestSqlite(CacheSuite):
    @pytest.fixture
    def cache(self, tmp_path: Path) -> Iterator[SqliteCache]:
        with contextlib.closing(SqliteCache(url_of(tmp_path / "answers.sqlite"))) as cache:
            yield cache

    @pytest.fixture
    def small(self, tmp_path: Path) -> Iterator[Small]:
        with contextlib.closing(SqliteCache(url_of(tmp_path / "small.sqlite"), SMALL)) as cache:
            yield cache, SMALL


class TestRedis(CacheSuite):
    @pytest.fixture
    def cache(self, redis: Redis) -> Iterator[RedisCache]:
        with contextlib.closing(patient(redis.url)) as cache:
            flush(redis)
            yield cache

    @pytest.fixture
    def small(self) -> Small:
        return None


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def patient(url: str) -> RedisCache:
    """Whose answers may take as long as a busy machine needs."""
    return RedisCache(url, timeout=30)


def flush(redis: Redis) -> None:
    import redis as client

    with client.Redis.from_url(redis.url) as connection:
        connection.flushall()


# Memory


def test_memory_drops_what_nobody_asked_for() -> None:
    cache = MemoryCache(3 * 1300)
    for key in (b"a", b"b", b"c"):
        cache.put(key, bytes(1000), LONG)
    cache.get(b"a")
    cache.put(b"d", bytes(1000), LONG)
    assert [key for key in (b"a", b"b", b"c", b"d") if cache.get(key)] == [b"a", b"c", b"d"]


def test_memory_counts_its_bytes() -> None:
    clock = FakeClock()
    cache = MemoryCache(clock=clock)
    cache.put_many([CacheItem(b"%d" % number, bytes(100), 1 + number % 2) for number in range(100)])
    cache.put(b"7", bytes(50), 2)
    clock.advance(1.5)
    assert cache.prune(dry_run=True) == cache.prune() == 50
    assert len(cache) == 50
    clock.advance(1)
    assert cache.get(b"1") is None
    assert cache.prune() == 49
    assert cache.bytes == 0


# SQLite


def test_a_file_is_private_and_shared_by_processes(tmp_path: Path) -> None:
    path = tmp_path / "home" / "answers.sqlite"
    with contextlib.closing(SqliteCache(url_of(path))) as cache:
        cache.put(b"a", b"1", LONG)
        code = """
            import sys
            from bursty.stores.cache_sqlite import SqliteCache
            cache = SqliteCache(sys.argv[1])
            print(cache.get(b"a"))
            cache.put(b"b", b"2", 1000)
        """
        done = run_python(code, cache.url)
        assert (done.stdout, done.stderr) == ("b'1'\n", "")
        assert cache.get(b"b") == b"2"
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_forgets_what_is_out_of_date(tmp_path: Path) -> None:
    clock = FakeClock()
    with contextlib.closing(SqliteCache(url_of(tmp_path / "a"), clock=clock)) as cache:
        cache.put_many([CacheItem(b"a", b"1", 10), CacheItem(b"b", b"2", 20)])
        clock.advance(10)
        assert (cache.get(b"a"), cache.get(b"b")) == (None, b"2")
        assert cache.prune(dry_run=True) == cache.prune() == 1
        clock.advance(10)
        cache.put(b"c", b"3", 10)
        assert cache.prune() == 0, "every put forgets, too"


def test_a_file_stays_within_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with contextlib.closing(SqliteCache(url_of(path), SMALL)) as cache:
        for number in range(2000):
            cache.put_many([CacheItem(b"%d" % number, bytes(1000 + number % 3000), LONG)])
        assert cache.get(b"1999") is not None
    assert path.stat().st_size < 1.2 * SMALL


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"no database at all " * 1000)
    with contextlib.closing(SqliteCache(url_of(path))) as cache:
        cache.put(b"a", b"1", LONG)
        assert cache.get(b"a") == b"1"
    assert (tmp_path / "answers.damaged").read_bytes().startswith(b"no database")


def test_a_full_disk_and_then_room(tmp_path: Path) -> None:
    with small_disk(tmp_path):
        cache = SqliteCache(url_of(tmp_path / "answers.sqlite"))
        cache.put(b"a", b"1", LONG)
        filler = tmp_path / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(StoreError, match=r"full|disk I/O") as caught:
            cache.put_many([CacheItem(b"%d" % number, bytes(100_000), LONG) for number in range(100)])
        assert "BURSTY_ANSWERS" in caught.value.hint
        assert cache.get(b"a") == b"1"
        filler.unlink()
        cache.put(b"b", b"2", LONG)
        assert cache.get(b"b") == b"2"
        cache.close()


def test_a_locked_file_fails_and_then_works(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with contextlib.closing(SqliteCache(url_of(path))) as cache, contextlib.closing(sqlite3.connect(path)) as other:
        cache.put(b"a", b"1", LONG)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            cache.put(b"b", b"2", LONG)
        assert cache.get(b"a") == b"1", "who reads does not wait"
        other.rollback()
        cache.put(b"b", b"2", LONG)


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be made"):
        SqliteCache(url_of(tmp_path / "file" / "answers.sqlite"))


# Redis


def test_keys_in_redis_have_a_prefix(redis: Redis) -> None:
    import redis as client

    flush(redis)
    with contextlib.closing(patient(redis.url)) as cache, client.Redis.from_url(redis.url) as connection:
        cache.put(b"a", b"1", 100)
        assert connection.keys("*") == [b"bursty:a"]
        assert 0 < connection.ttl("bursty:a") <= 100


def test_a_redis_that_is_not_there() -> None:
    cache = RedisCache(f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0")
    for use in (lambda: cache.get(b"a"), lambda: cache.put(b"a", b"1", LONG)):
        with pytest.raises(StoreError, match="refused") as caught:
            use()
        assert PASSWORD not in str(caught.value)
    assert PASSWORD not in f"{cache!r} {cache.url}"


def test_a_redis_that_hangs_and_goes_on(own_redis: Redis) -> None:
    with contextlib.closing(RedisCache(own_redis.url, timeout=0.1)) as cache:
        await_that(lambda: put(cache, b"a", b"1"))
        with own_redis.hanging(), pytest.raises(StoreError, match=r"[Tt]imeout"):
            cache.get(b"a")
        await_that(lambda: get(cache, b"a") == b"1")


def test_a_redis_that_restarts(own_redis: Redis) -> None:
    with contextlib.closing(patient(own_redis.url)) as cache:
        for _ in range(2):
            cache.put(b"a", b"1", LONG)
            own_redis.restart()
            assert cache.get(b"a") is None, "the old connection is noticed and made anew"


def test_a_wrong_password(own_redis: Redis) -> None:
    with contextlib.closing(patient(own_redis.url.replace(PASSWORD, "wrong"))) as cache:
        with pytest.raises(StoreError) as caught:
            cache.get(b"a")
        assert caught.value.hint == "Check the user and the password."


def put(cache: RedisCache, key: bytes, value: bytes) -> bool:
    try:
        cache.put(key, value, LONG)
    except StoreError:
        return False
    return True


def get(cache: RedisCache, key: bytes) -> bytes | None:
    try:
        return cache.get(key)
    except StoreError:
        return None


# URLs


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", MemoryCache),
        ("redis://127.0.0.1:1/0", RedisCache),
        ("rediss://user:secret@127.0.0.1:1/0?ssl_cert_reqs=required", RedisCache),
    ],
)
def test_urls(url: str, kind: type) -> None:
    cache = wiring.open_cache(url)
    assert type(cache) is kind
    assert "secret" not in cache.url
    cache.close()


def test_a_url_of_a_file(tmp_path: Path) -> None:
    cache = wiring.open_cache(url_of(tmp_path / "a.sqlite"))
    assert type(cache) is SqliteCache
    assert cache.url == url_of(tmp_path / "a.sqlite")
    cache.close()


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite://", "memcached://a", "redis://h:port", "redis://h/?db=x", ""])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError):
        wiring.open_cache(url)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtra) as caught:
        wiring.open_cache("redis://127.0.0.1")
    assert 'pip install "bursty[redis]"' in str(caught.value)
