"""Text of a command line or a page, as values for ``validate``. Numbers and dates stay text: it reads them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from bursty.errors import InputsInvalid
from bursty.forms.plain import short
from bursty.forms.table import text_rows, typed_rows
from bursty.forms.types import Form, FormField


def parse_text(field: FormField, text: str | Sequence[str], *, allow_paths: bool = False) -> Any:
    """What a text means for a field; several texts are a list's items (an option given more than once).

    Empty text is "not set" for a nullable field. A list is written ``a,b,c`` (quotes as in CSV) or as JSON. A table is
    CSV or TSV text, or with ``allow_paths`` the path of such a file. Raises ``InputsInvalid`` with one problem.
    """
    try:
        return _parse(field, text, allow_paths)
    except ValueError as error:
        problem: dict[str, object] = {"field": field.get("name", ""), "message": str(error), "value": short(text)}
        raise InputsInvalid(f"{field.get('name', 'it')} {error}", problems=[problem]) from None


def parse_form(form: Form, texts: Mapping[str, str | Sequence[str]], *, allow_paths: bool = False) -> dict[str, Any]:
    """``parse_text`` of every field that is given. Unknown names are left for ``validate`` to refuse.

    Raises ``InputsInvalid`` with the problems of all fields.
    """
    fields = {field.get("name", ""): field for field in form["fields"]}
    values: dict[str, Any] = {}
    problems: list[dict[str, object]] = []
    for name, text in texts.items():
        try:
            values[name] = parse_text(fields[name], text, allow_paths=allow_paths) if name in fields else text
        except InputsInvalid as error:
            problems += error.problems
    if problems:
        raise InputsInvalid(
            "; ".join(f"{problem['field']} {problem['message']}" for problem in problems), problems=problems
        )
    return values


def parse_cell(column: FormField, text: str) -> Any:
    """A table's cell: as ``parse_text``. Raises ``ValueError``."""
    return _parse(column, text, False)


def _parse(field: FormField, text: str | Sequence[str], allow_paths: bool) -> Any:
    kind = field.get("kind", "json")
    if not isinstance(text, str):
        if kind == "list":
            return [_parse(field.get("items", {}), item, allow_paths) for item in text]
        if len(text) != 1:
            raise ValueError(f"is given {len(text)} times and takes one value")
        return _parse(field, text[0], allow_paths)
    text = text if kind in ("str", "choice", "json") else text.strip()
    if not text and field.get("nullable"):
        return None
    match kind:
        case "list":
            return _list(field, text, allow_paths)
        case "choice":
            return _choice(field, text)
        case "table":
            return _table(field, text, allow_paths)
        case "json":
            return _json(field, text)
        case "str":
            return text
        case _ if not text:
            raise ValueError("must not be empty")
        case _:
            return text


def _list(field: FormField, text: str, allow_paths: bool) -> list[Any]:
    if text.startswith("["):
        return _load(text)
    parts = next(csv.reader([text], skipinitialspace=True), list[str]())
    return [_parse(field.get("items", {}), part.strip(), allow_paths) for part in parts]


def _choice(field: FormField, text: str) -> Any:
    """The value that reads like the text; ``validate`` says what there is when none does."""
    for choice in field.get("choices", []):
        if text in (str(choice["value"]), json.dumps(choice["value"]), choice["label"]):
            return choice["value"]
    return text


def _table(field: FormField, text: str, allow_paths: bool) -> list[dict[str, Any]] | Any:
    if text.startswith("["):
        return _load(text)
    if allow_paths and "\n" not in text:
        if not os.path.isfile(text):
            raise ValueError(f"names no file: there is no {text!r}")
        with open(text, encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
    return text_rows(text) if field.get("columns") else typed_rows(text)


def _json(field: FormField, text: str) -> Any:
    if field.get("json_schema", {}).get("type") == "string":
        return text
    return _load(text)


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON ({error}); texts in JSON need double quotes") from None
