"""A job's parameters with their resolved hints, in the worker; and which of them takes the ``Run``."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, cast, get_args, get_type_hints

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import SchemaError

from bursty.errors import ConfigError
from bursty.forms.parameters import check_parameter

RUN_MARK = "__bursty_run__"
MISSING: Any = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Input:
    """A parameter that is an input: its hint, with a ``Field`` that stood as its default; and its default, if any."""

    name: str
    hint: Any
    default: Any
    adapter: TypeAdapter[Any]


def read_signature(fn: Callable[..., Any], skip: tuple[str, ...] = ("run",)) -> tuple[list[Input], str | None]:
    """The inputs of a job, and the name of the parameter that takes the ``Run``.

    Raises ``ConfigError`` that names the parameter for what can't be an input.
    """
    inner = inspect.unwrap(fn)
    inputs: list[Input] = []
    run: str | None = None
    for parameter in inspect.signature(inner).parameters.values():
        if _takes_run(inner, parameter, skip):
            run = parameter.name
        else:
            inputs.append(_input(inner, parameter))
    return inputs, run


def _where(fn: Callable[..., Any], name: str) -> str:
    return f"parameter {name!r} of {getattr(fn, '__qualname__', fn)}"


def _takes_run(fn: Callable[..., Any], parameter: inspect.Parameter, skip: tuple[str, ...]) -> bool:
    hint = parameter.annotation
    if hint is MISSING:
        return parameter.name in skip
    if isinstance(hint, str):
        try:
            hint = _resolved(fn, parameter)
        except ConfigError:  # imported for type checkers only, say
            return parameter.name in skip and hint.rpartition(".")[2] == "Run"
    return any(getattr(one, RUN_MARK, False) for one in (hint, *get_args(hint)))


def _input(fn: Callable[..., Any], parameter: inspect.Parameter) -> Input:
    where, name = _where(fn, parameter.name), parameter.name
    check_parameter(where, parameter, f"{name}: int, {name}: float = 0.5, ...")
    hint, default = _resolved(fn, parameter), parameter.default
    if isinstance(default, FieldInfo):
        hint, default = Annotated[hint, default], MISSING
    try:
        return Input(name, hint, default, cast(Any, TypeAdapter)(hint))
    except (PydanticUserError, SchemaError, NameError, TypeError) as error:
        says = str(error).split("\n\nFor further", 1)[0]
        raise ConfigError(f"the type hint of {where} can't be an input: {says}", "See the kinds of inputs.") from error


def _resolved(fn: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The hint as an object. Only this one: hints elsewhere may name what type checkers alone import."""
    if not isinstance(parameter.annotation, str):
        holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
        return get_type_hints(holder, include_extras=True)[parameter.name]
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    names = {**getattr(fn, "__globals__", {})}
    try:
        return get_type_hints(holder, names, inspect.getclosurevars(fn).nonlocals, include_extras=True)[parameter.name]
    except Exception as error:
        raise ConfigError(
            f"the type hint of {_where(fn, parameter.name)}, {parameter.annotation!r}, can't be resolved: {error}",
            "Import what it names at the top of the module, not under TYPE_CHECKING.",
        ) from error
