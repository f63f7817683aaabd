"""Results as plain data: what JSON holds, and for tables also dates, decimals and bytes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import uuid
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from pathlib import PurePath
from typing import Any, cast

TYPED = (dt.datetime, dt.date, dt.time, dt.timedelta, Decimal, bytes)


class NotPlain(ValueError):
    """A result, or a part of it, has no plain form; the message names the path to it."""


def to_json(value: Any) -> tuple[str, int]:
    """JSON text, and how many NaN and infinite numbers became null in it. Raises ``NotPlain``."""
    try:
        return _encode(value), 0
    except (TypeError, ValueError, RecursionError):
        pass
    plain = _Plain(typed=False)
    result = plain.of_top(value)
    try:
        return _encode(result), plain.nulls
    except (UnicodeEncodeError, ValueError) as error:
        raise NotPlain(f"the result has no JSON form: {error}") from None


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def _encode(value: Any) -> str:
    text = _encoder.encode(value)
    if not text.isascii():
        text.encode()  # lone surrogates are no text
    return text


def to_plain(value: Any) -> Any:
    """Dicts with text keys, lists and scalars; dates, decimals and bytes stay. Raises ``NotPlain``."""
    return _Plain(typed=True).of_top(value)


class _Plain:
    def __init__(self, *, typed: bool) -> None:
        self.typed = typed
        self.nulls = 0

    def of_top(self, value: Any) -> Any:
        try:
            return self.of(value, "result")
        except RecursionError:
            raise NotPlain("the result is nested too deeply, or contains itself") from None

    def of(self, value: Any, path: str) -> Any:
        if value is None or value is True or value is False:
            return value
        if isinstance(value, enum.Enum):
            return self.of(value.value, path)
        if isinstance(value, float):
            return self._number(float(value))
        if isinstance(value, int):
            return int(value)
        if isinstance(value, str):
            return str(value)
        if isinstance(value, Mapping):
            items = cast(Mapping[Any, Any], value).items()
            return {self._key(key, path): self.of(item, f"{path}[{key!r}]") for key, item in items}
        if isinstance(value, list | tuple):
            return [self.of(item, f"{path}[{index}]") for index, item in enumerate(cast(Sequence[Any], value))]
        return self._other(value, path)

    def _number(self, value: float) -> float | None:
        if self.typed or math.isfinite(value):
            return value
        self.nulls += 1
        return None

    def _key(self, key: Any, path: str) -> str:
        if isinstance(key, str):
            return key
        if isinstance(key, enum.Enum):
            return self._key(key.value, path)
        if key is None or isinstance(key, bool):
            return json.dumps(key)
        if isinstance(key, int | float | dt.date | uuid.UUID) or hasattr(key, "item"):
            return str(key)
        raise NotPlain(f"{path} has the key {_shown(key)}, and keys must be text or numbers")

    def _other(self, value: Any, path: str) -> Any:
        if isinstance(value, TYPED):
            return self._dated(value, path)
        if isinstance(value, Set):
            items = [self.of(item, path) for item in cast(Set[Any], value)]
            return sorted(items, key=_order)
        if isinstance(value, PurePath | uuid.UUID):
            return str(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self.of({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, path)
        for convert in (_pydantic, _struct, _frame, _array):
            found = convert(value)
            if found is not value:
                return self.of(found, path)
        raise NotPlain(
            f"{path} is {_shown(value)}, which has no plain form: return numbers, text, lists or dicts of them"
        )

    def _dated(self, value: Any, path: str) -> Any:
        if isinstance(value, dt.date | dt.time) and str(value) == "NaT":
            return None
        if self.typed:
            convert = getattr(value, "to_pydatetime", None)
            return convert() if convert is not None else value
        if isinstance(value, bytes):
            raise NotPlain(f"{path} is bytes, which JSON can't hold: decode them, or write Parquet")
        if isinstance(value, dt.timedelta):
            return value.total_seconds()
        return str(value) if isinstance(value, Decimal) else value.isoformat()


def _order(item: Any) -> tuple[str, Any]:
    """Sets have none: numbers and text get one, so that the same result is the same text."""
    return type(item).__name__, item if isinstance(item, int | float | str) else 0


def _shown(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def _pydantic(value: Any) -> Any:
    return value.model_dump() if callable(getattr(value, "model_dump", None)) else value


def _struct(value: Any) -> Any:
    fields: Any = getattr(value, "__struct_fields__", None)
    return {name: getattr(value, name) for name in fields} if fields is not None else value


def _frame(value: Any) -> Any:
    """Data frames of pandas and polars as lists of dicts, their series as lists."""
    if type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "to_dict"):
        return value.to_dict("records") if hasattr(value, "columns") else value.tolist()
    if type(value).__module__.partition(".")[0] == "polars":
        for method in ("to_dicts", "to_list"):
            if hasattr(value, method):
                return getattr(value, method)()
    return value


def _array(value: Any) -> Any:
    """Arrays and scalars of numpy, and all that follow its ``tolist``."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind in ("M", "m"):
        value = value.astype("datetime64[us]" if kind == "M" else "timedelta64[us]")
    elif kind == "c":
        return value
    return value.tolist() if callable(getattr(value, "tolist", None)) else value
