"""Predictions and labels in this process's memory; and what all stores of them share."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from bursty.endpoints import Label, Prediction
from bursty.errors import ConfigError
from bursty.ports.serving import Counts, Judged, Page, PredictionStore
from bursty.stores.texts import storable

FIELDS = tuple(field.name for field in fields(Prediction) if field.name != "input")
"""The columns of a prediction."""
FOREVER = 2**63 - 1

Place = tuple[int, str]
"""Where a prediction stands: its time, its id."""


def fit(prediction: Prediction) -> Prediction:
    """The prediction as every store can keep it: texts without NUL, numbers that are finite."""
    texts = {
        name: fitting
        for name in ("id", "endpoint", "version", "decision", "matched", "error", "input")
        if (value := getattr(prediction, name)) is not None and (fitting := storable(value)) is not value
    }
    numbers = {
        name: None
        for name in ("score", "threshold")
        if (value := getattr(prediction, name)) is not None and not math.isfinite(value)
    }
    return replace(prediction, **texts, **numbers) if texts or numbers else prediction


def new_ones(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Fit, of those with the same id the first."""
    found: dict[str, Prediction] = {}
    for prediction in predictions:
        fitting = fit(prediction)
        found.setdefault(fitting.id, fitting)
    return list(found.values())


def last_labels(labels: Iterable[Label]) -> list[Label]:
    """Fit, of those of the same prediction, time and source the last."""
    found: dict[tuple[str, int, str], Label] = {}
    for label in labels:
        name, source = storable(label.prediction_id), storable(label.source)
        found[name, label.ts_ms, source] = Label(name, label.ts_ms, float(label.y), source)
    return list(found.values())


def cursor_of(place: Place) -> str:
    return f"{place[0]}/{place[1]}"


def place_of(cursor: str) -> Place:
    """Raises ``ConfigError``."""
    time, _, name = cursor.partition("/")
    if not time.isdecimal() or not time.isascii() or int(time) > FOREVER:
        raise ConfigError(f"{cursor!r:.80} is no cursor", "Take it as it was given with the page before.")
    return int(time), name


def page_of(found: Sequence[Judged], limit: int) -> Page:
    """Of one more than were asked for, if there are so many."""
    more = len(found) > limit
    items = found[:limit]
    return Page(items, cursor_of(where(items[-1].prediction)) if more and items else None)


def where(prediction: Prediction) -> Place:
    return prediction.ts_ms, prediction.id


class MemoryPredictions:
    """``PredictionStore`` whose every operation is made under one lock."""

    url = "memory://"

    def __init__(self) -> None:
        self._predictions: dict[str, Prediction] = {}
        self._labels: dict[str, dict[tuple[int, str], Label]] = {}
        self._lock = threading.RLock()

    def write(self, predictions: Sequence[Prediction]) -> int:
        with self._lock:
            new = [item for item in new_ones(predictions) if item.id not in self._predictions]
            self._predictions.update({item.id: item for item in new})
            return len(new)

    def label(self, labels: Sequence[Label]) -> int:
        with self._lock:
            return sum(self._label(label) for label in last_labels(labels))

    def _label(self, label: Label) -> bool:
        known = self._labels.setdefault(label.prediction_id, {})
        place = label.ts_ms, label.source
        is_new = known.get(place) != label
        known[place] = label
        return is_new

    def find(self, ids: Sequence[str], *, inputs: bool = True) -> Sequence[Judged]:
        with self._lock:
            there = [found for name in {storable(name) for name in ids} if (found := self._predictions.get(name))]
            return [_shown(self._judged(found), inputs) for found in there]

    def by_keys(
        self, endpoint: str, keys: Sequence[str], *, since: int = 0, until: int | None = None, limit: int = 1000
    ) -> Sequence[Judged]:
        wanted = {storable(key) for key in keys}
        found = [item for item in self._span(endpoint, since, until) if item.prediction.matched in wanted]
        return [_shown(item, False) for item in found[:limit]]

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
        end = place_of(cursor) if cursor is not None else (FOREVER, "")
        found = [item for item in self._span(endpoint, since, until) if where(item.prediction) < end]
        return page_of([_shown(item, inputs) for item in found[: limit + 1]], limit)

    def labelled(
        self, endpoint: str, *, since: int = 0, until: int | None = None, inputs: bool = False
    ) -> Iterator[tuple[Prediction, Label]]:
        for item in reversed(self._span(endpoint, since, until)):
            if item.label is not None:
                yield _shown(item, inputs).prediction, item.label

    def endpoints(self) -> Sequence[str]:
        with self._lock:
            return sorted({item.endpoint for item in self._predictions.values()})

    def count(self, endpoint: str, *, since: int = 0, until: int | None = None) -> Counts:
        found = self._span(endpoint, since, until)
        errors = sum(item.prediction.error is not None for item in found)
        return Counts(len(found), errors, sum(item.label is not None for item in found))

    def prune(self, endpoint: str, before: int, *, dry_run: bool = False) -> int:
        with self._lock:
            old = [item.prediction.id for item in self._span(endpoint, 0, before)]
            for name in () if dry_run else old:
                del self._predictions[name]
                self._labels.pop(name, None)
            return len(old)

    def purge_inputs(self, before: int, *, dry_run: bool = False) -> int:
        with self._lock:
            old = [item for item in self._predictions.values() if item.ts_ms < before and item.input is not None]
            if not dry_run:
                self._predictions.update({item.id: replace(item, input=None) for item in old})
            return len(old)

    def prune_labels(self, before: int, *, dry_run: bool = False) -> int:
        with self._lock:
            waiting = [known for name, known in self._labels.items() if name not in self._predictions]
            old = [(known, place) for known in waiting for place in known if place[0] < before]
            for known, place in () if dry_run else old:
                del known[place]
            return len(old)

    def close(self) -> None:
        """There is nothing to close: what it keeps goes with it."""

    def _span(self, endpoint: str, since: int, until: int | None) -> Sequence[Judged]:
        """The newest first."""
        name, end = storable(endpoint), FOREVER if until is None else until
        with self._lock:
            fitting = [
                item for item in self._predictions.values() if item.endpoint == name and since <= item.ts_ms < end
            ]
            return [self._judged(item) for item in sorted(fitting, key=where, reverse=True)]

    def _judged(self, prediction: Prediction) -> Judged:
        known = self._labels.get(prediction.id)
        return Judged(prediction, known[max(known)] if known else None)


def _shown(item: Judged, inputs: bool) -> Judged:
    return item if inputs else Judged(replace(item.prediction, input=None), item.label)


if TYPE_CHECKING:
    _adapters: list[type[PredictionStore]] = [MemoryPredictions]
