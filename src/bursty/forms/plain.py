"""Plain data: what of Python's values a form takes, how large and deep it may be, and its canonical JSON."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, cast

MAX_DEPTH = 50
MIN_INT, MAX_INT = -(2**63), 2**63 - 1
# PostgreSQL can't store NUL, a terminal obeys escape codes, and half of a surrogate pair is no text at all.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Refused(ValueError):
    """A value does not fit its field; the message says why, behind the field's name."""


def canonical_json(value: Any) -> str:
    """The one JSON text of plain data: sorted names, no spaces. Raises ``ValueError`` for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def inputs_hash(inputs: Mapping[str, Any]) -> str:
    """SHA-256 in hex of validated inputs: equal for equal inputs, whatever their order."""
    return hashlib.sha256(canonical_json(dict(inputs)).encode()).hexdigest()


def plain(value: Any) -> Any:
    """An enum's member as its value, a number of numpy's as Python's, pandas' "no value" as ``None``."""
    if isinstance(value, Enum):
        return value.value
    home = type(value).__module__.partition(".")[0]
    if home == "numpy" and hasattr(value, "item") and not getattr(value, "ndim", 0):
        return value.item()
    if home == "pandas" and type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value


def unfit_text(text: str) -> str:
    """What is wrong with a text, or ``""``."""
    found = _UNFIT.search(text)
    return f"holds the control character {found[0]!r} at position {found.start() + 1}" if found else ""


def unfit_json(value: Any) -> str:
    """Why a value is no JSON that we keep, or ``""``: types, NaN, numbers beyond 64 bits, control characters."""
    for item in _walk(value):
        match item:
            case None | bool():
                continue
            case int() if not MIN_INT <= item <= MAX_INT:
                return "holds a whole number that does not fit 64 bits; give it as text"
            case float() if not math.isfinite(item):
                return "holds a number that is not finite (NaN or infinity)"
            case str() if wrong := unfit_text(item):
                return wrong
            case int() | float() | str() | list() | dict():
                continue
            case _:
                return f"holds a {type(item).__name__}, which JSON can't"
    return ""


def _walk(value: Any) -> Iterator[Any]:
    """All parts of nested data, names included, without recursion."""
    pending = [value]
    while pending:
        item = pending.pop()
        yield item
        if isinstance(item, dict):
            pending.extend(cast("dict[Any, Any]", item))
            pending.extend(cast("dict[Any, Any]", item).values())
        elif isinstance(item, list):
            pending.extend(cast("list[Any]", item))


def too_large(value: Any, limit: int) -> str:
    """Why a value is not worth looking at, or ``""``: too deep, or surely above ``limit`` bytes of JSON.

    Cheap for hostile values: it ends once it has seen ``limit`` bytes. A value is at least a digit and a comma.
    """
    seen, pending = 0, [(value, 0)]
    while pending:
        item, depth = pending.pop()
        seen += 2 + (len(cast(str, item)) if isinstance(item, str | bytes) else 0)
        if seen > limit:
            return "size"
        if isinstance(item, Mapping):
            mapping = cast("Mapping[Any, Any]", item)
            seen += sum(len(key) if isinstance(key, str) else 1 for key in mapping)
            inner = list(mapping.values())
        elif isinstance(item, list | tuple | set | frozenset):
            inner = list(cast("list[Any]", item))
        else:
            continue
        if depth >= MAX_DEPTH:
            return "depth"
        if seen + 2 * len(inner) > limit:
            return "size"
        pending.extend((child, depth + 1) for child in inner)
    return ""


def short(value: Any) -> Any:
    """A value as a message shows it: scalars as they are, texts cut, everything else as a few words; fit for JSON."""
    if value is None or isinstance(value, bool) or (isinstance(value, int) and MIN_INT <= value <= MAX_INT):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        text = _UNFIT.sub("�", value[:101])
        return text if len(value) <= 100 else text[:99] + "…"
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return f"{type(cast(object, value)).__name__} of {len(cast('list[Any]', value))}"
    return "a number too large to show" if isinstance(value, int) else f"a {type(value).__name__}"
