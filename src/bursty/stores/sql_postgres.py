"""PostgreSQL behind ``SqlState``. The server's clock counts, and each transition is one statement: the conditional
update, its event and its outbox rows, in one round trip.

A server that restarts or a connection that breaks is waited for, and the work is done again: what had been
written before the answer was lost is refused by its own condition then.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from bursty.changes import Change, EventDraft
from bursty.errors import ConfigError, MissingExtra, StoreError
from bursty.records import RUN_FIELDS, RunRecord, RunStatus
from bursty.stores import sql_schema
from bursty.stores.sql_rows import fetch_all, fetch_runs, present, statement, values_of
from bursty.stores.sql_text import (
    COLUMNS,
    EVENT_COLUMNS,
    Binds,
    assignments,
    condition,
    next_due,
    plain,
    select_due,
)
from bursty.stores.texts import to_json
from bursty.stores.wakes import Wakes

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

NOW = "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS DOUBLE PRECISION)"
"""Unlike ``clock_timestamp()`` it stands still in a statement, so that indexes can be searched by it."""
CHANNEL = "bursty_due"
NOTIFY = f"pg_notify('{CHANNEL}', '')"
UPGRADE_LOCK = 0x62757273  # "burs"
CONNECTIONS = 16
LONGEST_PAUSE = 1.0
LISTEN_SECONDS = 1.0

# All that is asked here walks an index in its order. Where the server knows little of its tables, as of a queue that
# was empty a minute ago, it would rather collect and sort all of them for every claim.
CONNECT = {
    "options": "-c enable_bitmapscan=off",
    "connect_timeout": 10,
    "application_name": "bursty",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

_abandoned: list[object] = []
"""What a forked process must neither use nor close."""


class Postgres:
    """The database at ``url``. ``patience``: seconds that a server may be away before a call fails."""

    now_sql = NOW
    locking = "FOR UPDATE SKIP LOCKED"
    hide = ""  # it keeps statistics

    def __init__(self, url: str, patience: float) -> None:
        if importlib.util.find_spec("psycopg") is None:
            raise MissingExtra.of("psycopg", "postgres", "a state in PostgreSQL")
        import psycopg

        self._failures = (exc.DBAPIError, exc.TimeoutError, psycopg.Error)
        self._target = _parse(url)
        self._patience = patience
        self.url = _without_secrets(self._target)
        self._open()
        self._prepare()

    # Connections

    def _open(self) -> None:
        self._pid = os.getpid()
        self.wakes = Wakes()
        self._closed = threading.Event()
        self._listener: threading.Thread | None = None
        self._guard = threading.Lock()
        self._engine = sa.create_engine(
            self._target, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, hide_parameters=True,
            pool_size=CONNECTIONS // 2, max_overflow=CONNECTIONS // 2, pool_timeout=self._patience,
            connect_args={name: value for name, value in CONNECT.items() if name not in self._target.query},
        )  # fmt: skip

    def _check_fork(self) -> None:
        """A forked process has connections of its own."""
        if os.getpid() != self._pid:
            _abandoned.append(self._engine)
            self._open()

    def _prepare(self) -> None:
        """Make the tables, unless they are there; one process does it, the others wait."""

        def work(connection: sa.Connection) -> None:
            if sql_schema.is_current(connection, self.url):
                return
            with self._engine.execution_options(isolation_level="READ COMMITTED").begin() as transaction:
                transaction.execute(statement("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
                if not sql_schema.is_current(transaction, self.url):
                    sql_schema.upgrade(transaction)

        self.read(work)

    def close(self) -> None:
        """Let the connections go; used again, they are made again."""
        self._check_fork()
        self._closed.set()
        self._closed, self._listener = threading.Event(), None
        self._engine.dispose()

    # Reading and writing

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Do ``work`` with a connection, again and again while the server is away; each statement is a transaction."""
        self._check_fork()
        end = time.monotonic() + self._patience
        pause = 0.01
        while True:
            try:
                return self._once(work)
            except self._failures as error:
                if not _will_pass(error) or time.monotonic() + pause > end:
                    raise self._store_error(error) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _once(self, work: Callable[[sa.Connection], T]) -> T:
        with self._engine.connect() as connection:
            try:
                return work(connection)
            except BaseException:
                connection.invalidate()  # whatever it is in the midst of
                raise

    def write(self, work: Callable[[sa.Connection, float], T]) -> T:
        """As ``read``, all statements in one transaction. The time is not used: see ``now_sql``."""

        def transaction(connection: sa.Connection) -> T:
            connection.exec_driver_sql("BEGIN")
            result = work(connection, 0.0)
            connection.exec_driver_sql("COMMIT")
            return result

        return self.read(transaction)

    def _store_error(self, error: Exception) -> StoreError:
        cause = getattr(error, "orig", error)
        state = getattr(cause, "sqlstate", None) or ""
        words = str(cause).strip().splitlines()
        hint = next((hint for start, hint in HINTS.items() if state.startswith(start)), HINTS[""])
        return StoreError(f"the state at {self.url} can't be used: {words[0] if words else type(cause).__name__}", hint)

    def now(self) -> float:
        return self.read(lambda connection: connection.execute(statement(f"SELECT {NOW}")).scalar_one())

    # Runs

    def submit(self, run: RunRecord, event: EventDraft) -> tuple[RunRecord, bool]:
        values = values_of(run) | {"kind": plain(event.kind), "actor": plain(event.actor), "data": to_json(event.data)}

        def work(connection: sa.Connection) -> tuple[RunRecord, bool]:
            while True:
                if new := fetch_runs(connection, INSERT_RUN, values):
                    return new[0], True
                if (given := present(connection, run)) is not None:
                    return given, False

        return self.read(work)

    def change(self, changes: Sequence[Change]) -> list[RunRecord | None]:
        if len(changes) == 1:
            text, binds = _change(changes[0])
            return [*self.read(lambda connection: fetch_runs(connection, text, binds))] or [None]
        return self.read(lambda connection: _change_all(connection, changes)[0])

    def claim(self, change: Change, limit: int, app: str | None) -> list[RunRecord]:
        text, binds = _claim(change, limit, app)
        self.wakes.looking()
        return self.read(lambda connection: fetch_runs(connection, text, binds))

    def change_and_claim(
        self, changes: Sequence[Change], claim: Change, limit: int, app: str | None
    ) -> tuple[list[RunRecord | None], list[RunRecord]]:
        self.wakes.looking()
        if len(changes) == 1:
            run, (text, binds) = changes[0].run, _change_and_claim(changes[0], claim, limit, app)
            runs = self.read(lambda connection: fetch_runs(connection, text, binds))
            after = [found for found in runs if found.id == run]
            return [*after] or [None], [found for found in runs if found.id != run]

        return self.read(lambda connection: _change_all(connection, changes, _claim(claim, limit, app)))

    # Waiting

    def wait(self, timeout: float) -> None:
        self._check_fork()
        self._start_listener()
        text = f"SELECT LEAST(due, lease) - {NOW} FROM ({next_due(NOW)}) AS next (due, lease)"
        nap = self.read(lambda connection: connection.execute(statement(text)).scalar())
        self.wakes.wait(timeout if nap is None else max(0.0, min(timeout, nap)))

    def _start_listener(self) -> None:
        with self._guard:
            if self._listener is None or not self._listener.is_alive():
                task = (self._engine, self._closed, self.wakes)
                self._listener = threading.Thread(target=_listen, args=task, name="bursty-listen", daemon=True)
                self._listener.start()


def _listen(engine: sa.Engine, closed: threading.Event, wakes: Wakes) -> None:
    """Hear of runs that have become due, for all threads of this process, over a connection of its own."""
    import psycopg

    while not closed.is_set():
        try:
            with _own_connection(engine) as connection:
                connection.execute(f"LISTEN {CHANNEL}")
                wakes.wake()  # nobody knows what was said before
                while not closed.is_set():
                    for _ in connection.notifies(timeout=LISTEN_SECONDS, stop_after=1):
                        wakes.wake()
        except (psycopg.Error, exc.DBAPIError, exc.TimeoutError):
            closed.wait(LISTEN_SECONDS)


def _own_connection(engine: sa.Engine) -> psycopg.Connection[Any]:
    """A connection outside of the pool."""
    pooled = engine.raw_connection()
    connection: Any = pooled.driver_connection
    pooled.detach()
    connection.rollback()
    connection.autocommit = True
    return connection


def _parse(url: str) -> sa.URL:
    try:
        target = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        raise ConfigError(
            "the URL of the PostgreSQL state can't be read",
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with %40 for an @ in the password.",
        ) from None
    return target.set(drivername="postgresql+psycopg")


def _without_secrets(target: sa.URL) -> str:
    place = target.difference_update_query(("password", "sslpassword"))
    known = sa.URL.create("postgresql", place.username, None, place.host, place.port, place.database, place.query)
    return known.render_as_string()


# Statements

INSERT_RUN = (
    f"WITH u AS (INSERT INTO bursty_runs ({COLUMNS}) VALUES ("
    + ", ".join(
        {"created_at": NOW, "not_before": f"COALESCE(NULLIF(:not_before, 0), {NOW})", "seq": "1"}.get(name, f":{name}")
        for name in RUN_FIELDS
    )
    + f") ON CONFLICT DO NOTHING RETURNING {COLUMNS}), "
    f"e AS (INSERT INTO bursty_events ({EVENT_COLUMNS}) SELECT id, seq, :kind, :actor, created_at, :data FROM u) "
    f"SELECT {COLUMNS}, {NOTIFY} FROM u"
)


def _change(change: Change) -> tuple[str, Binds]:
    """A change as one statement, and its values."""
    binds = Binds(run=plain(change.run))
    return f"WITH {_updated(change, _of_run(change, binds), binds)} {_after(change)}", binds


def _change_all(
    connection: sa.Connection, changes: Sequence[Change], claim: tuple[str, Binds] | None = None
) -> tuple[list[RunRecord | None], list[RunRecord]]:
    """All in one transaction and one round trip, then the claim. Always in the order of ids, so that no two wait for
    each other."""
    order = sorted(range(len(changes)), key=lambda number: changes[number].run or "")
    asked = [_change(changes[number]) for number in order]
    rows = fetch_all(connection, asked if claim is None else [*asked, claim])
    after: list[RunRecord | None] = [None] * len(changes)
    for number, runs in zip(order, rows, strict=False):
        after[number] = runs[0] if runs else None
    return after, rows[-1] if claim is not None else []


def _claim(claim: Change, limit: int, app: str | None) -> tuple[str, Binds]:
    """A claim as one statement."""
    binds = Binds(app=app, limit=limit)
    due = select_due(claim, NOW, app, Postgres.locking, binds)
    return f"WITH due AS MATERIALIZED ({due}), {_updated(claim, CLAIMED, binds)} {_after(claim)}", binds


def _change_and_claim(change: Change, claim: Change, limit: int, app: str | None) -> tuple[str, Binds]:
    """Both as one statement. Both halves see the runs as they were before it, so the claim leaves out the changed run:
    no row may be written twice."""
    binds = Binds(run=plain(change.run), app=app, limit=limit)
    changed = _updated(change, _of_run(change, binds), binds)
    due = select_due(claim, NOW, app, Postgres.locking, binds, also="id <> :run")
    claimed = _updated(claim, CLAIMED, binds, "2")
    both = f"WITH {changed}, due AS MATERIALIZED ({due}), {claimed}"
    return f"{both} {_after(change)} UNION ALL {_after(claim, '2')}", binds


def _of_run(change: Change, binds: Binds) -> str:
    return f"id = :run AND {condition(change.when, NOW, binds)}"


CLAIMED = "id IN (SELECT id FROM due)"


def _updated(change: Change, where: str, binds: Binds, number: str = "") -> str:
    """The update and what is written with it. ``number``: tells it from another one in the same statement."""
    then = assignments(change.then, NOW, binds, event=change.event is not None)
    u = f"u{number}"
    parts = [f"{u} AS (UPDATE bursty_runs SET {then} WHERE {where} RETURNING {COLUMNS})"]
    if change.event is not None:
        kind, actor, data = map(binds.add, (change.event.kind, change.event.actor, to_json(change.event.data)))
        rows = f"SELECT id, seq, {kind}, {actor}, {NOW}, {data} FROM {u}"
        parts.append(f"e{number} AS (INSERT INTO bursty_events ({EVENT_COLUMNS}) {rows})")
    if change.outbox:
        drafts = [
            f"({number}, {binds.add(draft.kind)}, {binds.add(to_json(draft.data))})"
            for number, draft in enumerate(change.outbox)
        ]
        rows = (
            f"SELECT id || '/' || seq || '/' || number, id, app, draft.kind, draft.data, 0, {NOW}, {NOW} "
            f"FROM {u}, (VALUES {', '.join(drafts)}) AS draft (number, kind, data)"
        )
        columns = "id, run, app, kind, data, tries, due, created_at"
        parts.append(f"o{number} AS (INSERT INTO bursty_outbox ({columns}) {rows})")
    return ", ".join(parts)


def _after(change: Change, number: str = "") -> str:
    """The runs as they are then; who waits is told when one is queued."""
    told = f"CAST({NOTIFY} AS TEXT)" if change.then.get("status") == RunStatus.QUEUED else "NULL"
    return f"SELECT {COLUMNS}, {told} FROM u{number}"


# Failures

HINTS = {
    "28": "Check the user and the password in BURSTY_STATE.",
    "3D": "Create the database (createdb), or name another one in BURSTY_STATE.",
    "42501": "The user needs the right to make and use tables in this database.",
    "53100": "Free some space on the server's disk.",
    "53300": "The server has too many connections: raise max_connections, or run fewer workers.",
    "": "See that the server runs and can be reached from here, then try again; nothing was half written.",
}
PASSING = ("08", "57P0", "40001", "40P01", "53300")
"""Beginnings of the SQLSTATEs that are over by themselves: lost connections, restarts, deadlocks, a crowd."""
LASTING = ("authentication failed", "does not exist", "no pg_hba.conf entry", "permission denied", "invalid")
"""Words of refused connections that won't be accepted the next time; these errors have no SQLSTATE."""


def _will_pass(error: Exception) -> bool:
    import psycopg

    cause = getattr(error, "orig", error)
    state: str | None = getattr(cause, "sqlstate", None)
    if state is not None:
        return state.startswith(PASSING)
    is_connection = isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
    return is_connection and not any(words in str(cause) for words in LASTING)
