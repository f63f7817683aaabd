"""JSON schemas in words, and examples of requests, for the page of what is served."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlencode

from bursty.endpoints import EndpointInfo

Json = Mapping[str, Any]
DEPTH = 4
LINE = 60
_TYPES = {
    "array": "list",
    "boolean": "true or false",
    "integer": "whole number",
    "null": "null",
    "number": "number",
    "object": "object",
    "string": "text",
}
_FORMATS = {"date": "date", "date-time": "date and time", "time": "time", "uuid": "UUID", "duration": "duration"}
_BOUNDS = (
    ("minimum", "from {}"),
    ("exclusiveMinimum", "above {}"),
    ("maximum", "to {}"),
    ("exclusiveMaximum", "below {}"),
    ("multipleOf", "a multiple of {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("pattern", "like {}"),
)


class Row(NamedTuple):
    """A field of a request. ``default``: as JSON, where there is one."""

    name: str
    place: str
    type: str
    required: bool
    default: str | None
    description: str


def type_words(schema: Json, definitions: Json) -> str:
    """``number, from 0 to 10``; ``list of Item``."""
    schema = _resolved(schema, definitions)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(type_words(one, definitions) for one in schema[key]))
    if "const" in schema or "enum" in schema:
        return " | ".join(json.dumps(one, ensure_ascii=False) for one in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(_TYPES.get(one, one) for one in cast("list[str]", kind))
    if kind == "array":
        items: Json = schema.get("items") or {}
        words = f"list of {type_words(items, definitions)}" if items else "list"
    elif kind == "object":
        words = str(schema.get("title") or "object")
    else:
        words = _FORMATS.get(schema.get("format", ""), _TYPES.get(kind or "", "anything"))
    return ", ".join((words, *_bounds(schema)))


def _bounds(schema: Json) -> Iterator[str]:
    found = [
        words.format(f"{schema[key]:g}" if isinstance(schema[key], float) else schema[key])
        for key, words in _BOUNDS
        if key in schema
    ]
    if len(found) > 1 and found[0].startswith("from") and found[1].startswith("to"):
        found[:2] = [" ".join(found[:2])]
    yield from found


def _resolved(schema: Json, definitions: Json) -> Json:
    """Through references; what stands beside one counts, too."""
    seen: set[str] = set()
    while "$ref" in schema and (name := str(schema["$ref"]).rpartition("/")[2]) not in seen:
        seen.add(name)
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**definitions.get(name, {}), **beside}
    return schema


def rows_of(info: EndpointInfo) -> list[Row]:
    """The fields of a request: in the path, in the query or body, and what lies in them."""
    schema = info.schema
    definitions: Json = schema["request"].get("$defs", {})
    whole = schema["body"] in ("array", "object")
    found: list[Row] = []
    for one in schema["parameters"]:
        place = {"path": "path", "query": "query or body"}.get(one["in"], "body")
        is_body = whole and one["in"] != "path"
        if not (is_body and _has_fields(one["schema"], definitions)):
            default = json.dumps(one["default"], ensure_ascii=False) if "default" in one else None
            words, about = type_words(one["schema"], definitions), _about(one["schema"], definitions)
            found.append(Row("body" if is_body else one["name"], place, words, one["required"], default, about))
        found += _inside(one["schema"], definitions, "" if is_body else one["name"], place, DEPTH)
    return found


def _has_fields(schema: Json, definitions: Json) -> bool:
    return "properties" in _resolved(schema, definitions)


def _inside(schema: Json, definitions: Json, prefix: str, place: str, depth: int) -> list[Row]:
    """The fields of an object, and of the objects that a list or another field holds."""
    schema = _resolved(schema, definitions)
    for one in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        if _resolved(one, definitions).get("type") in ("array", "object"):
            schema = _resolved(one, definitions)
            break
    if schema.get("type") == "array":
        return _inside(schema.get("items") or {}, definitions, f"{prefix}[]", place, depth)
    found: list[Row] = []
    if depth:
        required = schema.get("required", ())
        for name, inner in schema.get("properties", {}).items():
            full = f"{prefix}.{name}" if prefix else name
            default = json.dumps(inner["default"], ensure_ascii=False) if "default" in inner else None
            words, about = type_words(inner, definitions), _about(inner, definitions)
            found.append(Row(full, place, words, name in required, default, about))
            found += _inside(inner, definitions, full, place, depth - 1)
    return found


def _about(schema: Json, definitions: Json) -> str:
    """What the user said of it. A title that only repeats the name says nothing."""
    found = _resolved(schema, definitions)
    title = str(schema.get("title") or "")
    return str(found.get("description") or (title if " " in title else ""))


# Examples


def filled(info: EndpointInfo) -> str:
    """The path with examples in place of its parameters."""
    path = info.spec.path
    for one in _in(info, "path"):
        path = path.replace(f"{{{one['name']}}}", quote(str(one.get("example") or "x"), safe=""))
    return path


def curl_example(info: EndpointInfo, url: str) -> str:
    """A command for a shell."""
    lines = [f"curl {shlex.quote(url + filled(info) + _query(info))}"]
    if info.spec.auth != "public":
        lines.append('-H "Authorization: Bearer $TOKEN"')
    if not _by_get(info) and info.schema["body"] != "none":
        body = json.dumps(info.schema["examples"]["request"], ensure_ascii=False)
        lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(body)}"]
    elif not _by_get(info):
        lines[0] += " -X POST"
    return " \\\n  ".join(lines)


def python_example(info: EndpointInfo, url: str) -> str:
    """A few lines with requests."""
    given = info.schema["examples"]["request"]
    method, word = ("get", "params") if _by_get(info) else ("post", "json")
    arguments = [laid_out(url + filled(info))]
    if given or not _by_get(info):
        arguments.append(f"{word}={laid_out(given, 1, python=True)}")
    if info.spec.auth != "public":
        arguments.append('headers={"Authorization": f"Bearer {token}"}')
    inside = "".join(f"    {argument},\n" for argument in arguments)
    return (
        f"import requests\n\nresponse = requests.{method}(\n{inside})\n"
        'response.raise_for_status()\nprint(response.headers["Bursty-Answer"], response.json())'
    )


def laid_out(value: Any, depth: int = 0, *, python: bool = False) -> str:
    """JSON, or its values as Python writes them; only what is long takes several lines."""
    if isinstance(value, str) or not (python or isinstance(value, dict | list)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        named = cast("dict[str, Any]", value)
        parts = [f"{json.dumps(key)}: {laid_out(one, depth + 1, python=python)}" for key, one in named.items()]
    elif isinstance(value, list):
        parts = [laid_out(one, depth + 1, python=python) for one in cast("list[Any]", value)]
    else:
        return repr(value)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    line = ", ".join(parts)
    if len(line) <= LINE and "\n" not in line:
        return opening + line + closing
    step = "    " if python else "  "
    lines = f",\n{step * (depth + 1)}".join(parts) + ("," if python else "")
    return f"{opening}\n{step * (depth + 1)}{lines}\n{step * depth}{closing}"


def _by_get(info: EndpointInfo) -> bool:
    return "GET" in info.schema["methods"]


def _query(info: EndpointInfo) -> str:
    if not _by_get(info):
        return ""
    given: list[tuple[str, str]] = []
    for one in _in(info, "query"):
        value = one.get("example")
        values: Sequence[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
        given += [(one["name"], v if isinstance(v, str) else json.dumps(v)) for v in values if v is not None]
    return "?" + urlencode(given) if given else ""


def _in(info: EndpointInfo, place: str) -> Iterator[Json]:
    return (one for one in info.schema["parameters"] if one["in"] == place)
