"""Rows of SQLite and PostgreSQL as records, and records as what to bind."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from bursty.changes import EventDraft
from bursty.records import RUN_FIELDS, Document, Event, OutboxDraft, OutboxItem, RunRecord, RunStatus
from bursty.stores.sql_text import SELECT_BY_KEY, SELECT_RUN, plain
from bursty.stores.texts import from_json, to_json


@lru_cache(256)
def statement(text: str) -> sa.TextClause:
    """The same object for the same text, so that SQLAlchemy compiles it once."""
    return sa.text(text)


@lru_cache(64)
def many(text: str) -> sa.TextClause:
    """As ``statement``, for one with a list ``:ids``."""
    return sa.text(text).bindparams(sa.bindparam("ids", expanding=True))


def fetch_runs(connection: sa.Connection, text: str, binds: Mapping[str, Any]) -> list[RunRecord]:
    """The runs that a statement gives, in ``COLUMNS``. Straight from the driver, for SQLAlchemy would take longer to
    describe so many columns than the database to find a row. Raises the driver's errors."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "postgresql":
        text = pyformat(text)
    return [run_of(row) for row in driver.execute(text, binds).fetchall()]


def fetch_all(connection: sa.Connection, statements: Sequence[tuple[str, Mapping[str, Any]]]) -> list[list[RunRecord]]:
    """As ``fetch_runs``, several statements in one transaction and, as PostgreSQL can, one round trip."""
    driver: Any = connection.connection.driver_connection
    with driver.pipeline(), driver.transaction():
        cursors = [driver.execute(pyformat(text), binds) for text, binds in statements]
    return [[run_of(row) for row in cursor.fetchall()] for cursor in cursors]


@lru_cache(1024)
def pyformat(text: str) -> str:
    """The text with placeholders as psycopg has them."""
    return re.sub(r"(?<!:):(\w+)", r"%(\1)s", text.replace("%", "%%"))


_LENGTH = len(RUN_FIELDS)
_STATUS = RUN_FIELDS.index("status")
_CANCEL = RUN_FIELDS.index("cancel_requested")


def run_of(row: Sequence[Any]) -> RunRecord:
    """A row of ``COLUMNS``, whatever comes behind them."""
    values = list(row[:_LENGTH])
    values[_STATUS] = RunStatus(values[_STATUS])
    values[_CANCEL] = bool(values[_CANCEL])
    return RunRecord(*values)


def values_of(run: RunRecord) -> dict[str, Any]:
    """What to bind to insert a run."""
    return {name: plain(getattr(run, name)) for name in RUN_FIELDS}


def present(connection: sa.Connection, run: RunRecord) -> RunRecord | None:
    """The run that keeps this one from being inserted: of the same id, or of the same key; if it is there yet."""
    runs = fetch_runs(connection, SELECT_RUN, {"id": plain(run.id)})
    if not runs and run.idempotency_key is not None:
        runs = fetch_runs(connection, SELECT_BY_KEY, {"app": plain(run.app), "key": plain(run.idempotency_key)})
    return runs[0] if runs else None


def event_values(subject: str, seq: int, event: EventDraft, at: float) -> dict[str, Any]:
    """What to bind to insert an event."""
    kind, actor = plain(event.kind), plain(event.actor)
    return {"subject": subject, "seq": seq, "kind": kind, "actor": actor, "at": at, "data": to_json(event.data)}


def outbox_values(run: RunRecord, drafts: Sequence[OutboxDraft], now: float) -> list[dict[str, Any]]:
    """What to bind to insert outbox rows."""
    return [
        {
            "id": f"{run.id}/{run.seq}/{number}", "run": run.id, "app": run.app, "kind": draft.kind,
            "data": to_json(draft.data), "now": now,
        }
        for number, draft in enumerate(drafts)
    ]  # fmt: skip


def event_of(row: Sequence[Any]) -> Event:
    subject, seq, kind, actor, at, data = row
    return Event(subject, seq, kind, actor, at, from_json(data))


def item_of(row: Sequence[Any]) -> OutboxItem:
    """A row of ``OUTBOX_COLUMNS``."""
    name, run, kind, data, tries, due, created_at, error = row
    return OutboxItem(name, run, kind, from_json(data), tries, due, created_at, error)


def document_of(row: Sequence[Any]) -> Document:
    kind, key, data, rev, updated_at = row
    return Document(kind, key, from_json(data), rev, updated_at)
