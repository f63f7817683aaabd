"""What is said to people about fields: their bounds, and what is wrong with a value."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from bursty.forms.types import FormField

_KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "date": "a date like 2026-11-21",
    "datetime": "a date and time like 2026-11-21T09:00:00+01:00",
    "list": "a list",
    "table": "a table",
    "file": "a file",
    "choice": "one of the choices",
    "json": "JSON",
}


def kind_of(field: FormField) -> str:
    """ "a whole number", "a list of texts"; for sentences like "must be …"."""
    return _KINDS[field.get("kind", "json")]


def bounds_of(field: FormField) -> str:
    """Its bounds in words, with the unit: ``at least -1 and at most 5 EUR``; ``""`` when it has none."""
    unit = f" {field['unit']}" if "unit" in field and field.get("kind") in ("int", "float") else ""
    words = (
        ("ge", "at least"),
        ("gt", "more than"),
        ("le", "at most"),
        ("lt", "less than"),
        ("multiple_of", "a multiple of"),
    )
    parts = [f"{word} {field[key]}" for key, word in words if key in field]
    if text := _length_of(field):
        parts.append(text)
    if "pattern" in field:
        parts.append(f"matching {field['pattern']}")
    if field.get("kind") == "choice":
        parts.append("one of " + _enumerated(choice["value"] for choice in field.get("choices", [])))
    return " and ".join(parts) + (unit if parts else "")


def _length_of(field: FormField) -> str:
    what = {"str": "character", "table": "row"}.get(field.get("kind", ""), "item")
    least, most = field.get("min_length"), field.get("max_length")
    if least is not None and most is not None:
        return f"{least} to {most} {what}s"
    if least is not None:
        return f"at least {least} {what}{'s' * (least != 1)}"
    return "" if most is None else f"at most {most} {what}{'s' * (most != 1)}"


def _enumerated(values: Iterable[Any]) -> str:
    shown = [str(value) for value in values]
    return ", ".join(shown[:20]) + (f", … ({len(shown)} in all)" if len(shown) > 20 else "")


def refusal(field: FormField, error_type: str, pydantic_says: str) -> str:
    """What to say when pydantic refused a value of a plain field."""
    bounds = bounds_of(field)
    if error_type == "finite_number":
        return "must be a finite number, not NaN or infinity"
    if error_type in ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of"):
        return f"must be {bounds or 'a whole number that fits 64 bits'}"
    if error_type in ("string_too_short", "string_too_long", "string_pattern_mismatch"):
        return f"must be text, {bounds}"
    if field.get("kind") in _KINDS:
        return f"must be {kind_of(field)}" + (f", {bounds}" if bounds else "")
    return pydantic_says


def not_a_choice(field: FormField, value: Any) -> str:
    choices = [choice["value"] for choice in field.get("choices", [])]
    return f"must be one of {_enumerated(choices)}{suggestion(value, map(str, choices))}"


def suggestion(value: Any, known: Iterable[str]) -> str:
    """``; did you mean 'growth'?`` or nothing."""
    if not isinstance(value, str) or len(value) > 60:
        return ""
    near = difflib.get_close_matches(value, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
