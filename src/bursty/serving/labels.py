"""What ``POST /labels`` takes: the truth for predictions, as JSON or CSV. Each row is judged by itself.

A row names a prediction by its ``prediction_id``, or by its ``endpoint`` and the fields of the business key, and says
``y`` (a number, true or false, yes or no), perhaps ``ts`` (an ISO time, or milliseconds since the epoch; else now) and
``source``. A label of a prediction that is not there (yet) is kept until it comes. To send a row again changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple, cast

from bursty.core.matched import matched
from bursty.endpoints import Label
from bursty.ports.serving import Judged, PredictionStore
from bursty.serving.labels_read import LabelsRefused, rows_of
from bursty.values import Buffer

__all__ = ["LabelReport", "LabelsRefused", "RowError", "take_labels"]

BATCH = 500
KEYS_AT_ONCE = 100
MOST_OF_KEY = 1000
"""Predictions that one business key may have: all of them get the label."""
MOST_ERRORS = 1000
MOST_CHARACTERS = 500
FIRST_MS = 10**11
"""In 1973. What is less was meant as seconds."""
AHEAD_MS = 86_400_000
"""How far ahead of our clock a label's time may be."""
OWN = frozenset(("prediction_id", "endpoint", "y", "ts", "source"))
TRUE = frozenset(("true", "yes", "t", "y"))
FALSE = frozenset(("false", "no", "f", "n"))


class RowError(NamedTuple):
    """``row``: counted from 1, the header of a CSV left out."""

    row: int
    message: str


@dataclass(slots=True)
class LabelReport:
    """How many rows were ``accepted``; how many are of ``unknown`` predictions, kept until these come; how many
    ``failed``, with the ``errors`` of the first thousand."""

    accepted: int = 0
    unknown: int = 0
    failed: int = 0
    errors: list[RowError] = field(default_factory=list[RowError])

    def fail(self, row: int, message: str) -> None:
        self.failed += 1
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(RowError(row, message))

    def as_json(self) -> dict[str, Any]:
        errors = [error._asdict() for error in self.errors]
        return {"accepted": self.accepted, "unknown": self.unknown, "failed": self.failed, "errors": errors}


class _Row(NamedTuple):
    """A row that says something. ``name``: the prediction, else ``endpoint`` and ``key``. ``ts_ms``: ``None``: now."""

    number: int
    name: str
    endpoint: str
    key: str
    y: float
    ts_ms: int | None
    source: str


def take_labels(
    store: PredictionStore,
    content_type: str,
    body: Buffer | Iterable[Buffer],
    now: float,
    keys: Mapping[str, Sequence[str]] | None = None,
) -> LabelReport:
    """Read the rows and keep what they say, a batch at a time. ``body``: whole, or piece by piece. ``now``: seconds
    since the epoch.

    ``keys``: the fields of each endpoint's business key; other fields are passed over then. Without it all fields of a
    row that are not a label's own make up its key.

    Raises ``LabelsRefused`` for what can't be read at all, and ``StoreError``. Batches before that are kept.
    """
    report = LabelReport()
    reader = _Reader(int(now * 1000), keys)
    rows = enumerate(rows_of(content_type, body), 1)
    while batch := list(islice(rows, BATCH)):
        read: list[_Row] = []
        for number, fields in batch:
            try:
                read.append(reader.read(number, fields))
            except ValueError as error:
                report.fail(number, str(error))
        _keep(store, read, int(now * 1000), report)
    return report


def _keep(store: PredictionStore, rows: Sequence[_Row], now: int, report: LabelReport) -> None:
    named = [row for row in rows if row.name]
    known = {item.prediction.id: item for item in store.find([row.name for row in named], inputs=False)}
    labels: list[Label] = []
    for row in named:
        found = known.get(row.name)
        labels += _labels(row, [found] if found is not None else [], now)
        if found is not None:
            report.accepted += 1
        else:
            report.unknown += 1
    for row, of_key in _by_keys(store, [row for row in rows if not row.name]):
        if not of_key:
            report.fail(row.number, f"no prediction of {row.endpoint!r} has the key {row.key} (yet)")
        elif len(of_key) > MOST_OF_KEY:
            report.fail(row.number, f"more than {MOST_OF_KEY:,} predictions have the key {row.key}: name them by id")
        else:
            labels += _labels(row, of_key, now)
            report.accepted += 1
    store.label(labels)


def _labels(row: _Row, found: Sequence[Judged], now: int) -> Iterator[Label]:
    """What to keep of a row. One without a time that says what the newest label says already adds nothing: it was sent
    again."""
    for name, newest in [(item.prediction.id, item.label) for item in found] or [(row.name, None)]:
        is_old = newest is not None and (newest.y, newest.source) == (row.y, row.source)
        if row.ts_ms is not None or not is_old:
            yield Label(name, now if row.ts_ms is None else row.ts_ms, row.y, row.source)


def _by_keys(store: PredictionStore, rows: Sequence[_Row]) -> Iterator[tuple[_Row, Sequence[Judged]]]:
    """Each row with the predictions that have its key; one more than ``MOST_OF_KEY`` when there are that many."""
    for endpoint in sorted({row.endpoint for row in rows}):
        mine = [row for row in rows if row.endpoint == endpoint]
        for start in range(0, len(mine), KEYS_AT_ONCE):
            part = mine[start : start + KEYS_AT_ONCE]
            limit = 10 * MOST_OF_KEY
            found = store.by_keys(endpoint, [row.key for row in part], limit=limit)
            for row in part:
                if len(found) < limit:
                    yield row, [item for item in found if item.prediction.matched == row.key]
                else:
                    yield row, store.by_keys(endpoint, [row.key], limit=MOST_OF_KEY + 1)


class _Reader:
    """Reads rows; raises ``ValueError`` with what is wrong."""

    def __init__(self, now: int, keys: Mapping[str, Sequence[str]] | None) -> None:
        self._now = now
        self._keys = keys

    def read(self, number: int, fields: Any) -> _Row:
        if isinstance(fields, ValueError):
            raise fields
        if not isinstance(fields, Mapping):
            raise ValueError("a label is an object with prediction_id and y")
        given = cast("Mapping[str, Any]", fields)
        name, endpoint, source = (_text(given, what) for what in ("prediction_id", "endpoint", "source"))
        if not name and not endpoint:
            raise ValueError("it names neither prediction_id nor endpoint")
        key = "" if name else self._key(endpoint, given)
        return _Row(number, name, endpoint, key, _y(given.get("y")), self._ts(given.get("ts")), source)

    def _key(self, endpoint: str, given: Mapping[str, Any]) -> str:
        names: Iterable[str] = (name for name in given if name not in OWN)
        if self._keys is not None:
            if endpoint not in self._keys:
                raise ValueError(f"there is no endpoint {endpoint!r}; known: {', '.join(sorted(self._keys)) or 'none'}")
            names = self._keys[endpoint]
            if not names:
                raise ValueError(f"{endpoint!r} declares no business key: give prediction_id")
        chosen = {name: given.get(name) for name in names}
        key = matched(chosen)
        if key is None:
            missing = sorted(name for name, value in chosen.items() if value in (None, ""))
            raise ValueError(
                f"the key lacks {', '.join(missing)}" if missing else "give the fields of the business key"
            )
        return key

    def _ts(self, value: Any) -> int | None:
        if value is None or value == "":
            return None
        ts_ms = _milliseconds(value)
        if ts_ms < FIRST_MS:
            raise ValueError(
                f"ts {value!r} is long ago: give milliseconds since 1970, or a time as 2026-11-03T12:00:00Z"
            )
        if ts_ms > self._now + AHEAD_MS:
            raise ValueError(f"ts {value!r} lies in the future")
        return ts_ms


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MOST_CHARACTERS:
        raise ValueError(f"{name} must be text of at most {MOST_CHARACTERS} characters")
    return value.strip()


def _y(value: Any) -> float:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in TRUE or word in FALSE:
            return float(word in TRUE)
        try:
            value = float(word)
        except ValueError:
            raise ValueError(f"y is {_shown(value)}; it must be a number, true or false, yes or no") from None
    if value is None or not isinstance(value, int | float) or abs(value) > 1e300 or math.isnan(value):
        raise ValueError("there is no y" if value is None else f"y is {_shown(value)}; it must be a number")
    return float(value)


def _milliseconds(value: Any) -> int:
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdecimal():
            return int(text[:20])
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"ts is {_shown(value)}; give a time as 2026-11-03T12:00:00Z, or milliseconds") from None
        return round((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e18:
        raise ValueError(f"ts is {_shown(value)}; give a time as 2026-11-03T12:00:00Z, or milliseconds")
    return int(value)


def _shown(value: Any) -> str:
    return f"{value!r:.60}"
