"""Examples made from JSON schemas: always the same, fit to be read, valid as far as a schema tells."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from bursty.forms.offer_read import Refused

_ENDLESS: Any = object()
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


def example_of(schema: Schema, definitions: Schema, name: str = "") -> Any:
    """``definitions``: what ``#/$defs/…`` refers to; ``name``: of the field, which texts are made of."""
    found = _Examples(definitions).of(schema, name, ())
    return None if found is _ENDLESS else found


def fitted(example: Any, read: Callable[[bytes], Any], otherwise: Any) -> Any:
    """The example, mended where ``read`` refuses it: schemas don't tell all that types do, such as that a text is a
    time. ``otherwise``: what can't be mended, such as a text with a pattern.
    """
    tried: dict[str, Iterator[str]] = {}
    for _ in range(100):
        try:
            read(json.dumps(example).encode())
        except Refused as refused:
            place = refused.faults[0].pointer
            texts = tried.setdefault(place, iter(_FORMATS.values()))
            if (text := next(texts, None)) is None:
                return otherwise
            example = _replaced(example, place.split("/")[1:], text)
        else:
            return example
    return otherwise


def _replaced(value: Any, steps: list[str], text: str) -> Any:
    """``value`` with a text at this place."""
    if not steps:
        return text
    step, inner = steps[0].replace("~1", "/").replace("~0", "~"), steps[1:]
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {**fields, step: _replaced(fields.get(step), inner, text)}
    if isinstance(value, list):
        parts = cast("list[Any]", value)
        return [_replaced(part, inner, text) if str(number) == step else part for number, part in enumerate(parts)]
    return value


class _Examples:
    """``within``: the definitions that an example is a part of; one in itself would never end."""

    def __init__(self, definitions: Schema) -> None:
        self._definitions = definitions

    def of(self, schema: Schema, name: str, within: tuple[str, ...]) -> Any:
        for key in ("examples", "enum"):
            if schema.get(key):
                return schema[key][0]
        for key in ("const", "default"):
            if key in schema and (key == "const" or schema[key] not in (None, [], {})):
                return schema[key]
        if target := schema.get("$ref"):
            target = target.rpartition("/")[2]
            if target in within:
                return _ENDLESS
            return self.of(self._definitions.get(target, {}), name, (*within, target))
        for key in ("anyOf", "oneOf", "allOf"):
            if choices := schema.get(key):
                best = sorted(choices, key=lambda one: one.get("type") == "null")
                made = (self.of(one, name, within) for one in best)
                return next((one for one in made if one is not _ENDLESS), _ENDLESS)
        return self._of_type(schema, name, within)

    def _of_type(self, schema: Schema, name: str, within: tuple[str, ...]) -> Any:
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
                return self._items(schema, name, within)
            case "object":
                return self._fields(schema, within)
            case _:
                return None

    def _items(self, schema: Schema, name: str, within: tuple[str, ...]) -> list[Any]:
        if fixed := schema.get("prefixItems"):
            return [self.of(one, name, within) for one in fixed]
        count = min(max(schema.get("minItems", 0), 2), schema.get("maxItems", 2))
        items = schema.get("items")
        if not items or schema.get("uniqueItems"):
            count = min(count, 1)
        made = self.of(items or {}, name.removesuffix("s"), within)
        return [] if made is _ENDLESS else [made] * count

    def _fields(self, schema: Schema, within: tuple[str, ...]) -> Any:
        properties: Schema = schema.get("properties", {})
        if properties:
            made = {name: self.of(one, name, within) for name, one in properties.items()}
            endless = {name for name, one in made.items() if one is _ENDLESS}
            if endless & set(schema.get("required", ())):
                return _ENDLESS
            return {name: one for name, one in made.items() if name not in endless}
        values = schema.get("additionalProperties")
        if isinstance(values, Mapping):
            made = self.of(cast(Schema, values), "name", within)
            return {} if made is _ENDLESS else {"name": made}
        return {"name": 1.5}


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
