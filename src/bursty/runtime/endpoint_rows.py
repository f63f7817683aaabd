"""What is logged of an answer: a row for each prediction, see ``core.answers.Answer``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from bursty.core.matched import matched
from bursty.endpoints import Log
from bursty.runtime.endpoint_lists import Failed
from bursty.runtime.plain import NotPlain, to_plain

Row = tuple[float | None, float | None, Any, str | None, str | None, Any]
_NULL = msgspec.Raw(b"null")
_GONE: Any = object()


class Rows:
    """Makes the rows of one endpoint."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._redact = frozenset(log.redact)
        self.looks_at_items = bool(log.key or log.redact)
        self._fixed = None if isinstance(log.threshold, str) else float(log.threshold)
        self._encode = msgspec.json.Encoder(enc_hook=to_plain, decimal_format="string").encode

    def write(
        self,
        values: Sequence[Any],
        inputs: Sequence[Any] | None,
        others: Mapping[str, Any],
        items: Sequence[Any] | None = None,
    ) -> bytes:
        """``values``: of items, ``Failed`` where there is none. ``inputs``: what was given for each, as JSON (``Raw``)
        or values. ``others``: arguments that they have in common. ``items``: the elements themselves, ``None`` for
        refused ones.
        """
        inputs = inputs if self._log.inputs and inputs is not None else [_NULL] * len(values)
        if self._redact:
            inputs = [self._redacted(given) for given in inputs]
        rows: list[Row] = []
        for number, (value, given) in enumerate(zip(values, inputs, strict=True)):
            item = items[number] if items is not None else None
            key = matched(self._key((value, item, others))) if self._log.key else None
            if type(value) is Failed:
                rows.append((None, None, None, key, self._scrubbed(value.message, item, others), given))
            else:
                rows.append((*self._judged(value), key, None, given))
        return self._encode(rows)

    def _judged(self, value: Any) -> tuple[float | None, float | None, Any]:
        """Score, threshold and decision."""
        log = self._log
        if isinstance(value, bool | str):
            return None, self._fixed, value
        score = _number(value)
        if score is not None:
            return score, self._fixed, None
        threshold = self._fixed if self._fixed is not None else _number(_named(value, cast(str, log.threshold)))
        decision = _named(value, log.decision)
        return _number(_named(value, log.score)), threshold, None if decision is _GONE else self._plain(decision)

    def _plain(self, value: Any) -> Any:
        if value is None or isinstance(value, str | bool | int):
            return value
        try:
            return msgspec.Raw(self._encode(value))
        except (TypeError, ValueError, NotPlain):
            return None

    def _key(self, places: Sequence[Any]) -> dict[str, Any]:
        """The fields of the business key: in the answer, else in the item, else among the other arguments."""
        found: dict[str, Any] = {}
        for name in self._log.key:
            values = (_named(place, name) for place in places if type(place) is not Failed)
            found[name] = next((value for value in values if value is not _GONE and value is not None), None)
        return {name: to_plain(value) for name, value in found.items()}

    def _redacted(self, given: Any) -> Any:
        plain = msgspec.json.decode(given if isinstance(given, msgspec.Raw) else self._encode(given))
        return without(plain, self._redact)

    def _scrubbed(self, message: str, item: Any, others: Mapping[str, Any]) -> str:
        """A message without the values of redacted fields."""
        return message if not self._redact else scrubbed(message, [item, others], self._redact)


def without(value: Any, names: frozenset[str]) -> Any:
    """Plain data without these fields, at any depth."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value).items()
        return {name: without(inner, names) for name, inner in fields if name not in names}
    if isinstance(value, list):
        return [without(inner, names) for inner in cast("list[Any]", value)]
    return value


def scrubbed(message: str, given: Any, names: frozenset[str]) -> str:
    """``message`` with dots for what these fields hold anywhere in ``given``."""
    try:
        plain = to_plain(given)
    except NotPlain:
        return "not shown: it may tell a redacted field"
    texts = {text for value in _values(plain, names, False) for text in (str(value), repr(value)[1:-1]) if text}
    for text in sorted(texts, key=len, reverse=True):
        message = message.replace(text, "…")
    return message


def _values(value: Any, names: frozenset[str], inside: bool) -> list[Any]:
    """The scalars in fields with these names."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value).items()
        return [one for name, inner in fields for one in _values(inner, names, inside or name in names)]
    if isinstance(value, list):
        return [one for inner in cast("list[Any]", value) for one in _values(inner, names, inside)]
    return [value] if inside and value is not None and not isinstance(value, bool) else []


def _named(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(name, _GONE)
    return getattr(value, name, _GONE) if not isinstance(value, str | float | int | list | tuple) else _GONE


def _number(value: Any) -> float | None:
    """A finite number, of Python's or numpy's; ``None`` for anything else."""
    if isinstance(value, bool) or value is _GONE or not hasattr(value, "__float__") or hasattr(value, "__len__"):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
