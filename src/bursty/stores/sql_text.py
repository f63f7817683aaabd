"""SQL for SQLite and PostgreSQL: what a ``Change`` says, and the statements that both take.

Values are bound by name, never written into the text. Times are compared with ``now``: an expression of the database's
clock, or a bound value where it has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from bursty.changes import Add, AnyOf, Change, Clause, Is, IsBefore, IsLess, Now, NowPlus
from bursty.records import RUN_FIELDS, RunQuery, RunStatus
from bursty.stores.texts import storable

FILTERS = ("inputs_hash", "version", "schedule", "created_by", "job", "app")
"""Fields of a ``RunQuery`` that are columns, but for ``status``; those first that few runs have in common."""

COLUMNS = ", ".join(RUN_FIELDS)
EVENT_COLUMNS = "subject, seq, kind, actor, at, data"
OUTBOX_COLUMNS = "id, run, kind, data, tries, due, created_at, error"

IS_FINAL = "status NOT IN ('queued', 'running')"
"""Word for word as in the index of final runs: SQLite takes it for these words only."""
BY_PRIORITY = "priority DESC, not_before, id"
OF_APP = "app || '' = :app"
"""Not by the index of apps, which most runs are in: what asks so has a better one."""

INSERT_EVENT = f"INSERT INTO bursty_events ({EVENT_COLUMNS}) VALUES (:subject, :seq, :kind, :actor, :at, :data)"

SELECT_RUN = f"SELECT {COLUMNS} FROM bursty_runs WHERE id = :id"
SELECT_BY_KEY = f"SELECT {COLUMNS} FROM bursty_runs WHERE app = :app AND idempotency_key = :key"
ANY_DUE = "SELECT 1 FROM bursty_runs WHERE status = 'queued' AND not_before <= :now LIMIT 1"
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
        f"SELECT (SELECT MIN(not_before) FROM bursty_runs WHERE status = 'queued' AND not_before > {now}), "
        f"(SELECT MIN(lease_until) FROM bursty_runs WHERE status = 'running' AND lease_until > {now})"
    )


def select_pending(now: str, app: str | None) -> str:
    """How many runs are queued, how many of them are due, how many are running; how many rows are undelivered; when
    the next run is due, and when the next lease ends."""
    of_app, where = ("", "") if app is None else (f"AND {OF_APP}", "WHERE app = :app")
    return (
        "SELECT queued.number, queued.due, running.number, undelivered.number, queued.next, running.next FROM "
        f"(SELECT COUNT(*) AS number, COALESCE(SUM(CASE WHEN not_before <= {now} THEN 1 ELSE 0 END), 0) AS due, "
        f"MIN(not_before) AS next FROM bursty_runs WHERE status = 'queued' {of_app}) AS queued, "
        "(SELECT COUNT(*) AS number, MIN(lease_until) AS next FROM bursty_runs "
        f"WHERE status = 'running' {of_app}) AS running, "
        f"(SELECT COUNT(*) AS number FROM bursty_outbox {where}) AS undelivered"
    )


def select_due(change: Change, now: str, app: str | None, locking: str, binds: Binds, *, also: str = "") -> str:
    """The ids of at most ``:limit`` runs that a claim fits, the first by priority. ``locking``: what keeps others off;
    ``also``: one more condition.

    Each way to be due is looked up by itself, along its own index, whatever the database knows of its tables.
    """
    ways = next((clause.groups for clause in change.when if isinstance(clause, AnyOf)), ((),))
    always = tuple(clause for clause in change.when if not isinstance(clause, AnyOf))
    more = " AND ".join(["", *filter(None, [also, app and OF_APP])])
    wheres = [f"{condition((*way, *always), now, binds)}{more}" for way in ways]
    parts = [
        f"SELECT * FROM (SELECT id, priority, not_before FROM bursty_runs WHERE {where} "
        f"ORDER BY {BY_PRIORITY} LIMIT :limit {locking}) AS way{number}"
        for number, where in enumerate(wheres)
    ]
    return f"SELECT id FROM ({' UNION ALL '.join(parts)}) AS due ORDER BY {BY_PRIORITY} LIMIT :limit"


def _walked(status: RunStatus | None, given: Sequence[str]) -> Sequence[str]:
    """The columns of the index to walk: one of ``given``, unless runs of this status are fewer."""
    first = given[:1]
    if status is None or first == ["inputs_hash"]:
        return first
    if not status.is_final:
        return ["status"]
    if status is RunStatus.SUCCEEDED and first not in ([], ["job"]):
        return first
    return ["status", "job"]


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
        case Is(name, RunStatus() as status):
            return f"{name} = '{status.value}'"  # written out, for the indexes of some statuses only
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


def select_runs(query: RunQuery, binds: Binds, *, hide: str = "") -> str:
    """The runs of a query, the newest first; ``open_only`` is not looked at.

    ``hide``: what before a column's name keeps its index out, for a database that does not know how many runs have a
    value. It walks the index that is shortest by all experience then.
    """
    given = [name for name in FILTERS if getattr(query, name) is not None]
    by = _walked(query.status, given)
    parts = [f"{'' if name in by else hide}{name} = {binds.add(getattr(query, name))}" for name in given]
    if query.status is not None:
        parts.append(f"{'' if 'status' in by else hide}status = '{query.status.value}'")
        parts += [IS_FINAL] if query.status.is_final and "status" in by else []
    if query.before is not None:
        parts.append(f"id < {binds.add(query.before)}")
    where = f"WHERE {' AND '.join(parts)}" if parts else ""
    return f"SELECT {COLUMNS} FROM bursty_runs {where} ORDER BY id DESC LIMIT {binds.add(query.limit)}"
