"""``schema_of``: what an endpoint takes and gives as JSON schemas, for its version's description; in the worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from bursty.endpoints import Default, EndpointSpec
from bursty.errors import ConfigError
from bursty.forms.offer_codec import reader_of
from bursty.forms.offer_examples import example_of, fitted
from bursty.forms.offer_shape import Shape, by_pydantic
from bursty.forms.offer_signature import MISSING, Offer, Parameter, read_offer

Schema = dict[str, Any]
_ERROR: Schema = {
    "title": "ItemError",
    "description": "Stands where an item has no value.",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "properties": {
                "message": {"type": "string", "description": "What is wrong."},
                "field": {"type": "string", "description": "JSON pointer to the part of the item that is wrong."},
                "at": {"type": "string", "description": "JSON pointer to the item, where positions are not kept."},
            },
        }
    },
}


def schema_of(target: Any, spec: EndpointSpec) -> dict[str, Any]:
    """What ``target``, a function or a class, takes and gives.

    ``methods``. ``parameters``: ``name``, ``in`` ("path", "query", "body"; what is in the query may stand in the body,
    too), ``required``, ``default``, ``schema``, ``example``. ``body``: "array", "object" (the one parameter as a
    whole), "fields" (an object with the parameters by name) or "none". ``lists``: pointers of the lists whose elements
    are judged singly. ``request`` and ``response``: JSON schemas with ``$defs``. ``examples``: of ``request`` and
    ``response``. ``layout`` of the answer: see ``Offer``. Raises ``ConfigError`` that names the parameter.
    """
    offer = read_offer(target, spec)
    _check_defaults(offer, spec)
    schemas, definitions = _schemas(offer)
    request = _request(offer, schemas, definitions)
    result, defined = _schema(offer.result, f"the return type of {offer.name}", True)
    parameters = [_described(one, schemas[one.name], definitions) for one in offer.parameters]
    return {
        "methods": ["GET", "POST"] if offer.takes_get else ["POST"],
        "parameters": parameters,
        "body": offer.body,
        "lists": list(offer.lists),
        "layout": offer.layout,
        "request": request,
        "response": _response(offer, result, defined),
        "examples": _examples(offer, parameters, request, {**result, "$defs": defined}),
        "doc": spec.description,
    }


def _check_defaults(offer: Offer, spec: EndpointSpec) -> None:
    """What stands for each item needs items, one answer for each."""
    for one in spec.fallback:
        if isinstance(one, Default) and one.each and (offer.body != "array" or offer.layout != "aligned"):
            raise ConfigError(
                f"{offer.name} has a default for each item, and its body is no list that is answered item by item",
                "Take one list and return one, or declare Default(VALUE) for the whole answer.",
            )


def _schemas(offer: Offer) -> tuple[dict[str, Schema], Schema]:
    """The schema of each parameter, and what they refer to."""
    schemas: dict[str, Schema] = {}
    definitions: Schema = {}
    for one in offer.parameters:
        schemas[one.name], found = _schema(one.shape, f"parameter {one.name!r} of {offer.name}", False)
        for name, definition in found.items():
            if definitions.setdefault(name, definition) != definition:
                raise ConfigError(f"{offer.name} takes two types that are both named {name}", "Rename one of them.")
    return schemas, definitions


def _schema(shape: Shape, where: str, result: bool) -> tuple[Schema, Schema]:
    """Of one hint: its JSON schema and the definitions in it."""
    try:
        if by_pydantic(shape.reads):
            from bursty.forms.offer_pydantic import schemas_of

            schemas, definitions = schemas_of([(shape.reads, result)])
            return schemas[0], definitions
        (schema,), definitions = msgspec.json.schema_components([shape.reads], ref_template="#/$defs/{name}")
        return schema, definitions
    except Exception as error:
        says = str(error).partition("\n")[0]
        raise ConfigError(
            f"the type of {where} can't be {'an answer' if result else 'an input'}: {says}",
            "Use numbers, text, dates, lists, dicts, msgspec Structs, dataclasses, TypedDicts or pydantic models.",
        ) from error


def _request(offer: Offer, schemas: dict[str, Schema], definitions: Schema) -> Schema:
    """Of the body."""
    inner = [one for one in offer.parameters if one.place != "path"]
    if offer.body in ("array", "object"):
        schema = schemas[inner[0].name]
    else:
        required = [one.name for one in inner if one.default is MISSING]
        schema = {"type": "object", "properties": {one.name: schemas[one.name] for one in inner}}
        schema |= {"required": required} if required else {}
    return {**schema, "$defs": definitions} if definitions else dict(schema)


def _response(offer: Offer, schema: Schema, definitions: Schema) -> Schema:
    """With the envelope of items."""
    if offer.layout == "plain":
        return {**schema, "$defs": definitions} if definitions else schema
    failed = {"$ref": "#/$defs/ItemError"}
    if offer.layout == "wrapped":
        properties = {"result": schema, "errors": {"type": "array", "items": failed}}
        schema = {"type": "object", "properties": properties, "required": ["result", "errors"]}
    else:
        kept = {key: schema[key] for key in ("title", "description") if key in schema}
        item = _resolve(schema, definitions).get("items", {})
        schema = {**kept, "type": "array", "items": {"anyOf": [item, failed]} if item else {}}
    return {**schema, "$defs": {**definitions, "ItemError": _ERROR}}


def _resolve(schema: Schema, definitions: Schema) -> Schema:
    """Through references and "or null" to the schema of a list."""
    for one in [schema, *schema.get("anyOf", ())]:
        if "$ref" in one:
            one = definitions.get(one["$ref"].rpartition("/")[2], {})
        if one.get("type") == "array":
            return one
    return {}


def _described(one: Parameter, schema: Schema, definitions: Schema) -> dict[str, Any]:
    found: dict[str, Any] = {"name": one.name, "in": one.place, "required": one.default is MISSING, "schema": schema}
    if one.default is not MISSING and (default := _plain(one.default)) is not MISSING:
        found["default"] = default
    if "default" in found and one.default is not None:
        found["example"] = found["default"]
    else:
        made = _matrix(schema) if one.shape.container == "array" else example_of(schema, definitions, one.name)
        found["example"] = fitted(made, reader_of(one.shape.reads).read, found.get("default"))
    return found


def _matrix(schema: Schema) -> list[list[Any]]:
    """Two rows of two numbers; of what the array holds."""
    kinds: list[Schema] = schema.get("items", {}).get("anyOf", [])
    number = example_of(next((one for one in kinds if one.get("type") != "array"), Schema()), {})
    return [[number, number], [number, number]]


def _plain(value: Any) -> Any:
    """As JSON has it; ``MISSING`` for what JSON can't hold."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=_model))
    except (TypeError, ValueError, RecursionError):
        return MISSING


def _model(value: Any) -> Any:
    dump = cast("Callable[..., Any] | None", getattr(value, "model_dump", None))
    if dump is None:
        raise TypeError(f"{type(value).__name__} is no JSON")
    return dump(mode="json")


def _examples(offer: Offer, parameters: list[dict[str, Any]], request: Schema, schema: Schema) -> dict[str, Any]:
    """``schema``: of the result, with its definitions."""
    inner = [one for one in parameters if one["in"] != "path"]
    made: Any
    if "examples" in request:
        made = request["examples"][0]
    elif offer.body in ("array", "object"):
        made = inner[0]["example"]
    else:
        made = {one["name"]: one["example"] for one in inner}
    answer: Any = example_of(schema, schema.get("$defs", {}), "result")
    answer = fitted(answer, reader_of(offer.result.reads).read, answer)
    if offer.layout == "wrapped":
        return {"request": made, "response": {"result": answer, "errors": []}}
    if offer.layout != "plain" and not isinstance(answer, list):  # it has no hint
        answer = [1.5]
    if offer.listed is not None:
        items: list[Any] = (made if offer.body == "array" else made.get(offer.listed.name)) or []
        answer = (cast("list[Any]", answer) * len(items))[: len(items)]
    return {"request": made, "response": answer}
