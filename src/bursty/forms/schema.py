"""``form_of``: the form that a function's type hints make, in the worker.

The shape is read from pydantic's core schema, which has resolved all ways to write a hint; titles, help and units from
its JSON schema. What a form can't say makes the field ``custom``: the worker then checks what the form can't.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from enum import Enum
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticOmit, SchemaError, SchemaValidator

from bursty.errors import ConfigError, InputsInvalid
from bursty.forms.plain import plain, unfit_json
from bursty.forms.signature import MISSING, Input, read_signature
from bursty.forms.types import MARK, Form, FormField
from bursty.forms.validate import canonical

Core = dict[str, Any]
_COMMON = {"type", "ref", "metadata", "serialization", "strict"}
_RANGE = ("ge", "gt", "le", "lt")
_KNOWN = {
    "int": {*_RANGE, "multiple_of"},
    "float": {*_RANGE, "multiple_of", "allow_inf_nan"},
    "str": {"min_length", "max_length", "pattern"},
    "bool": set[str](),
    "date": {*_RANGE},
    "datetime": {*_RANGE, "microseconds_precision"},
}
_LISTS = ("list", "set", "frozenset", "tuple")


def form_of(fn: Callable[..., Any], skip: tuple[str, ...] = ("run",)) -> Form:
    """The form of a job's inputs as JSON-able data.

    ``skip``: names of parameters that take the ``Run`` without a hint. Raises ``ConfigError`` for a parameter without a
    type hint, with one that pydantic can't read, or with a default outside its own bounds.
    """
    return form_of_inputs(fn, read_signature(fn, skip)[0])


def form_of_inputs(fn: Callable[..., Any], inputs: Sequence[Input]) -> Form:
    """``form_of`` when the signature has been read."""
    fields = [_field(fn, given) for given in inputs]
    return {"fields": fields, "custom": any(field.get("custom") for field in fields)}


def _field(fn: Callable[..., Any], given: Input) -> FormField:
    where = f"parameter {given.name!r} of {getattr(fn, '__qualname__', fn)}"
    walk = _Walk(_json_schema(given.adapter), where)
    field = walk.field(given.name, cast(Core, given.adapter.core_schema), walk.root)
    info = FieldInfo.from_annotation(given.hint)
    field["title"] = info.title or field.get("title") or _titled(given.name)
    field["description"] = info.description or field.get("description", "")
    if given.default is not MISSING:
        _set_default(field, given.default, where)
    return field


def _json_schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    try:
        return adapter.json_schema()
    except (PydanticInvalidForJsonSchema, PydanticOmit):
        return {}


def _titled(name: str) -> str:
    words = name.strip("_").replace("_", " ")
    return words[:1].upper() + words[1:]


def _set_default(field: FormField, default: Any, where: str) -> None:
    field["required"] = False
    if default is None:
        field["nullable"] = True
    try:
        field["default"] = canonical(field, default)
    except InputsInvalid as error:
        says = error.problems[0]["message"]
        raise ConfigError(
            f"the default of {where} is refused by its own hint: {says}", "Mend the one or the other."
        ) from error


class _Walk:
    """Reads the core schema and the JSON schema of one hint side by side."""

    def __init__(self, root: dict[str, Any], where: str) -> None:
        self.root = root
        self.where = where
        self.definitions: dict[str, Core] = {}

    def field(self, name: str, core: Core, words: dict[str, Any]) -> FormField:
        field: FormField = {
            "name": name,
            "kind": "json",
            "title": "",
            "description": "",
            "required": True,
            "nullable": False,
            "custom": False,
        }
        default: list[Any] = []
        core, words = self.unwrap(field, core, words, default)
        self.shape(field, core, words)
        if default:
            _set_default(field, default[0], self.where)
        return field

    def unwrap(
        self, field: FormField, core: Core, words: dict[str, Any], default: list[Any]
    ) -> tuple[Core, dict[str, Any]]:
        """Down to the schema that says the kind, noting what is met on the way."""
        while True:
            words = self.words(field, words)
            if core.get("metadata", {}).get(MARK):
                return core, words
            match core["type"]:
                case "definitions":
                    self.definitions.update({inner["ref"]: inner for inner in core["definitions"]})
                case "definition-ref" if core["schema_ref"] in self.definitions:
                    core = self.definitions[core["schema_ref"]]
                    continue
                case "default":
                    field["required"] = False
                    if "default" in core:
                        default.append(core["default"])
                case "nullable":
                    field["nullable"] = True
                case "function-after":
                    field["custom"] = True
                case "json-or-python":
                    core = core["json_schema"]
                    continue
                case _:
                    return core, words
            core = core["schema"]

    def words(self, field: FormField, words: dict[str, Any]) -> dict[str, Any]:
        """Take unit, title and help from a JSON schema, and go to what it refers to."""
        if isinstance(unit := words.get("unit"), str):
            field.setdefault("unit", unit)
        if "$ref" not in words and "enum" not in words and "properties" not in words:  # theirs are of the class
            field["title"] = field.get("title") or words.get("title", "")
            field["description"] = field.get("description") or words.get("description", "")
        if "$ref" in words:
            return self.root.get("$defs", {}).get(words["$ref"].rpartition("/")[2], {})
        choices = [inner for inner in words.get("anyOf", []) if inner.get("type") != "null"]
        return self.words(field, choices[0]) if len(choices) == 1 else words

    def shape(self, field: FormField, core: Core, words: dict[str, Any]) -> None:
        kind = core.get("metadata", {}).get(MARK) or core["type"]
        if kind == "file":
            field["kind"] = "file"
        elif kind == "table":
            self.table(field, core["schema"], words)
        elif kind in _KNOWN:
            field["kind"] = kind
            self.bounds(field, core, _KNOWN[kind])
        elif kind == "enum" or (kind == "literal" and all(_is_plain(value) for value in core["expected"])):
            self.choice(field, core)
        elif kind in _LISTS and (kind != "tuple" or core.get("variadic_item_index") == 0):
            self.items(field, core, words)
        else:
            field["kind"] = "json"
            field["custom"] = field.get("custom", False) or kind != "any"
            field["json_schema"] = {**words, "$defs": self.root["$defs"]} if "$defs" in self.root else words

    def bounds(self, field: FormField, core: Core, known: set[str]) -> None:
        for key in core.keys() - _COMMON:
            bound = core[key].isoformat() if isinstance(core[key], date) else plain(core[key])
            if key in ("allow_inf_nan", "microseconds_precision"):
                continue
            if key == "pattern" and (core.get("regex_engine") or not _is_pattern(bound)):
                bound = None
            if key in known and bound is not None and not unfit_json(bound):
                cast("dict[str, Any]", field)[key] = bound
            else:
                field["custom"] = True

    def choice(self, field: FormField, core: Core) -> None:
        field["kind"] = "choice"
        options = [(plain(value), value) for value in core.get("expected", core.get("members", []))]
        if core["type"] == "enum" and any(not _is_plain(value) or value is None for value, _ in options):
            raise ConfigError(
                f"{self.where} is a choice of {core['cls'].__name__}, whose values a form can't carry",
                "Make them text, whole numbers, numbers or booleans.",
            )
        field["nullable"] = field.get("nullable", False) or any(value is None for value, _ in options)
        field["custom"] = field.get("custom", False) or "missing" in core
        field["choices"] = [
            {"value": value, "label": _titled(given.name.lower()) if isinstance(given, Enum) else str(value)}
            for value, given in options
            if value is not None
        ]

    def items(self, field: FormField, core: Core, words: dict[str, Any]) -> None:
        field["kind"] = "list"
        inner = core.get("items_schema", {"type": "any"})
        item = inner[0] if core["type"] == "tuple" else inner
        field["items"] = self.field("", item, words.get("items", {}))
        sized = {"min_length", "max_length"} & core.keys()
        if sized and core["type"] in ("set", "frozenset"):  # counts what differs
            field["custom"] = True
        else:
            cast("dict[str, Any]", field).update({key: core[key] for key in sized})
        if core.keys() - _COMMON - {"items_schema", "variadic_item_index", "fail_fast", *sized} or field["items"].get(
            "custom"
        ):
            field["custom"] = True

    def table(self, field: FormField, core: Core, words: dict[str, Any]) -> None:
        field["kind"] = "table"
        row, names = self.unwrap(field, core["items_schema"], words.get("items", {}), [])
        if row["type"] == "dict":
            return
        fields, simple = _columns(row)
        titles = names.get("properties", {})
        field["columns"] = [self.column(name, inner, titles.get(name, {})) for name, inner in fields.items()]
        field["custom"] = field.get("custom", False) or not simple or any(c.get("custom") for c in field["columns"])

    def column(self, name: str, core: Core, words: dict[str, Any]) -> FormField:
        column = self.field(name, core["schema"], words)
        if core.get("required") is False:
            column["required"] = False
        if column.get("kind") in ("file", "table", "list", "json"):
            raise ConfigError(
                f"{self.where} is a table whose column {name!r} is no plain value",
                "Cells are text, numbers, booleans, choices, dates or times.",
            )
        made_up = name.replace("_", " ").title()  # by pydantic, when nobody gave one
        if column.get("title") in ("", made_up):
            column["title"] = _titled(name)
        return column


def _columns(row: Core) -> tuple[dict[str, Core], bool]:
    """The fields of a row type, and whether that is all there is to it."""
    inner = row.get("schema", row)
    fields = inner.get("fields")
    if isinstance(fields, list):  # a dataclass
        fields = {field["name"]: field for field in cast("list[Core]", fields)}
    if not isinstance(fields, dict):
        raise ConfigError("a Table's rows must be a pydantic model, a dataclass or a TypedDict", "Table[Item], say.")
    named = cast("dict[str, Core]", fields)
    config = {**row.get("config", {}), **inner.get("config", {})}
    odd = (
        config.keys() - {"title"}
        or row.get("custom_init")
        or row.get("post_init")
        or inner["type"].startswith("function")
    )
    aliased = any("validation_alias" in field for field in named.values())
    return named, not odd and not aliased


def _is_plain(value: Any) -> bool:
    return isinstance(plain(value), str | int | float | bool | None) and not unfit_json(plain(value))


def _is_pattern(pattern: Any) -> bool:
    """Whether pydantic's own engine, which is linear in the length of the text, can run it."""
    if not isinstance(pattern, str):  # compiled, maybe with flags
        return False
    try:
        SchemaValidator({"type": "str", "pattern": pattern})
    except SchemaError:
        return False
    return True
