"""Examples made from JSON schemas: always the same, valid for all that a schema says but patterns, fit to be read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

MAX_DEPTH = 6
_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T09:30:00Z",
    "time": "09:30:00",
    "duration": "PT1H30M",
    "uuid": "0198f2c4-7d1e-7a4b-9c53-5b1e8a6f0d21",
    "uuid4": "3f2b8c1e-6d4a-4f7e-9b0d-2a5c8e1f7b64",
    "email": "ada@example.org",
    "uri": "https://example.org/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "decimal": "12.50",
}
_SHARES = ("score", "probability", "proba", "share", "threshold", "confidence")

Schema = Mapping[str, Any]


def example_of(schema: Schema, definitions: Schema, name: str = "", depth: int = 0) -> Any:
    """``definitions``: what ``#/$defs/…`` refers to; ``name``: of the field, which texts are made of."""
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("const", "default"):
        if key in schema and (key == "const" or schema[key] not in (None, [], {})):
            return schema[key]
    if depth > MAX_DEPTH:
        return None
    if "$ref" in schema:
        target = definitions.get(schema["$ref"].rpartition("/")[2], {})
        return example_of(target, definitions, name, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if choices := schema.get(key):
            return _first(choices, definitions, name, depth)
    return _of_type(schema, definitions, name, depth)


def _first(choices: list[Schema], definitions: Schema, name: str, depth: int) -> Any:
    best = min(choices, key=lambda one: one.get("type") == "null")
    return example_of(best, definitions, name, depth + 1)


def _of_type(schema: Schema, definitions: Schema, name: str, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in cast("list[str]", kind) if one != "null"), "null")
    match kind:
        case "string":
            return _text(schema, name)
        case "integer":
            return int(_number(schema, 1, 1))
        case "number":
            return _number(schema, 0.5 if any(word in name.lower() for word in _SHARES) else 1.5, 0.5)
        case "boolean":
            return True
        case "array":
            return _items(schema, definitions, name, depth)
        case "object":
            return _fields(schema, definitions, depth)
        case _:
            return None


def _text(schema: Schema, name: str) -> str:
    form = schema.get("format", "")
    text = _FORMATS.get(form) or name.replace("_", " ").strip() or "text"
    if schema.get("contentEncoding") == "base64":
        return "Ynl0ZXM="
    least, most = schema.get("minLength", 0), schema.get("maxLength", len(text))
    return text.ljust(least, "x")[: max(most, least)] if form not in _FORMATS else text


def _number(schema: Schema, usual: float, step: float) -> float:
    """Near ``usual``, within the bounds."""
    whole = schema.get("multipleOf")
    step = whole or step
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)

    def fits(value: float) -> bool:
        return low <= value <= high and above < value < below

    least, most = max(low, above), min(high, below)
    middle = (least + most) / 2 if math.isfinite(least + most) else usual
    for value in (usual, low, above + step, high, below - step, middle):
        rounded = round(value / whole) * whole if whole and math.isfinite(value) else value
        if math.isfinite(rounded) and fits(rounded):
            return rounded
    return middle


def _items(schema: Schema, definitions: Schema, name: str, depth: int) -> list[Any]:
    if fixed := schema.get("prefixItems"):
        return [example_of(one, definitions, name, depth + 1) for one in fixed]
    count = min(max(schema.get("minItems", 0), 2), schema.get("maxItems", 2))
    items = schema.get("items")
    if not items or schema.get("uniqueItems"):
        count = min(count, 1)
    single = name.removesuffix("s")
    return [example_of(items or {}, definitions, single, depth + 1) for _ in range(count)]


def _fields(schema: Schema, definitions: Schema, depth: int) -> dict[str, Any]:
    properties: Schema = schema.get("properties", {})
    if properties:
        return {name: example_of(one, definitions, name, depth + 1) for name, one in properties.items()}
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping):
        return {"name": example_of(cast(Schema, values), definitions, "name", depth + 1)}
    return {"name": 1.5} if depth < MAX_DEPTH else {}
