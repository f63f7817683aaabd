"""What the log makes of fields: the business key by which a label finds a prediction, the same from an answer, JSON and
CSV; and data without those that are redacted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote

_PLAIN = " /:@,;+!*'()$?"
LONGEST = 1000
"""Bytes of a key: indices of databases don't take any length, PostgreSQL's 2,700 bytes."""


def matched(fields: Mapping[str, Any]) -> str | None:
    """``name=value`` joined by ``&``, sorted by name; ``None`` when a value is missing or there are no fields.

    Numbers are written as short as may be, so that 7, 7.0 and "7" are the same; so are ``True`` and "true". In names
    and values ``%``, ``&``, ``=`` and what doesn't print are percent-encoded. Of a long key the end is its SHA-256.
    """
    if not fields or any(value is None or value == "" for value in fields.values()):
        return None
    key = "&".join(f"{_quoted(name)}={_quoted(_text(fields[name]))}" for name in sorted(fields))
    whole = key.encode()
    if len(whole) <= LONGEST:
        return key
    return f"{whole[: LONGEST - 65].decode(errors='ignore')}#{hashlib.sha256(whole).hexdigest()}"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False, default=str)


def _quoted(text: str) -> str:
    return "".join(
        char if char > "\x7f" and char.isprintable() else quote(char, _PLAIN, errors="replace") for char in text
    )


def without(value: Any, names: frozenset[str]) -> Any:
    """Plain data without the fields of these names, at any depth."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value).items()
        return {name: without(inner, names) for name, inner in fields if name not in names}
    if isinstance(value, list):
        return [without(inner, names) for inner in cast("list[Any]", value)]
    return value
