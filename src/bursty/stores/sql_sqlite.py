"""SQLite behind ``SqlState``: one file, any number of threads and processes of one machine.

Readers never wait (WAL). Writers of a process queue up in front of a lock, those of other processes at SQLite's own, so
that nobody hears of a locked database.

What was promised to somebody (a run is queued, a run has ended, a document was written) is on the disk when the call
returns. Claims and renewals are written without waiting for the disk: a crash of the machine takes the workers that
hold the leases with it, and a crash of the process alone loses nothing.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from bursty.changes import Change, EventDraft
from bursty.errors import ConfigError, StoreError
from bursty.records import RUN_FIELDS, RunRecord
from bursty.stores import sql_schema
from bursty.stores.private import make_private
from bursty.stores.sql_rows import event_values, fetch_runs, outbox_values, present, statement, values_of
from bursty.stores.sql_text import (
    ANY_DUE,
    COLUMNS,
    INSERT_EVENT,
    Binds,
    assignments,
    condition,
    next_due,
    select_due,
)
from bursty.stores.wakes import Wakes

T = TypeVar("T")

SCHEME = "sqlite:///"
BUSY_SECONDS = 30.0
LOOK_SECONDS = 0.001
"""How often a writer looks whether it is its turn."""
POLL_SECONDS = 0.01
"""How often a waiting thread looks whether another process has written: it reads a counter in shared memory."""

VALUES = ", ".join(f":{name}" for name in RUN_FIELDS)
INSERT_RUN = statement(f"INSERT INTO bursty_runs ({COLUMNS}) VALUES ({VALUES})")
INSERT_OUTBOX = statement(
    "INSERT INTO bursty_outbox (id, run, app, kind, data, tries, due, created_at) "
    "VALUES (:id, :run, :app, :kind, :data, 0, :now, :now)"
)

_abandoned: list[object] = []
"""What a forked process must neither use nor close."""


class Sqlite:
    """The file at ``url``. ``clock``: seconds since the epoch."""

    now_sql = ":now"
    locking = ""
    hide = "+"

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        path = url.removeprefix(SCHEME)
        if path in ("", ":memory:"):
            raise ConfigError(f"{url!r} names no file", 'A file: "sqlite:///state.sqlite". In memory: "memory://".')
        self.path = Path(path).absolute()
        self.url = f"{SCHEME}{self.path}"
        self.clock = clock
        make_private(self.path, "state file", "BURSTY_STATE")
        self._open()
        self._prepare()

    # Connections

    def _open(self) -> None:
        self._pid = os.getpid()
        self.wakes = Wakes()
        self._lock = threading.Lock()
        self._here = threading.local()
        self._engine = sa.create_engine(
            "sqlite://", creator=self._connect, poolclass=sa.QueuePool, pool_size=4, max_overflow=-1,
            isolation_level="AUTOCOMMIT", pool_reset_on_return=None, hide_parameters=True,
        )  # fmt: skip
        self._writer: sa.Connection | None = None
        self._is_durable = True

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        return connection

    def _check_fork(self) -> None:
        """SQLite's connections don't survive a fork, and closing them there would hurt the parent's."""
        if os.getpid() != self._pid:
            _abandoned.append((self._engine, self._writer, self._here))
            self._open()

    def _prepare(self) -> None:
        """Make the tables, unless they are there."""
        with self._errors(), self._engine.connect() as connection:
            if sql_schema.is_current(connection, str(self.path)):
                return
            driver: Any = connection.connection.driver_connection
            # Readers beside a writer. Where the file system can't do that, it stays as it is, which is slower.
            _begin(driver, "PRAGMA journal_mode = WAL")
            _begin(driver)
            try:
                if not sql_schema.is_current(connection, str(self.path)):
                    sql_schema.upgrade(connection)
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise

    def close(self) -> None:
        """Let the file go; used again, it is opened again."""
        self._check_fork()
        with self._lock:
            if self._writer is not None:
                self._writer.close()
            self._writer = None
        self._here = threading.local()
        self._engine.dispose()

    @contextmanager
    def _errors(self) -> Generator[None, None, None]:
        try:
            yield
        except (exc.DBAPIError, sqlite3.Error) as error:
            raise _store_error(self.path, error) from error

    # Reading and writing

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Do ``work`` with a connection."""
        self._check_fork()
        with self._errors(), self._engine.connect() as connection:
            return work(connection)

    def write(self, work: Callable[[sa.Connection, float], T], *, durable: bool = True) -> T:
        """Do ``work`` with a connection and the time, as one transaction."""
        self._check_fork()
        with self._lock, self._errors():
            connection = self._writer = self._writer or self._new_writer()
            driver: Any = connection.connection.driver_connection
            try:
                if durable != self._is_durable:
                    driver.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                    self._is_durable = durable
                _begin(driver)
                result = work(connection, self.clock())
                driver.execute("COMMIT")
            except BaseException:
                self._roll_back(connection)
                raise
            return result

    def _new_writer(self) -> sa.Connection:
        connection = self._engine.connect()
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")  # see ``_begin``
        return connection

    def _roll_back(self, connection: sa.Connection) -> None:
        """Also what SQLite has rolled back by itself, say on a full disk. The next write gets a new connection."""
        self._writer, self._is_durable = None, True
        connection.invalidate()
        connection.close()

    def now(self) -> float:
        return self.clock()

    # Runs

    def submit(self, run: RunRecord, event: EventDraft) -> tuple[RunRecord, bool]:
        def work(connection: sa.Connection, now: float) -> tuple[RunRecord, bool]:
            fresh = replace(run, created_at=now, not_before=run.not_before or now, seq=1)
            if (given := present(connection, run)) is not None:
                return given, False
            connection.execute(INSERT_RUN, values_of(fresh))
            _write_events(connection, [event_values(run.id, 1, event, now)])
            return fresh, True

        given, new = self.write(work)
        if new:
            self.wakes.wake()
        return given, new

    def change(self, changes: Sequence[Change]) -> list[RunRecord | None]:
        def work(connection: sa.Connection, now: float) -> list[RunRecord | None]:
            return [self._change(connection, change, now) for change in changes]

        after = self.write(work, durable=_must_last(changes))
        self._tell(after)
        return after

    def _change(self, connection: sa.Connection, change: Change, now: float) -> RunRecord | None:
        binds = Binds(now=now, run=change.run)
        then = assignments(change.then, ":now", binds, event=change.event is not None)
        when = condition(change.when, ":now", binds)
        text = f"UPDATE bursty_runs SET {then} WHERE id = :run AND {when} RETURNING {COLUMNS}"
        runs = fetch_runs(connection, text, binds)
        if not runs:
            return None
        run = runs[0]
        if change.event is not None:
            _write_events(connection, [event_values(run.id, run.seq, change.event, now)])
        if change.outbox:
            connection.execute(INSERT_OUTBOX, outbox_values(run, change.outbox, now))
        return run

    def claim(self, change: Change, limit: int, app: str | None) -> list[RunRecord]:
        self._look()
        return self.write(lambda connection, now: self._claim(connection, change, limit, app, now), durable=False)

    def change_and_claim(
        self, changes: Sequence[Change], claim: Change, limit: int, app: str | None
    ) -> tuple[list[RunRecord | None], list[RunRecord]]:
        def work(connection: sa.Connection, now: float) -> tuple[list[RunRecord | None], list[RunRecord]]:
            after = [self._change(connection, change, now) for change in changes]
            return after, self._claim(connection, claim, limit, app, now)

        self._look()
        after, claimed = self.write(work, durable=_must_last(changes))
        self._tell(after)
        return after, claimed

    def _claim(
        self, connection: sa.Connection, change: Change, limit: int, app: str | None, now: float
    ) -> list[RunRecord]:
        binds = Binds(now=now, app=app, limit=limit)
        then = assignments(change.then, ":now", binds, event=change.event is not None)
        due = select_due(change, ":now", app, "", binds)
        text = f"UPDATE bursty_runs SET {then} WHERE id IN ({due}) RETURNING {COLUMNS}"
        runs = fetch_runs(connection, text, binds)
        if runs and change.event is not None:
            _write_events(connection, [event_values(run.id, run.seq, change.event, now) for run in runs])
        return runs

    def _tell(self, after: Sequence[RunRecord | None]) -> None:
        """Wake who waits, when a run was queued again."""
        if any(run is not None and run.status == "queued" for run in after):
            self.wakes.wake()

    # Waiting

    def _look(self) -> None:
        """This thread is about to look for runs: what is written from now on ends its next ``wait``."""
        self.wakes.looking()
        if hasattr(self._here, "watch"):
            self._here.seen = self._written()

    def _written(self) -> int:
        """A number that changes when any other connection has written; each thread watches with one of its own."""
        if not hasattr(self._here, "watch"):
            self._here.watch = self._engine.connect()
        driver: Any = self._here.watch.connection.driver_connection
        return driver.execute("PRAGMA data_version").fetchall()[0][0]

    def wait(self, timeout: float) -> None:
        self._check_fork()
        end = time.monotonic() + timeout
        due_at = self._due_at()
        while True:
            nap = min(POLL_SECONDS, end - time.monotonic(), due_at - self.clock())
            if self.wakes.wait(max(nap, 0.0)) or self.clock() >= due_at or time.monotonic() >= end:
                return
            with self._errors():
                written = self._written()
            if written != getattr(self._here, "seen", None):
                self._here.seen = written
                if self.read(self._is_any_due):
                    return
                due_at = self._due_at()

    def _is_any_due(self, connection: sa.Connection) -> bool:
        return connection.execute(statement(ANY_DUE), {"now": self.clock()}).fetchone() is not None

    def _due_at(self) -> float:
        """When the next run will be due, or the next lease end."""
        now = self.clock()
        row = self.read(lambda connection: connection.execute(statement(next_due(":now")), {"now": now}).one())
        return min((at for at in row if at is not None), default=float("inf"))


def _write_events(connection: sa.Connection, events: Sequence[dict[str, Any]]) -> None:
    """Past SQLAlchemy, as ``fetch_runs``."""
    driver: Any = connection.connection.driver_connection
    driver.executemany(INSERT_EVENT, events)


def _must_last(changes: Sequence[Change]) -> bool:
    """Whether somebody was promised these: all but renewals."""
    return any(change.event is not None for change in changes)


def _begin(driver: sqlite3.Connection, statement: str = "BEGIN IMMEDIATE") -> None:
    """Wait for other processes ourselves: SQLite sleeps up to 100 ms between its looks, so that those who come late and
    look at the right moment go first again and again."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            driver.execute(statement)
        except sqlite3.OperationalError as error:
            if not _name(error).startswith("SQLITE_BUSY") or time.monotonic() > end:
                raise
        else:
            return
        time.sleep(random.uniform(0.2, 1.8) * LOOK_SECONDS)


def _name(error: exc.DBAPIError | sqlite3.Error) -> str:
    return getattr(getattr(error, "orig", error), "sqlite_errorname", "")


HINTS = {
    "SQLITE_FULL": "Free some space on its disk (bursty prune), then try again; nothing was half written.",
    "SQLITE_IOERR": "See whether its disk is full or failing (df, dmesg), then try again; nothing was half written.",
    "SQLITE_READONLY": "See that your user may write to the file and its folder, and that the disk is not read-only.",
    "SQLITE_CANTOPEN": "See that your user may write to the file and its folder, and that the disk is not read-only.",
    "SQLITE_CORRUPT": "Put a backup in its place, or move it away: bursty begins a new one.",
    "SQLITE_NOTADB": "It is no state file of bursty, or damaged. Move it away, or name another file in BURSTY_STATE.",
    "SQLITE_BUSY": "Another process has kept it locked for 30 seconds; see which one (fuser) and end it.",
}


def _store_error(path: Path, error: exc.DBAPIError | sqlite3.Error) -> StoreError:
    hint = next((hint for name, hint in HINTS.items() if _name(error).startswith(name)), "")
    return StoreError(f"the state file {path} can't be used: {getattr(error, 'orig', error)}", hint)
