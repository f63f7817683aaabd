"""Rows as CSV with known types, by the standard library alone.

Null is an empty cell, empty text is ``""``, so that both come back. Text is written as it is: a cell that begins with
``=`` stays so, for CSV is data for programs, and spreadsheets should be given XLSX.
"""

from __future__ import annotations

import datetime as dt
import enum
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bursty.runtime.plain import NotPlain, to_json

PIECE_ROWS = 10_000
INT64 = range(-(2**63), 2**63)
_SPECIAL = re.compile(r'[",\r\n]|^\s|\s$')


@dataclass(frozen=True)
class Rows:
    """``piece(start, stop)`` gives the columns' values of these rows; it is asked for each piece twice."""

    names: Sequence[str]
    count: int
    piece: Callable[[int, int], Sequence[Sequence[Any]]]

    def pieces(self) -> Iterator[Sequence[Sequence[Any]]]:
        for start in range(0, self.count, PIECE_ROWS):
            columns = self.piece(start, min(self.count, start + PIECE_ROWS))
            yield [_native_values(values) for values in columns]


def _native_values(values: Sequence[Any]) -> Sequence[Any]:
    """Scalars of NumPy and pandas, and enums, as Python's own."""
    odd = {kind for kind in _types(values) if _is_odd(kind)}
    return [_native(value) if type(value) in odd else value for value in values] if odd else values


def _types(values: Iterable[Any]) -> set[type]:
    return {type(value) for value in values}


def _is_odd(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("numpy", "pandas") or issubclass(kind, enum.Enum)


def _native(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    name = type(value).__name__
    if name in ("NaTType", "NAType"):
        return None
    if name in ("datetime64", "timedelta64"):
        return value.astype(f"{name}[us]").item()  # in nanoseconds it would be a bare number
    return value.item() if hasattr(value, "item") else value


def write_csv(rows: Rows, path: str) -> list[dict[str, str]]:
    """Write the file in UTF-8; return the columns with the types that hold all their values."""
    kinds: list[set[str]] = [set() for _ in rows.names]
    for columns in rows.pieces():
        for kind, values in zip(kinds, columns, strict=True):
            kind.update(_kinds_of(values))
    types = [_common(kind) for kind in kinds]
    writers = [_json_cell if word in ("list", "record") else _cell for word in types]
    with open(path, "w", encoding="utf-8", errors="replace", newline="") as file:
        file.write(",".join(map(_quoted, rows.names)) + "\n")
        for columns in rows.pieces():
            cells = [map(write, values) for write, values in zip(writers, columns, strict=True)]
            file.writelines(",".join(row) + "\n" for row in zip(*cells, strict=True))
    return [{"name": name, "type": word} for name, word in zip(rows.names, types, strict=True)]


def _kinds_of(values: Iterable[Any]) -> set[str]:
    words = {_word(kind) for kind in _types(values)}
    if "integer" in words and any(isinstance(value, int) and value not in INT64 for value in values):
        words.add("text")
    if "datetime" in words:
        stamps = [value for value in values if isinstance(value, dt.datetime)]
        words.discard("datetime")
        words |= {"datetime" if stamp.tzinfo is None else "datetime_tz" for stamp in stamps}
    return words


def _word(kind: type) -> str:
    if kind is type(None):
        return "empty"
    for base, word in (
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (Decimal, "decimal"),
        (dt.datetime, "datetime"),
        (dt.date, "date"),
        (dt.time, "time"),
        (dt.timedelta, "duration"),
        ((bytes, bytearray), "binary"),
        (dict, "record"),
        ((list, tuple), "list"),
    ):
        if issubclass(kind, base):
            return word
    return "text"


def _common(kinds: set[str]) -> str:
    """The one type for values of these; text when there is no other."""
    kinds = kinds - {"empty"} if len(kinds) > 1 else kinds
    if kinds == {"integer", "number"}:
        return "number"
    if kinds == {"integer", "decimal"}:
        return "decimal"
    return next(iter(kinds)) if len(kinds) == 1 else "text" if kinds else "empty"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return _number(value.total_seconds())
    if isinstance(value, bytes | bytearray):
        return value.hex() or '""'
    if isinstance(value, dict | list | tuple):
        return _json_cell(value)  # pyright: ignore[reportUnknownArgumentType]
    return _quoted(str(value))


def _number(value: float) -> str:
    """Subclasses (NumPy's, enums) print as the number that they are."""
    if isinstance(value, int):
        return int.__repr__(value)
    return float.__repr__(value) if math.isfinite(value) else "NaN" if math.isnan(value) else f"{float(value)}"


def _json_cell(value: Any) -> str:
    if value is None:
        return ""
    try:
        return _quoted(to_json(value)[0])
    except NotPlain:
        return _quoted(str(value))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if not text or _SPECIAL.search(text) else text
