"""What is logged of an answer: a row for each prediction, see ``core.answers.Answer``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, cast

import msgspec

from bursty.core.matched import matched, without
from bursty.endpoints import Log
from bursty.runtime.endpoint_lists import Failed
from bursty.runtime.plain import NotPlain, to_plain

_NULL = msgspec.Raw(b"null")
_GONE: Any = object()
_encode = msgspec.json.Encoder(enc_hook=to_plain, decimal_format="string").encode


class Rows:
    """Makes the rows of one endpoint."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._redact = frozenset(log.redact)
        self._fixed = None if isinstance(log.threshold, str) else float(log.threshold)
        self.looks_at_items = bool(log.key or log.redact)

    def write(
        self,
        values: Sequence[Any],
        inputs: Sequence[Any] | None,
        others: Mapping[str, Any],
        items: Sequence[Any] | None = None,
    ) -> bytes:
        """``values``: of items, ``Failed`` where there is none. ``inputs``: what was given for each, as JSON (``Raw``)
        or values. ``others``: arguments that they have in common. ``items``: the elements themselves.
        """
        count = len(values)
        given: Iterable[Any] = repeat(_NULL, count)
        if self._log.inputs and inputs is not None:
            given = inputs if not self._redact else map(self._redacted, inputs)
        keys: Iterable[str | None] = repeat(None, count)
        errors: Iterable[str | None] = repeat(None, count)
        about: Sequence[Any] = items if items is not None else [None] * count
        if self._log.key:
            keys = [self._key(value, item, others) for value, item in zip(values, about, strict=True)]
        kinds = set(map(type, values))
        if Failed in kinds:
            errors = [self._error(value, item, others) for value, item in zip(values, about, strict=True)]
        scores, thresholds, decisions = self._columns(values, kinds)
        return _encode(list(zip(scores, thresholds, decisions, keys, errors, given, strict=True)))

    # Score, threshold, decision

    def _columns(self, values: Sequence[Any], kinds: set[type]) -> tuple[Iterable[Any], Iterable[Any], Iterable[Any]]:
        kind = kinds.pop() if len(kinds) == 1 and Failed not in kinds else object
        log, count = self._log, len(values)
        if (fields := _fields_of(kind)) is None:
            rows = [self._judged(value) for value in values]
            return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]

        def column(name: str | float, read: Callable[[Any], Any]) -> Iterable[Any]:
            if not isinstance(name, str):
                return repeat(name, count)
            return map(read, map(attrgetter(name), values)) if name in fields else repeat(None, count)

        return column(log.score, _number), column(log.threshold, _number), column(log.decision, _plain)

    def _judged(self, value: Any) -> tuple[float | None, float | None, Any]:
        if type(value) is Failed:
            return None, None, None
        if isinstance(value, bool | str):
            return None, self._fixed, value
        score = _number(value)
        if score is not None:
            return score, self._fixed, None
        log = self._log
        threshold = _number(_named(value, log.threshold)) if isinstance(log.threshold, str) else self._fixed
        decision = _named(value, log.decision)
        return _number(_named(value, log.score)), threshold, None if decision is _GONE else _plain(decision)

    # Key, error, input

    def _key(self, value: Any, item: Any, others: Mapping[str, Any]) -> str | None:
        """The business key: its fields are in the answer, else in the item, else among the other arguments."""
        found: dict[str, Any] = {}
        for name in self._log.key:
            places = (_named(place, name) for place in (value, item, others, *others.values()))
            found[name] = next((_plain(one) for one in places if one is not _GONE and one is not None), None)
        return matched(found)

    def _error(self, value: Any, item: Any, others: Mapping[str, Any]) -> str | None:
        if type(value) is not Failed:
            return None
        return scrubbed(value.message, [item, dict(others)], self._redact)

    def _redacted(self, given: Any) -> Any:
        plain = msgspec.json.decode(given if isinstance(given, msgspec.Raw) else _encode(given))
        return without(plain, self._redact)


def scrubbed(message: str, given: Any, names: frozenset[str]) -> str:
    """``message`` with dots for what these fields hold anywhere in ``given``."""
    if not names:
        return message
    try:
        held = _held(to_plain(given), names, False)
    except NotPlain:
        return "not shown: it may tell what a redacted field holds"
    texts = {text for value in held for text in (str(value), repr(value)[1:-1]) if text}
    for text in sorted(texts, key=len, reverse=True):
        message = message.replace(text, "…")
    return message


def _held(value: Any, names: frozenset[str], inside: bool) -> list[Any]:
    """The scalars in fields with these names."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value).items()
        return [one for name, inner in fields for one in _held(inner, names, inside or name in names)]
    if isinstance(value, list):
        return [one for inner in cast("list[Any]", value) for one in _held(inner, names, inside)]
    return [value] if inside and value is not None and not isinstance(value, bool) else []


def _fields_of(kind: Any) -> frozenset[str] | None:
    """The attributes of a Struct, a dataclass or a model; ``None`` for other classes."""
    if issubclass(kind, msgspec.Struct):
        return frozenset(kind.__struct_fields__)
    if isinstance(models := getattr(kind, "model_fields", None), dict):
        return frozenset(cast("dict[str, Any]", models))
    if dataclasses.is_dataclass(kind):
        return frozenset(field.name for field in dataclasses.fields(kind))
    return None


def _named(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(name, _GONE)
    return getattr(value, name, _GONE) if _fields_of(cast(Any, type)(value)) is not None else _GONE


def _plain(value: Any) -> Any:
    """As JSON has it; ``None`` for what it can't hold."""
    if value is None or isinstance(value, str | bool | int):
        return value
    try:
        return msgspec.json.decode(_encode(value))
    except (TypeError, ValueError, RecursionError):
        return None


def _number(value: Any) -> float | None:
    """A finite number, of Python's or numpy's or a Decimal; ``None`` for anything else."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | str) or not hasattr(value, "__float__") or hasattr(value, "__len__"):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
