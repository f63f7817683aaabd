"""How many items a generator of ours will give: generators can't say so themselves."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Generator
from typing import Any

_totals: weakref.WeakKeyDictionary[Generator[Any, Any, Any], int] = weakref.WeakKeyDictionary()


def note_total(results: Generator[Any, Any, Any], total: int) -> None:
    """Remember the number of results of a map."""
    _totals[results] = total


def total_of(iterable: Any) -> int | None:
    """How many items, if it can be told."""
    if isinstance(iterable, Generator):
        return _totals.get(iterable)  # pyright: ignore[reportUnknownArgumentType]
    return operator.length_hint(iterable, -1) if operator.length_hint(iterable, -1) >= 0 else None
