"""Runs, events, outbox and documents in SQLite or PostgreSQL, by SQLAlchemy Core.

What the databases do in ways of their own (connections, transactions, writing runs, waiting) is ``Sqlite`` and
``Postgres``; the rest is here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import sqlalchemy as sa

from bursty.changes import AnyOf, Change, Clause, EventDraft, Is, IsBefore, IsLess, Now
from bursty.core import runstate
from bursty.errors import ConfigError
from bursty.ports import Clock, StateStore
from bursty.records import Document, Event, OutboxItem, Pending, RunQuery, RunRecord, RunStatus
from bursty.stores import sql_text
from bursty.stores.sql_rows import document_of, event_of, event_values, fetch_runs, item_of, many, statement
from bursty.stores.sql_sqlite import SCHEME, Sqlite
from bursty.stores.sql_text import COLUMNS, OUTBOX_COLUMNS, Binds, condition, plain
from bursty.stores.texts import from_json, storable, to_json
from bursty.stores.wakes import Wakes

T = TypeVar("T")

DELETE_AT_ONCE = 500

MAY_NOT_BE_CLAIMED: tuple[Clause, ...] = (
    Is("status", RunStatus.RUNNING),
    IsBefore("lease_until", Now()),
    AnyOf(((Is("cancel_requested", True),), (IsLess("attempt", "max_attempts", negated=True),))),
)


class Database(Protocol):
    """What ``SqlState`` needs of a database.

    ``now_sql``: its time as SQL, which may use the bound value ``:now``. ``locking``: keeps rows that are selected from
    others, who pass over them. ``hide``: see ``select_runs``.
    """

    url: str
    wakes: Wakes
    now_sql: str
    locking: str
    hide: str

    def now(self) -> float: ...
    def read(self, work: Callable[[sa.Connection], T]) -> T: ...
    def write(self, work: Callable[[sa.Connection, float], T]) -> T: ...
    def submit(self, run: RunRecord, event: EventDraft) -> tuple[RunRecord, bool]: ...
    def change(self, changes: Sequence[Change]) -> list[RunRecord | None]: ...
    def claim(self, change: Change, limit: int, app: str | None) -> list[RunRecord]: ...
    def change_and_claim(
        self, changes: Sequence[Change], claim: Change, limit: int, app: str | None
    ) -> tuple[list[RunRecord | None], list[RunRecord]]: ...
    def wait(self, timeout: float) -> None: ...
    def close(self) -> None: ...


class SqlState:
    """``StateStore`` at ``sqlite:///PATH`` or ``postgresql://USER@HOST/DATABASE``; its tables are made if need be.

    ``clock``: whose time counts on SQLite, which has none; PostgreSQL's own counts there. ``patience``: how many
    seconds a PostgreSQL server may be away before a call fails. Raises ``StoreError`` when it can't be opened.
    """

    skew = 0.0

    def __init__(self, url: str, *, clock: Clock | None = None, patience: float = 60.0) -> None:
        self._db = open_database(url, clock, patience)

    @property
    def url(self) -> str:
        return self._db.url

    def __repr__(self) -> str:
        return f"SqlState({self.url!r})"

    def now(self) -> float:
        return self._db.now()

    def close(self) -> None:
        self._db.close()

    # Runs

    def submit(self, run: RunRecord, event: EventDraft) -> tuple[RunRecord, bool]:
        return self._db.submit(run, event)

    def change(self, *changes: Change) -> Sequence[RunRecord | None]:
        return self._db.change(changes) if changes else []

    def claim(self, owner: str, lease: float, limit: int, app: str | None = None) -> Sequence[RunRecord]:
        return _by_priority(self._db.claim(runstate.claim(owner, lease, self.skew), limit, app))

    def change_and_claim(
        self, changes: Sequence[Change], owner: str, lease: float, limit: int, app: str | None = None
    ) -> tuple[Sequence[RunRecord | None], Sequence[RunRecord]]:
        after, claimed = self._db.change_and_claim(changes, runstate.claim(owner, lease, self.skew), limit, app)
        return after, _by_priority(claimed)

    def wait(self, timeout: float) -> None:
        self._db.wait(timeout)

    def wake(self) -> None:
        self._db.wakes.wake()

    def get(self, run: str) -> RunRecord | None:
        found = self._runs(sql_text.SELECT_RUN, {"id": plain(run)})
        return found[0] if found else None

    def find(self, query: RunQuery) -> Sequence[RunRecord]:
        if query.open_only and query.status is None:
            # Each by its index; together they would be sorted.
            each = [self.find(replace(query, status=status)) for status in (RunStatus.QUEUED, RunStatus.RUNNING)]
            return sorted((*each[0], *each[1]), key=lambda run: run.id, reverse=True)[: query.limit]
        if query.open_only and query.status is not None and query.status.is_final:
            return []
        binds = Binds()
        return self._runs(sql_text.select_runs(query, binds, hide=self._db.hide), binds)

    def expired(self, limit: int) -> Sequence[RunRecord]:
        binds = self._binds(limit=limit)
        when = condition(MAY_NOT_BE_CLAIMED, self._db.now_sql, binds)
        text = (
            f"SELECT {COLUMNS} FROM bursty_runs WHERE status = 'running' AND {when} ORDER BY lease_until LIMIT :limit"
        )
        return self._runs(text, binds)

    def pending(self, app: str | None = None) -> Pending:
        row = self._rows(sql_text.select_pending(self._db.now_sql, app), self._binds(app=app))[0]
        queued, due, running, outbox, *times = row
        next_at = min((at for at in times if at is not None), default=None)
        return Pending(int(due), queued - int(due), running, outbox, next_at)

    def events(self, subject: str, after: int = 0) -> Sequence[Event]:
        rows = self._rows(sql_text.SELECT_EVENTS, {"subject": plain(subject), "after": after})
        return [event_of(row) for row in rows]

    def delete_runs(self, ids: Sequence[str]) -> int:
        names = sorted({plain(name) for name in ids})
        parts = [names[start : start + DELETE_AT_ONCE] for start in range(0, len(names), DELETE_AT_ONCE)]
        return sum(self._delete(part) for part in parts)

    def _delete(self, names: list[str]) -> int:
        def work(connection: sa.Connection, _: float) -> int:
            gone = connection.execute(many(sql_text.DELETE_RUNS), {"ids": names}).scalars().all()
            if gone:
                connection.execute(many(sql_text.DELETE_EVENTS), {"ids": gone})
            return len(gone)

        return self._db.write(work)

    def _runs(self, text: str, binds: Mapping[str, Any]) -> list[RunRecord]:
        return self._db.read(lambda connection: fetch_runs(connection, text, binds))

    def _rows(self, text: str, binds: Mapping[str, Any]) -> Sequence[Any]:
        return self._db.read(lambda connection: connection.execute(statement(text), binds).fetchall())

    def _binds(self, **values: Any) -> Binds:
        """These values, and the time where it is a bound one."""
        binds = Binds((name, plain(value)) for name, value in values.items())
        if ":" in self._db.now_sql:
            binds["now"] = self.now()
        return binds

    # Outbox

    def take_outbox(self, limit: int, lease: float) -> Sequence[OutboxItem]:
        due = f"SELECT id FROM bursty_outbox WHERE due <= {self._db.now_sql} ORDER BY due, id LIMIT :limit"
        if not self._rows(due, self._binds(limit=1)):
            return []

        def work(connection: sa.Connection, now: float) -> list[OutboxItem]:
            ids = (
                connection.execute(statement(f"{due} {self._db.locking}"), {"limit": limit, "now": now}).scalars().all()
            )
            if not ids:
                return []
            text = many(
                f"UPDATE bursty_outbox SET tries = tries + 1, due = {self._db.now_sql} + :lease "
                f"WHERE id IN :ids RETURNING {OUTBOX_COLUMNS}"
            )
            rows = connection.execute(text, {"ids": ids, "lease": lease, "now": now}).fetchall()
            items = {item.id: item for item in map(item_of, rows)}
            return [items[name] for name in ids]

        return self._db.write(work)

    def outbox_done(self, item: OutboxItem) -> bool:
        text = "DELETE FROM bursty_outbox WHERE id = :id AND tries = :tries"
        return self._write_one(text, id=item.id, tries=item.tries)

    def outbox_later(self, item: OutboxItem, delay: float, error: str) -> bool:
        then = f"due = {self._db.now_sql} + :delay, error = :error"
        text = f"UPDATE bursty_outbox SET {then} WHERE id = :id AND tries = :tries"
        return self._write_one(text, id=item.id, tries=item.tries, delay=delay, error=storable(error))

    def _write_one(self, text: str, **values: Any) -> bool:
        """Whether there was a row to write."""
        return self._db.write(
            lambda connection, now: connection.execute(statement(text), {**values, "now": now}).rowcount > 0
        )

    def outbox(self, run: str) -> Sequence[OutboxItem]:
        rows = self._rows(
            f"SELECT {OUTBOX_COLUMNS} FROM bursty_outbox WHERE run = :run ORDER BY id", {"run": plain(run)}
        )
        return [item_of(row) for row in rows]

    # Documents

    def document(self, kind: str, key: str) -> Document | None:
        rows = self._rows(sql_text.SELECT_DOCUMENT, {"kind": plain(kind), "key": plain(key)})
        return document_of(rows[0]) if rows else None

    def documents(self, kind: str, prefix: str = "") -> Sequence[Document]:
        text, binds = sql_text.select_documents(plain(kind), plain(prefix))
        return [document_of(row) for row in self._rows(text, binds)]

    def put_document(
        self, kind: str, key: str, data: Mapping[str, Any], *, rev: int, event: EventDraft | None = None
    ) -> Document | None:
        text = to_json(data)
        values = {"kind": plain(kind), "key": plain(key), "data": text, "rev": rev}
        write = statement((sql_text.UPDATE_DOCUMENT if rev else sql_text.INSERT_DOCUMENT).format(now=self._db.now_sql))
        note = statement(sql_text.INSERT_NEXT_EVENT.format(now=self._db.now_sql))

        def work(connection: sa.Connection, now: float) -> Document | None:
            row = connection.execute(write, {**values, "now": now}).fetchone()
            if row is None:
                return None
            if event is not None:
                subject = f"{values['kind']}/{values['key']}"
                connection.execute(note, event_values(subject, 0, event, now) | {"now": now})
            return Document(kind, key, from_json(text), rev + 1, row[0])

        return self._db.write(work)

    def delete_document(self, kind: str, key: str, *, rev: int) -> bool:
        text = "DELETE FROM bursty_documents WHERE kind = :kind AND key = :key AND rev = :rev"
        return self._write_one(text, kind=plain(kind), key=plain(key), rev=rev)


def _by_priority(runs: list[RunRecord]) -> list[RunRecord]:
    return sorted(runs, key=lambda run: (-run.priority, run.not_before, run.id))


def open_database(url: str, clock: Clock | None, patience: float) -> Database:
    """The database at this URL, its tables made. Raises as ``SqlState`` does."""
    scheme = url.partition("://")[0]
    if url.startswith(SCHEME):
        return Sqlite(url, clock.time if clock is not None else time.time)
    if scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        from bursty.stores.sql_postgres import Postgres

        return Postgres(url, patience)
    raise ConfigError(
        f"there is no SQL state at {scheme}://…", "Known: sqlite:///PATH, postgresql://USER@HOST/DATABASE."
    )


if TYPE_CHECKING:
    _adapters: list[type[StateStore]] = [SqlState]
