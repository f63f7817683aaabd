"""Answers in a file of SQLite: for the processes of one machine, and for after a restart.

Readers never wait (WAL). What was put is safe from a crash of the process, not from one of the machine: a cache may
forget. A damaged file is put aside for a new one.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bursty.errors import ConfigError, StoreError
from bursty.ports import Clock
from bursty.ports.serving import Cache, CacheItem
from bursty.stores.private import make_private

T = TypeVar("T")

SCHEME = "sqlite:///"
BUSY_SECONDS = 1.0
PAGE_ROOM = 0.9
"""Of the file's bound, what may be in use after room was made: not every put shall have to make some."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL,
                                    ends REAL NOT NULL);
CREATE INDEX IF NOT EXISTS answers_ends ON answers (ends);
"""
DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


class SqliteCache:
    """``Cache`` at ``sqlite:///PATH``, of at most ``max_bytes`` on the disk; the oldest goes first.

    ``clock``: whose time counts. Raises ``StoreError`` when the file can't be opened, ``ConfigError`` for other URLs.
    """

    def __init__(self, url: str, max_bytes: int = 256 << 20, clock: Clock | None = None) -> None:
        name = url.removeprefix(SCHEME)
        if not url.startswith(SCHEME) or name in ("", ":memory:"):
            raise ConfigError(f"{url!r} names no file", 'A file: "sqlite:///answers.sqlite". In memory: "memory://".')
        self.path = Path(name).absolute()
        self.url = f"{SCHEME}{self.path}"
        self._max = max_bytes
        self._now = clock.time if clock is not None else time.time
        self._reading, self._writing = _Connection(self.path), _Connection(self.path)
        self._write(lambda connection: connection.executescript(SCHEMA))

    def get(self, key: bytes) -> bytes | None:
        with self._errors(), self._reading as connection:
            row = connection.execute(
                "SELECT value FROM answers WHERE key = ? AND ends > ?", (key, self._now())
            ).fetchone()
        return row[0] if row is not None else None

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        self.put_many([CacheItem(key, value, ttl)])

    def put_many(self, items: Sequence[CacheItem]) -> None:
        now = self._now()
        # A value that is too large is out of date at once, and so is what it replaces.
        rows = [
            (key, value, now + ttl) if len(value) <= self._max // 4 else (key, b"", now) for key, value, ttl in items
        ]

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            # A replaced row gets a new number, so that numbers are by age.
            connection.executemany("INSERT OR REPLACE INTO answers (key, value, ends) VALUES (?, ?, ?)", rows)
            _prune(connection, now)
            self._make_room(connection)
            connection.execute("COMMIT")

        self._write(work)

    def prune(self, *, dry_run: bool = False) -> int:
        if dry_run:
            with self._errors(), self._reading as connection:
                return connection.execute("SELECT COUNT(*) FROM answers WHERE ends <= ?", (self._now(),)).fetchone()[0]
        return self._write(lambda connection: _prune(connection, self._now()))

    def close(self) -> None:
        """Let the file go; used again, it is opened again."""
        self._reading.close()
        self._writing.close()

    def _make_room(self, connection: sqlite3.Connection) -> None:
        over = _used(connection) - self._max
        if over <= 0:
            return
        over += int((1 - PAGE_ROOM) * self._max)
        rows = connection.execute("SELECT id, length(value) + 100 FROM answers ORDER BY id")
        connection.execute("DELETE FROM answers WHERE id <= ?", (_last_of(rows, over),))

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._errors():
            try:
                with self._writing as connection:
                    return work(connection)
            except sqlite3.DatabaseError as error:
                if not _name(error).startswith(DAMAGED):
                    raise
            self._begin_anew()
            with self._writing as connection:
                connection.executescript(SCHEMA)
                return work(connection)

    def _begin_anew(self) -> None:
        """Without the damaged file, which is kept beside the new one for whoever wants to know."""
        self.close()
        self.path.replace(self.path.with_suffix(".damaged"))
        for end in ("-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)

    @contextmanager
    def _errors(self) -> Generator[None, None, None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the cache file {self.path} can't be used: {error}",
                "See that its disk has room and your user may write there, or name another one in BURSTY_ANSWERS.",
            ) from error


class _Connection:
    """A connection for one thread at a time, made when it is first needed; in a ``with``. What raises rolls back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> sqlite3.Connection:
        self._lock.acquire()
        try:
            self._connection = self._connection or self._connect()
        except BaseException:
            self._lock.release()
            raise
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None and self._connection is not None:
                self._connection.close()
                self._connection = None
        finally:
            self._lock.release()

    def _connect(self) -> sqlite3.Connection:
        make_private(self._path, "cache file", "BURSTY_ANSWERS")
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_size_limit = 16777216")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None


def _used(connection: sqlite3.Connection) -> int:
    """Bytes of pages that hold something."""
    numbers = [
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    ]
    return (numbers[0] - numbers[1]) * numbers[2]


def _last_of(rows: Iterable[tuple[int, int]], size: int) -> int:
    """The number of the last row that must go, so that so many bytes do."""
    last = 0
    for number, length in rows:
        last = number
        size -= length
        if size <= 0:
            break
    return last


def _prune(connection: sqlite3.Connection, now: float) -> int:
    return connection.execute("DELETE FROM answers WHERE ends <= ?", (now,)).rowcount


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "")


if TYPE_CHECKING:
    _adapters: list[type[Cache]] = [SqliteCache]
