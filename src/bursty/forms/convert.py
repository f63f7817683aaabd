"""Checked inputs as the arguments of the user's function, in the worker: its own hints have the last word."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from bursty.errors import ConfigError, InputsInvalid
from bursty.forms.plain import short
from bursty.forms.schema import form_of_inputs
from bursty.forms.signature import MISSING, Input, read_signature
from bursty.forms.types import Form
from bursty.forms.validate import file_fields, replace_files

Files = Mapping[str, str]


def run_parameter(fn: Callable[..., Any], skip: tuple[str, ...] = ("run",)) -> str | None:
    """The name of the parameter that takes the ``Run``, if there is one."""
    return _read(fn, skip)[1]


def to_arguments(
    fn: Callable[..., Any], inputs: Mapping[str, Any], files: Files | None = None, skip: tuple[str, ...] = ("run",)
) -> dict[str, Any]:
    """Validated inputs as keyword arguments of the types that ``fn`` is annotated with, the ``Run`` left out.

    ``files``: the local path of each upload, by its digest. Raises ``InputsInvalid`` when the hints refuse a value
    (``field`` names it), and ``ConfigError`` when inputs and function don't belong together.
    """
    given, _, form = _read(fn, skip)
    if unknown := inputs.keys() - {one.name for one in given}:
        raise ConfigError(
            f"{getattr(fn, '__qualname__', fn)} has no input {', '.join(sorted(unknown))}",
            "The inputs were checked against another version's form.",
        )
    return _convert_all(given, replace_files(form, inputs, lambda file: _local(file, files or {})))


def check(fn: Callable[..., Any], inputs: Mapping[str, Any], skip: tuple[str, ...] = ("run",)) -> None:
    """Have the function's own hints check validated inputs, before their files are here: these are left out.

    Raises ``InputsInvalid``.
    """
    given, _, form = _read(fn, skip)
    files = file_fields(form)
    _convert_all([one for one in given if one.name in inputs and one.name not in files], inputs)


def _convert_all(given: Sequence[Input], inputs: Mapping[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    problems: list[dict[str, object]] = []
    for one in given:
        try:
            if one.name in inputs:
                arguments[one.name] = _convert(one, inputs[one.name], arguments)
            elif one.default is MISSING:
                arguments[one.name] = _default(one)
        except ValidationError as error:
            problems += [_problem(one.name, dict(part)) for part in error.errors(include_url=False)]
        except KeyError:  # a validator looked for an input that was refused
            if not problems:
                raise
    if problems:
        text = "\n  ".join(f"{problem['field']}: {problem['message']}" for problem in problems[:10])
        raise InputsInvalid(f"the function refuses its inputs:\n  {text}", problems=problems[:100])
    return arguments


@lru_cache(maxsize=64)
def _read(fn: Callable[..., Any], skip: tuple[str, ...]) -> tuple[list[Input], str | None, Form]:
    inputs, run = read_signature(fn, skip)
    return inputs, run, form_of_inputs(fn, inputs)


def _convert(one: Input, value: Any, before: Mapping[str, Any]) -> Any:
    """``before``: the inputs that stand before this one, for validators that compare."""
    if value is None and one.default is None:  # x: int = None
        return None
    # As JSON: so strict hints take dates, enums and tuples too.
    return one.adapter.validate_json(json.dumps(value), context=before)


def _default(one: Input) -> Any:
    """Of ``Field(default_factory=…)``, which no form can hold."""
    found = one.adapter.get_default_value()
    if found is None:
        raise ConfigError(f"the input {one.name!r} is missing", "Validate inputs against the form first.")
    return found.value


def _local(file: dict[str, Any], files: Files) -> dict[str, Any]:
    if "path" in file:
        return file
    path = files.get(file["upload"])
    if path is None:
        raise ConfigError(
            f"the uploaded file {file['name']!r} was not brought to this worker", "It may have been pruned."
        )
    return {"path": path, "name": file["name"], "size": file["size"], "digest": file["upload"]}


def _problem(name: str, error: dict[str, Any]) -> dict[str, object]:
    place = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return {"field": name, "message": f"{place}: {message}" if place else message, "value": short(error.get("input"))}
