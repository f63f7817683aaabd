"""What is served, as an OpenAPI 3.1 document, from a version's stored description."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from bursty.endpoints import Default, EndpointInfo, Fallback
from bursty.serving import openapi_parts as parts

Json = dict[str, Any]
DEFS = "#/$defs/"
COMPONENTS = "#/components/schemas/"
_LITERAL = frozenset(("const", "default", "enum", "example", "examples"))
"""Keywords whose values are data: nothing in them is a reference."""
_BY_NAME = frozenset(("$defs", "dependentSchemas", "patternProperties", "properties"))
_UNFIT = re.compile(r"[^A-Za-z0-9._-]")


def openapi(infos: Sequence[EndpointInfo], *, title: str, version: str, url: str = "/", is_local: bool = False) -> Json:
    """The document, fit for JSON. ``title`` and ``version``: of the app. ``url``: where the server is. ``is_local``:
    only this machine reaches it, so that tokens are not needed."""
    schemas = _Schemas(parts.SCHEMAS)
    paths: dict[str, Json] = {}
    for info in infos:
        paths[info.spec.path] = _path(info, schemas, is_local)
    own = parts.own_paths(is_local)
    if not any(info.spec.log for info in infos):
        del own["/labels"]  # there is nothing to say the truth of
    paths |= own
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": parts.ABOUT},
        "servers": [{"url": url}],
        "tags": [{"name": app} for app in sorted({info.app for info in infos})] + parts.TAGS,
        "paths": paths,
        "components": {
            "schemas": schemas.found,
            "responses": parts.RESPONSES,
            "headers": parts.HEADERS,
            "parameters": parts.PARAMETERS,
            "securitySchemes": parts.SECURITY,
        },
    }


def words_of(info: EndpointInfo) -> str:
    """In Markdown: what the user wrote, the deadline and what comes instead when it passes."""
    spec = info.spec
    told = [spec.description] if spec.description else []
    told.append(f"Answers within {spec.deadline * 1e3:g} ms{parts.fallback_words(spec)}.")
    if info.schema["lists"]:
        told.append(parts.ITEM_WORDS[info.schema["layout"]])
    return "\n\n".join(told)


def _path(info: EndpointInfo, schemas: _Schemas, is_local: bool) -> Json:
    """The operations of one endpoint."""
    spec, schema = info.spec, info.schema
    request, response = schemas.add(spec.name, schema["request"]), schemas.add(spec.name, schema["response"])
    response = _with_defaults(response, spec.fallback)
    given = {one["name"]: schemas.add(spec.name, _with_defs(one, schema)) for one in schema["parameters"]}
    in_path = [_parameter(one, given[one["name"]]) for one in schema["parameters"] if one["in"] == "path"]
    item: Json = {"parameters": in_path} if in_path else {}
    for method in schema["methods"]:
        has_body = method == "POST" and schema["body"] != "none"
        operation: Json = {
            "operationId": spec.name if method == "POST" else f"{spec.name}_{method.lower()}",
            "summary": spec.title,
            "description": words_of(info),
            "tags": [info.app],
            "security": [] if spec.auth == "public" else parts.security(f"predict:{spec.path}", is_local),
            "parameters": [{"$ref": "#/components/parameters/Deadline"}],
            "responses": _responses(info, response, has_body=has_body),
        }
        if method == "GET":
            queried = [one for one in schema["parameters"] if one["in"] == "query"]
            operation["parameters"] = [_parameter(one, given[one["name"]]) for one in queried] + operation["parameters"]
        if has_body:
            operation["requestBody"] = {
                "required": any(one["required"] for one in schema["parameters"] if one["in"] != "path"),
                "content": {"application/json": {"schema": request, "example": schema["examples"]["request"]}},
            }
        item[method.lower()] = operation
    return item


def _with_defaults(response: Json, fallbacks: Sequence[Fallback]) -> Json:
    """Declared defaults may be of another type than what the endpoint returns: ``null``, say, for "nothing known"."""
    defaults = [one for one in fallbacks if isinstance(one, Default)]
    whole: list[Json] = [{"const": one.value, "title": "The declared default"} for one in defaults if not one.each]
    each: list[Json] = [{"const": one.value, "title": "The declared default"} for one in defaults if one.each]
    if each and "items" in response:
        response = {**response, "items": {"anyOf": [response["items"], *each]}}
    return {"anyOf": [response, *whole]} if whole else response


def _with_defs(parameter: Mapping[str, Any], schema: Mapping[str, Any]) -> Json:
    """A parameter's schema; what it refers to is kept with the request."""
    return {**parameter["schema"], "$defs": schema["request"].get("$defs", {})}


def _parameter(one: Mapping[str, Any], schema: Json) -> Json:
    found: Json = {"name": one["name"], "in": one["in"], "required": one["required"], "schema": schema}
    if one.get("example") is not None:
        found["example"] = one["example"]
    if "default" in one and "default" not in schema:
        found["schema"] = {**schema, "default": one["default"]}
    return found


def _responses(info: EndpointInfo, response: Json, *, has_body: bool) -> Json:
    example = info.schema["examples"]["response"]
    content: Json = {"schema": response, "example": example}
    if info.schema["layout"] == "aligned" and isinstance(example, list) and example:
        failed = [*cast("list[Any]", example)[:-1], parts.FAILED_ITEM]
        content = {
            "schema": response,
            "examples": {
                "answer": {"summary": "All items are fine", "value": example},
                "failed": {"summary": "One item is not", "value": failed},
            },
        }
    headers = [name for name in parts.ANSWER_HEADERS if name != "Bursty-Prediction" or info.spec.log is not None]
    found: Json = {
        "200": {
            "description": "The answer.",
            "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
            "content": {"application/json": content},
        }
    }
    statuses = {400, 422, 431, 500, 503, 504}
    statuses |= {408, 413, 415} if has_body else set()
    statuses |= {401, 403} if info.spec.auth != "public" else set()
    return found | {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)}


class _Schemas:
    """Schemas of all endpoints under names of their own. What two endpoints call the same, and is the same, is kept
    once; what is not the same gets the endpoint's name behind its own."""

    def __init__(self, own: Mapping[str, Json]) -> None:
        self.found: dict[str, Json] = dict(own)

    def add(self, endpoint: str, schema: Mapping[str, Any]) -> Json:
        """``schema`` with references to where its ``$defs`` went."""
        definitions: Mapping[str, Json] = schema.get("$defs", {})
        names: dict[str, str] = {}
        for name in definitions:
            wanted = _UNFIT.sub("_", name)
            names[name] = self._free(wanted, names.values()) if wanted in names.values() else wanted
        while clashes := [name for name in definitions if self._is_other(names[name], definitions[name], names)]:
            for name in clashes:  # what refers to one that is renamed differs now, too: once more
                names[name] = self._free(f"{names[name]}_{endpoint}", names.values())
        self.found |= {names[name]: _moved(definition, names) for name, definition in definitions.items()}
        return _moved({key: value for key, value in schema.items() if key != "$defs"}, names)

    def _is_other(self, name: str, definition: Json, names: Mapping[str, str]) -> bool:
        return name in self.found and self.found[name] != _moved(definition, names)

    def _free(self, name: str, taken: Iterable[str]) -> str:
        number, wanted = 1, name
        while wanted in self.found or wanted in taken:
            number += 1
            wanted = f"{name}_{number}"
        return wanted


def _moved(schema: Any, names: Mapping[str, str]) -> Any:
    """A schema whose references go to the components."""
    if isinstance(schema, list):
        return [_moved(one, names) for one in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    found: Json = {}
    for key, value in cast(Json, schema).items():
        if key == "$ref" and isinstance(value, str):
            found[key] = _target(value, names)
        elif key == "discriminator":
            mapping: dict[str, str] = value.get("mapping", {})
            found[key] = {**value, "mapping": {kind: _target(ref, names) for kind, ref in mapping.items()}}
        elif key in _BY_NAME:
            found[key] = {name: _moved(one, names) for name, one in value.items()}
        else:
            found[key] = value if key in _LITERAL else _moved(value, names)
    return found


def _target(reference: str, names: Mapping[str, str]) -> str:
    name = reference.removeprefix(DEFS)
    return COMPONENTS + names[name] if reference.startswith(DEFS) and name in names else reference
