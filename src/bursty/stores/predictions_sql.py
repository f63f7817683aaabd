"""Predictions and labels in SQLite or PostgreSQL, beside the runs or in a database of their own.

Each write is one transaction of a thousand rows or so: those who wait for the same SQLite file wait for milliseconds.
What removes rows does so in pieces, for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bursty.endpoints import AnswerKind, Label, Prediction
from bursty.ports import Clock
from bursty.ports.serving import Counts, Judged, Page, PredictionStore
from bursty.stores.predictions import FIELDS, FOREVER, Place, last_labels, new_ones, page_of, place_of, where
from bursty.stores.sql import open_database
from bursty.stores.sql_rows import many, statement
from bursty.stores.texts import storable

PATIENCE = 10.0
CHUNK = 1000

COLUMNS = ", ".join(FIELDS)
P_COLUMNS = ", ".join(f"p.{name}" for name in FIELDS)
TYPES = ("text", "bigint", "text", "text", "float8", "float8", "text", "text", "float8", "text", "text")
"""Of ``FIELDS``, in PostgreSQL."""
LABEL_COLUMNS = "prediction_id, ts_ms, source, y"

INPUT_JOIN = " LEFT JOIN bursty_prediction_input i ON i.prediction_id = p.id"
NEWEST = (
    "l.prediction_id = p.id AND NOT EXISTS (SELECT 1 FROM bursty_label n "
    "WHERE n.prediction_id = l.prediction_id AND (n.ts_ms, n.source) > (l.ts_ms, l.source))"
)
SPAN = "p.endpoint = :endpoint AND p.ts_ms >= :since AND p.ts_ms < :until"
JUDGED = (
    f"SELECT {P_COLUMNS}, {{input}}, l.ts_ms, l.source, l.y FROM bursty_prediction p{{join}} "
    f"{{how}} JOIN bursty_label l ON {NEWEST}"
)
FIND = " WHERE p.id IN :ids"
BY_KEYS = f" WHERE {SPAN} AND p.matched IN :ids ORDER BY p.ts_ms DESC, p.id DESC LIMIT :limit"
NEWEST_FIRST = " WHERE " + SPAN + " AND (p.ts_ms, p.id) < (:at, :id) ORDER BY p.ts_ms DESC, p.id DESC LIMIT :limit"
OLDEST_FIRST = " WHERE " + SPAN + " AND (p.ts_ms, p.id) > (:at, :id) ORDER BY p.ts_ms, p.id LIMIT :limit"
ENDPOINTS = (
    "WITH RECURSIVE names (name) AS (SELECT MIN(endpoint) FROM bursty_prediction UNION ALL "
    "SELECT (SELECT MIN(endpoint) FROM bursty_prediction WHERE endpoint > name) FROM names WHERE name IS NOT NULL) "
    "SELECT name FROM names WHERE name IS NOT NULL"
)
"""From one name to the next, however many predictions lie between them."""
COUNT = (
    "SELECT COUNT(*), COUNT(p.error), COALESCE(SUM(CASE WHEN EXISTS ("
    "SELECT 1 FROM bursty_label l WHERE l.prediction_id = p.id) THEN 1 ELSE 0 END), 0) "
    f"FROM bursty_prediction p WHERE {SPAN}"
)
OLD = "SELECT id FROM bursty_prediction WHERE endpoint = :endpoint AND ts_ms < :before ORDER BY ts_ms, id LIMIT :limit"
OLD_COUNT = "SELECT COUNT(*) FROM bursty_prediction WHERE endpoint = :endpoint AND ts_ms < :before"
OLD_INPUTS = (
    "SELECT i.prediction_id FROM bursty_prediction_input i JOIN bursty_prediction p ON p.id = i.prediction_id "
    "WHERE p.ts_ms < :before AND i.prediction_id > :last ORDER BY i.prediction_id LIMIT :limit"
)
OLD_LABELS = (
    "SELECT DISTINCT l.prediction_id FROM bursty_label l WHERE l.ts_ms < :before AND l.prediction_id > :last "
    "AND NOT EXISTS (SELECT 1 FROM bursty_prediction p WHERE p.id = l.prediction_id) "
    "ORDER BY l.prediction_id LIMIT :limit"
)
OLD_LABELS_COUNT = (
    "SELECT COUNT(*) FROM bursty_label l WHERE l.ts_ms < :before "
    "AND NOT EXISTS (SELECT 1 FROM bursty_prediction p WHERE p.id = l.prediction_id)"
)


class SqlPredictions:
    """``PredictionStore`` at ``sqlite:///PATH`` or ``postgresql://USER@HOST/DATABASE``; its tables are made if need be.

    ``patience``: how many seconds a PostgreSQL server may be away before a call fails. Raises ``StoreError`` when it
    can't be opened.
    """

    def __init__(self, url: str, *, clock: Clock | None = None, patience: float = PATIENCE) -> None:
        self._db = open_database(url, clock, patience)
        is_sqlite = self._db.url.startswith("sqlite")
        self._insert = _insert_sqlite if is_sqlite else _insert_postgres
        self._put_labels = _label_sqlite if is_sqlite else _label_postgres

    @property
    def url(self) -> str:
        return self._db.url

    def __repr__(self) -> str:
        return f"SqlPredictions({self.url!r})"

    def close(self) -> None:
        self._db.close()

    # Writing

    def write(self, predictions: Sequence[Prediction]) -> int:
        new = new_ones(predictions)
        return self._db.write(lambda connection, _: self._insert(connection, new)) if new else 0

    def label(self, labels: Sequence[Label]) -> int:
        last = last_labels(labels)
        return self._db.write(lambda connection, _: self._put_labels(connection, last)) if last else 0

    # Reading

    def find(self, ids: Sequence[str], *, inputs: bool = True) -> Sequence[Judged]:
        text = many(_judged_sql(FIND, inputs))
        return [item for part in _parts(ids) for item in self._judged(text, ids=part)]

    def by_keys(
        self, endpoint: str, keys: Sequence[str], *, since: int = 0, until: int | None = None, limit: int = 1000
    ) -> Sequence[Judged]:
        text, span = many(_judged_sql(BY_KEYS, False)), _span(endpoint, since, until)
        found = [item for part in _parts(keys) for item in self._judged(text, **span, ids=part, limit=limit)]
        return sorted(found, key=lambda item: where(item.prediction), reverse=True)[:limit]

    def list(
        self,
        endpoint: str,
        *,
        since: int = 0,
        until: int | None = None,
        limit: int = 100,
        cursor: str | None = None,
        inputs: bool = False,
    ) -> Page:
        at, name = place_of(cursor) if cursor is not None else (FOREVER, "")
        span = _span(endpoint, since, min(_end(until), at + 1 if at < FOREVER else at))
        text = _judged_sql(NEWEST_FIRST, inputs)
        return page_of(self._judged(statement(text), **span, at=at, id=storable(name), limit=limit + 1), limit)

    def labelled(
        self, endpoint: str, *, since: int = 0, until: int | None = None, inputs: bool = False
    ) -> Iterator[tuple[Prediction, Label]]:
        text = statement(_judged_sql(OLDEST_FIRST, inputs, "INNER"))
        last: Place = (since - 1, "")
        while True:
            span = _span(endpoint, max(since, last[0]), until)
            found = self._judged(text, **span, at=last[0], id=last[1], limit=CHUNK)
            for prediction, label in found:
                if label is not None:
                    yield prediction, label
            if len(found) < CHUNK:
                return
            last = where(found[-1].prediction)

    def endpoints(self) -> Sequence[str]:
        return [row[0] for row in self._rows(statement(ENDPOINTS))]

    def count(self, endpoint: str, *, since: int = 0, until: int | None = None) -> Counts:
        return Counts(*map(int, self._rows(statement(COUNT), **_span(endpoint, since, until))[0]))

    def _judged(self, text: sa.TextClause, **binds: Any) -> Sequence[Judged]:
        return [_judged_of(row) for row in self._rows(text, **binds)]

    def _rows(self, text: sa.TextClause, **binds: Any) -> Sequence[Any]:
        return self._db.read(lambda connection: connection.execute(text, binds).fetchall())

    # Removing

    def prune(self, endpoint: str, before: int, *, dry_run: bool = False) -> int:
        binds = {"endpoint": storable(endpoint), "before": before}
        if dry_run:
            return self._rows(statement(OLD_COUNT), **binds)[0][0]

        def piece(connection: sa.Connection, _: float) -> int:
            ids = connection.execute(statement(OLD), {**binds, "limit": CHUNK}).scalars().all()
            if not ids:
                return 0
            for table in ("bursty_prediction_input", "bursty_label"):
                connection.execute(many(f"DELETE FROM {table} WHERE prediction_id IN :ids"), {"ids": ids})
            return connection.execute(many("DELETE FROM bursty_prediction WHERE id IN :ids"), {"ids": ids}).rowcount

        removed = 0
        while count := self._db.write(piece):
            removed += count
        return removed

    def purge_inputs(self, before: int, *, dry_run: bool = False) -> int:
        text = "DELETE FROM bursty_prediction_input WHERE prediction_id IN :ids"
        return sum(len(ids) if dry_run else self._delete(text, ids) for ids in self._walk(OLD_INPUTS, before))

    def prune_labels(self, before: int, *, dry_run: bool = False) -> int:
        if dry_run:
            return self._rows(statement(OLD_LABELS_COUNT), before=before)[0][0]
        text = "DELETE FROM bursty_label WHERE prediction_id IN :ids AND ts_ms < :before"
        return sum(self._delete(text, ids, before=before) for ids in self._walk(OLD_LABELS, before))

    def _walk(self, text: str, before: int) -> Iterator[Sequence[str]]:
        """The ids that ``text`` gives, in pieces; they may be deleted meanwhile."""
        last = ""
        while True:
            ids = [row[0] for row in self._rows(statement(text), before=before, last=last, limit=CHUNK)]
            if ids:
                yield ids
            if len(ids) < CHUNK:
                return
            last = ids[-1]

    def _delete(self, text: str, ids: Sequence[str], **binds: Any) -> int:
        return self._db.write(
            lambda connection, _: connection.execute(many(text), {"ids": list(ids), **binds}).rowcount
        )


# Statements and rows


def _judged_sql(rest: str, inputs: bool, how: str = "LEFT") -> str:
    """``how`` labels are joined: ``INNER`` for predictions that have one."""
    return JUDGED.format(input="i.input" if inputs else "NULL", join=INPUT_JOIN if inputs else "", how=how) + rest


def _parts(texts: Sequence[str]) -> Sequence[Sequence[str]]:
    """Each once, in pieces that a statement can take."""
    each = sorted({storable(text) for text in texts})
    return [each[start : start + CHUNK // 2] for start in range(0, len(each), CHUNK // 2)]


def _end(until: int | None) -> int:
    return FOREVER if until is None else until


def _span(endpoint: str, since: int, until: int | None) -> Mapping[str, Any]:
    return {"endpoint": storable(endpoint), "since": since, "until": _end(until)}


def _judged_of(row: Sequence[Any]) -> Judged:
    name, ts_ms, endpoint, version, score, threshold, decision, matched, latency, answer, error, given, *label = row
    prediction = Prediction(
        name, ts_ms, endpoint, version, score, threshold, decision, matched, latency, AnswerKind(answer), error, given
    )
    at, source, y = label
    return Judged(prediction, Label(name, at, y, source) if at is not None else None)


def _values(prediction: Prediction) -> tuple[Any, ...]:
    return (
        prediction.id, prediction.ts_ms, prediction.endpoint, prediction.version, prediction.score,
        prediction.threshold, prediction.decision, prediction.matched, prediction.latency_ms, prediction.answer.value,
        prediction.error,
    )  # fmt: skip


def _driver(connection: sa.Connection) -> Any:
    """Past SQLAlchemy, as the runs: thousands of rows at once."""
    return connection.connection.driver_connection


# SQLite

INSERT_INPUT = (
    "INSERT OR IGNORE INTO bursty_prediction_input (prediction_id, input) "
    "SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM bursty_prediction WHERE id = ?1)"
)
INSERT = f"INSERT OR IGNORE INTO bursty_prediction ({COLUMNS}) VALUES ({', '.join('?' * len(FIELDS))})"
PUT_LABEL = (
    f"INSERT INTO bursty_label ({LABEL_COLUMNS}) VALUES (?, ?, ?, ?) ON CONFLICT (prediction_id, ts_ms, source) "
    "DO UPDATE SET y = excluded.y WHERE bursty_label.y <> excluded.y"
)


def _insert_sqlite(connection: sa.Connection, predictions: Sequence[Prediction]) -> int:
    driver = _driver(connection)
    # First the inputs, while it is to be seen whose predictions are new.
    driver.executemany(INSERT_INPUT, [(item.id, item.input) for item in predictions if item.input is not None])
    return driver.executemany(INSERT, map(_values, predictions)).rowcount


def _label_sqlite(connection: sa.Connection, labels: Sequence[Label]) -> int:
    rows = [(label.prediction_id, label.ts_ms, label.source, label.y) for label in labels]
    return _driver(connection).executemany(PUT_LABEL, rows).rowcount


# PostgreSQL: columns travel as arrays, so that any number of rows is one statement.


def _arrays(types: Sequence[str]) -> str:
    return "unnest(" + ", ".join(f"%s::{name}[]" for name in types) + ")"


INSERT_ALL = (
    f"WITH new AS (INSERT INTO bursty_prediction ({COLUMNS}) SELECT * FROM {_arrays(TYPES)} "
    "ON CONFLICT DO NOTHING RETURNING id), "
    "kept AS (INSERT INTO bursty_prediction_input (prediction_id, input) SELECT given.id, given.input "
    f"FROM {_arrays(('text', 'text'))} AS given (id, input) JOIN new ON new.id = given.id ON CONFLICT DO NOTHING) "
    "SELECT COUNT(*) FROM new"
)
PUT_LABELS = (
    f"INSERT INTO bursty_label ({LABEL_COLUMNS}) SELECT * FROM {_arrays(('text', 'bigint', 'text', 'float8'))} "
    "ON CONFLICT (prediction_id, ts_ms, source) DO UPDATE SET y = excluded.y WHERE bursty_label.y <> excluded.y"
)


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]


def _insert_postgres(connection: sa.Connection, predictions: Sequence[Prediction]) -> int:
    inputs = [(item.id, item.input) for item in predictions if item.input is not None]
    # In the order of ids, so that no two writers wait for each other.
    rows = sorted(map(_values, predictions))
    columns = [*_columns(rows, len(FIELDS)), *_columns(inputs, 2)]
    return _driver(connection).execute(INSERT_ALL, columns).fetchall()[0][0]


def _label_postgres(connection: sa.Connection, labels: Sequence[Label]) -> int:
    rows = sorted((label.prediction_id, label.ts_ms, label.source, label.y) for label in labels)
    return _driver(connection).execute(PUT_LABELS, _columns(rows, 4)).rowcount


if TYPE_CHECKING:
    _adapters: list[type[PredictionStore]] = [SqlPredictions]
