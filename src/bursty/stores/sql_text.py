"""SQL for SQLite and PostgreSQL: what a ``Change`` says, and the statements that both take.

Values are bound by name, never written into the text. Times are compared with ``now``: an expression of the database's
clock, or a bound value where it has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from bursty.changes import Add, Clause, EventDraft, Is, IsBefore, IsLess, Now, NowPlus
from bursty.records import FINAL, RUN_FIELDS, Document, Event, OutboxDraft, OutboxItem, RunQuery, RunRecord, RunStatus
from bursty.stores.texts import from_json, storable, to_json

FILTERS = ("app", "job", "status", "version", "created_by", "schedule", "inputs_hash")
"""Fields of a ``RunQuery`` that are columns."""

COLUMNS = ", ".join(RUN_FIELDS)
EVENT_COLUMNS = "subject, seq, kind, actor, at, data"
OUTBOX_COLUMNS = "id, run, kind, data, tries, due, created_at, error"

OPEN = "status IN ('queued', 'running')"
"""As in the index of open runs, word for word: SQLite takes a partial index for the same words only."""
IS_FINAL = "status IN ({})".format(", ".join(f"'{status.value}'" for status in FINAL))
BY_PRIORITY = "ORDER BY priority DESC, not_before, id"

INSERT_EVENT = f"INSERT INTO bursty_events ({EVENT_COLUMNS}) VALUES (:subject, :seq, :kind, :actor, :at, :data)"


SELECT_RUN = f"SELECT {COLUMNS} FROM bursty_runs WHERE id = :id"
SELECT_BY_KEY = f"SELECT {COLUMNS} FROM bursty_runs WHERE app = :app AND idempotency_key = :key"
ANY_DUE = f"SELECT 1 FROM bursty_runs WHERE {OPEN} AND status = 'queued' AND not_before <= :now LIMIT 1"
SELECT_EVENTS = f"SELECT {EVENT_COLUMNS} FROM bursty_events WHERE subject = :subject AND seq > :after ORDER BY seq"
DELETE_RUNS = f"DELETE FROM bursty_runs WHERE id IN :ids AND {IS_FINAL} RETURNING id"
DELETE_EVENTS = "DELETE FROM bursty_events WHERE subject IN :ids"

SELECT_DOCUMENT = "SELECT kind, key, data, rev, updated_at FROM bursty_documents WHERE kind = :kind AND key = :key"
INSERT_DOCUMENT = (
    "INSERT INTO bursty_documents (kind, key, data, rev, updated_at) VALUES (:kind, :key, :data, :rev + 1, {now}) "
    "ON CONFLICT DO NOTHING RETURNING updated_at"
)
UPDATE_DOCUMENT = (
    "UPDATE bursty_documents SET data = :data, rev = rev + 1, updated_at = {now} "
    "WHERE kind = :kind AND key = :key AND rev = :rev RETURNING updated_at"
)
INSERT_NEXT_EVENT = (
    f"INSERT INTO bursty_events ({EVENT_COLUMNS}) "
    "SELECT :subject, COALESCE(MAX(seq), 0) + 1, :kind, :actor, {now}, :data "
    "FROM bursty_events WHERE subject = :subject"
)


def next_due(now: str) -> str:
    """When the next run will be due, and when the next lease will end: only what lies ahead."""
    return (
        f"SELECT (SELECT MIN(not_before) FROM bursty_runs WHERE {OPEN} AND status = 'queued' AND not_before > {now}), "
        f"(SELECT MIN(lease_until) FROM bursty_runs WHERE status = 'running' AND lease_until > {now})"
    )


def select_pending(now: str, app: str | None) -> str:
    """How many runs are due, due later, and running; when the next is due or its lease ends; undelivered rows."""
    runs, rows = ("", "") if app is None else ("AND app = :app", "WHERE app = :app")
    return (
        f"SELECT SUM(CASE WHEN status = 'queued' AND not_before <= {now} THEN 1 ELSE 0 END), "
        f"SUM(CASE WHEN status = 'queued' AND not_before > {now} THEN 1 ELSE 0 END), "
        "SUM(CASE WHEN status = 'running' THEN 1 ELSE 0 END), "
        "MIN(CASE WHEN status = 'queued' THEN not_before ELSE lease_until END), "
        f"(SELECT COUNT(*) FROM bursty_outbox {rows}) FROM bursty_runs WHERE {OPEN} {runs}"
    )


def select_documents(kind: str, prefix: str) -> tuple[str, dict[str, Any]]:
    """The documents whose keys begin so, and what to bind."""
    binds = {"kind": kind, "first": prefix}
    end = ""
    if prefix and prefix[-1] < "\U0010ffff":
        # Keys are in the order of code points; the code points of surrogates are none.
        binds["end"] = prefix[:-1] + ("\ue000" if prefix[-1] == "\ud7ff" else chr(ord(prefix[-1]) + 1))
        end = "AND key < :end"
    columns = "kind, key, data, rev, updated_at"
    return f"SELECT {columns} FROM bursty_documents WHERE kind = :kind AND key >= :first {end} ORDER BY key", binds


@lru_cache(64)
def many(text: str) -> sa.TextClause:
    """As ``statement``, for one with a list ``:ids``."""
    return sa.text(text).bindparams(sa.bindparam("ids", expanding=True))


@lru_cache(1024)
def statement(text: str) -> sa.TextClause:
    """The same object for the same text, so that SQLAlchemy compiles it once."""
    return sa.text(text)


class Binds(dict[str, Any]):
    """The values of a statement by name."""

    def add(self, value: Any) -> str:
        """The placeholder of one more value."""
        name = f"v{len(self)}"
        self[name] = plain(value)
        return f":{name}"


def plain(value: Any) -> Any:
    """The value as a driver takes it."""
    if isinstance(value, str):
        return storable(value.value if isinstance(value, Enum) else value)
    return value


def condition(clauses: Sequence[Clause], now: str, binds: Binds) -> str:
    """The clauses as an SQL condition."""
    return " AND ".join([_condition(clause, now, binds) for clause in clauses]) or "1 = 1"


def _condition(clause: Clause, now: str, binds: Binds) -> str:
    match clause:
        case Is(name, None):
            return f"{name} IS NULL"
        case Is(name, value):
            return f"{name} = {binds.add(value)}"
        case IsBefore(name, time):
            return f"{name} <= {_moment(time, now, binds)}"
        case IsLess(name, other, negated):
            return f"{name} {'>=' if negated else '<'} {other}"
        case _:
            groups = [f"({condition(group, now, binds)})" for group in clause.groups]
            return f"({' OR '.join(groups) or '1 = 0'})"


def _moment(time: Now, now: str, binds: Binds) -> str:
    return f"{now} + {binds.add(float(time.plus))}" if time.plus else now


def assignments(then: Mapping[str, Any], now: str, binds: Binds, *, event: bool) -> str:
    """What a change assigns, for ``SET``; with an event, ``seq`` counts it."""
    parts = [f"{name} = {_value(name, value, now, binds)}" for name, value in then.items()]
    if event or not parts:
        parts.append("seq = seq + 1" if event else "seq = seq")
    return ", ".join(parts)


def _value(name: str, value: Any, now: str, binds: Binds) -> str:
    if isinstance(value, Now):
        return _moment(value, now, binds)
    if isinstance(value, NowPlus):
        return f"{now} + {value.field}"
    if isinstance(value, Add):
        return f"{name} + {binds.add(value.number)}"
    return "NULL" if value is None else binds.add(value)


def select_runs(query: RunQuery, binds: Binds) -> str:
    """The runs of a query, the newest first; ``open_only`` is not looked at."""
    parts = [f"{name} = {binds.add(value)}" for name in FILTERS if (value := getattr(query, name)) is not None]
    if query.before is not None:
        parts.append(f"id < {binds.add(query.before)}")
    where = f"WHERE {' AND '.join(parts)}" if parts else ""
    return f"SELECT {COLUMNS} FROM bursty_runs {where} ORDER BY id DESC LIMIT {binds.add(query.limit)}"


_STATUS = RUN_FIELDS.index("status")
_CANCEL = RUN_FIELDS.index("cancel_requested")


def run_of(row: Sequence[Any]) -> RunRecord:
    """A row of ``COLUMNS``."""
    values = list(row)
    values[_STATUS] = RunStatus(values[_STATUS])
    values[_CANCEL] = bool(values[_CANCEL])
    return RunRecord(*values)


def values_of(run: RunRecord) -> dict[str, Any]:
    """What to bind to insert a run."""
    return {name: plain(getattr(run, name)) for name in RUN_FIELDS}


def present(connection: sa.Connection, run: RunRecord) -> RunRecord | None:
    """The run that keeps this one from being inserted: of the same id, or of the same key; if it is there yet."""
    row = connection.execute(statement(SELECT_RUN), {"id": plain(run.id)}).fetchone()
    if row is None and run.idempotency_key is not None:
        key = {"app": plain(run.app), "key": plain(run.idempotency_key)}
        row = connection.execute(statement(SELECT_BY_KEY), key).fetchone()
    return run_of(row) if row is not None else None


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
