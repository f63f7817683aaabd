"""Cells of CSV files as arguments: text, read as the function's annotations say."""

from __future__ import annotations

import datetime as dt
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from inspect import Parameter, signature
from typing import Annotated, Any, Literal, Union

TRUE = frozenset({"true", "yes", "y", "1", "on", "t"})
FALSE = frozenset({"false", "no", "n", "0", "off", "f"})


def _bool(text: str) -> bool:
    word = text.lower()
    if word not in TRUE and word not in FALSE:
        raise ValueError
    return word in TRUE


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError from None


READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    int: (int, "a whole number"),
    float: (float, "a number"),
    bool: (_bool, "true or false"),
    Decimal: (_decimal, "a decimal number"),
    dt.date: (dt.date.fromisoformat, "a date such as 2025-12-31"),
    dt.datetime: (dt.datetime.fromisoformat, "a date and time such as 2025-12-31T23:59:00"),
    dt.time: (dt.time.fromisoformat, "a time such as 23:59:00"),
}


@dataclass(frozen=True, slots=True)
class CellParser:
    """``readers``: tried in order, with what they read in words. ``text``: keep as it is when none can.
    ``optional``: an empty cell is None. ``has_default``: an empty cell leaves the argument out."""

    readers: tuple[tuple[Callable[[str], Any], str], ...]
    text: bool = False
    optional: bool = False
    has_default: bool = False

    def read(self, cell: str, name: str, arguments: dict[str, Any]) -> None:
        """Put the cell's value under the name. Raises ``ValueError`` with words."""
        stripped = cell.strip()
        if not stripped and (self.optional or (self.has_default and not self.text)):
            if self.optional:
                arguments[name] = None
            return
        for reader, _ in self.readers:
            try:
                arguments[name] = reader(stripped)
                return
            except ValueError:
                continue
        if not self.text:
            wanted = " or ".join(words for _, words in self.readers)
            shown = repr(cell if len(cell) <= 60 else cell[:60] + "…")
            raise ValueError(f"{shown} is not {wanted}" if stripped else f"the cell is empty, and must be {wanted}")
        arguments[name] = cell


def parsers_of(function: Callable[..., Any], columns: Sequence[str]) -> dict[str, CellParser]:
    """How to read each column whose parameter is annotated with what we know; others stay text."""
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # a name that is only there for type checkers
        hints = dict(getattr(function, "__annotations__", {}))
    try:
        parameters = signature(function).parameters
    except (TypeError, ValueError):
        return {}
    parsers: dict[str, CellParser] = {}
    for name in columns:
        if name in hints and (parser := _parser(hints[name], parameters.get(name))):
            parsers[name] = parser
    return parsers


BY_NAME = {"int": int, "float": float, "bool": bool, "str": str}


def _parser(hint: Any, parameter: Parameter | None) -> CellParser | None:
    kinds = _members(BY_NAME.get(hint, hint) if isinstance(hint, str) else hint)
    has_default = parameter is not None and parameter.default is not Parameter.empty
    optional, text = type(None) in kinds, str in kinds
    readers = tuple(READERS[kind] for kind in READERS if kind in kinds)
    if (not readers and not optional) or any(kind not in READERS and kind not in (str, type(None)) for kind in kinds):
        return None
    return CellParser(readers, text, optional, has_default)


def _members(hint: Any) -> list[Any]:
    """``Annotated[int | None, …]`` as ``[int, NoneType]``; a Literal as the types of its values."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _members(typing.get_args(hint)[0])
    if origin is Union or origin is types.UnionType:
        return [kind for member in typing.get_args(hint) for kind in _members(member)]
    if origin is Literal:
        return [type(value) for value in typing.get_args(hint)]
    return [type(None) if hint is None else hint]
