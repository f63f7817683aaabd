"""What a hint is to JSON: a scalar, a list, an object; and whether pydantic or msgspec reads it."""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import sys
import types
import typing
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

import msgspec

Kind = Literal["scalar", "list", "object", "value"]
Container = Literal["list", "array", "frame", "series"]

_SCALARS = (int, float, str, bytes, enum.Enum, dt.date, dt.time, dt.timedelta, uuid.UUID, decimal.Decimal, type(None))
_LISTS = (list, abc.Sequence, abc.Collection, abc.Iterable, abc.MutableSequence)
_PYDANTIC = ("pydantic", "pydantic_core", "annotated_types")
_NUMBERS: dict[str, Any] = {"f": float, "i": int, "u": int, "b": bool, "U": str, "O": Any}


@dataclass(frozen=True, slots=True)
class Shape:
    """``kind``: "value" is any other JSON. Of a list: ``item``, the hint of its elements, and ``container``, what it
    becomes: a list or tuple as the hint says, an array of numpy's, a frame or series of pandas'. ``reads``: the hint
    that JSON is read by. ``nullable``: ``None`` is allowed.
    """

    kind: Kind
    reads: Any
    nullable: bool = False
    item: Any = None
    container: Container = "list"
    dtype: Any = None


def shape_of(hint: Any) -> Shape:
    """Of a resolved hint."""
    inner, metadata, nullable = _bare(hint)
    origin = get_origin(inner) or inner
    if is_array(origin):
        dtype = _dtype(inner)
        number = _NUMBERS.get(getattr(dtype, "kind", "f"), float)
        item = Any if number is Any else Union[number, list[number]]  # noqa: UP007
        return Shape("list", _nullable(list[item], nullable), nullable, item, "array", dtype)
    if is_pandas(origin, "DataFrame"):
        item = next((one for one in metadata if fields_of(one) is not None), dict[str, Any])
        return Shape("list", _nullable(list[item], nullable), nullable, item, "frame")
    if is_pandas(origin, "Series"):
        return Shape("list", _nullable(list[Any], nullable), nullable, Any, "series")
    arguments = get_args(inner)
    if origin in _LISTS:
        return Shape("list", hint, nullable, arguments[0] if arguments else Any)
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:
        return Shape("list", hint, nullable, arguments[0])
    return Shape(_kind(inner, origin), hint, nullable)


def _nullable(hint: Any, nullable: bool) -> Any:
    return hint | None if nullable else hint


def _kind(hint: Any, origin: Any) -> Kind:
    if origin is Literal:
        return "scalar"
    if origin in (Union, types.UnionType):
        kinds = {shape_of(part).kind for part in get_args(hint)}
        return cast(Kind, kinds.pop()) if len(kinds) == 1 and kinds <= {"scalar", "object"} else "value"
    if origin in (dict, abc.Mapping, abc.MutableMapping) or fields_of(hint) is not None:
        return "object"
    return "scalar" if isinstance(origin, type) and issubclass(origin, _SCALARS) else "value"


def _bare(hint: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """Without ``Annotated`` and ``Optional`` around it: the hint, the metadata, whether ``None`` is allowed."""
    metadata: tuple[Any, ...] = ()
    nullable = False
    while True:
        if get_origin(hint) is Annotated:
            hint, *more = get_args(hint)
            metadata += tuple(more)
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        elif get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
            others = [part for part in get_args(hint) if part is not type(None)]
            if len(others) != 1:
                return hint, metadata, True
            hint, nullable = others[0], True
        else:
            return hint, metadata, nullable


def is_array(kind: Any) -> bool:
    """Whether it is ``numpy.ndarray``, without importing numpy: who names it has imported it."""
    return kind is not None and kind is getattr(sys.modules.get("numpy"), "ndarray", None)


def is_pandas(kind: Any, name: str) -> bool:
    """Whether it is this class of pandas', without importing pandas."""
    return kind is not None and kind is getattr(sys.modules.get("pandas"), name, None)


def _dtype(hint: Any) -> Any:
    """Of ``numpy.typing.NDArray[numpy.int64]``, which is ``ndarray[Any, dtype[int64]]``."""
    arguments = get_args(hint)
    named = get_args(arguments[1])[0] if len(arguments) == 2 and get_args(arguments[1]) else float
    try:
        return cast(Any, sys.modules["numpy"]).dtype(named)
    except TypeError:
        return cast(Any, sys.modules["numpy"]).dtype(float)


def fields_of(hint: Any) -> dict[str, Any] | None:
    """The fields of an object type with their hints, by their names in JSON; ``None`` for what is no object type.

    Where a name can't be resolved, there are none: the reader of the hint says so.
    """
    kind: Any = get_origin(hint) or hint
    if not inspect.isclass(kind):
        return None
    try:
        if issubclass(kind, msgspec.Struct):
            if kind.__struct_config__.array_like:
                return None
            return {field.encode_name: field.type for field in msgspec.structs.fields(hint)}
        if isinstance(models := getattr(kind, "model_fields", None), dict):
            return dict(_model_fields(cast("dict[str, Any]", models)))
        if dataclasses.is_dataclass(kind) or is_typeddict(kind):
            return {name: _required(inner) for name, inner in get_type_hints(kind, include_extras=True).items()}
    except (NameError, TypeError, AttributeError):
        return {}
    return None


def _required(hint: Any) -> Any:
    """Without ``Required`` and ``NotRequired`` of a TypedDict."""
    return get_args(hint)[0] if get_origin(hint) in (typing.Required, typing.NotRequired) else hint


def _model_fields(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, field in fields.items():
        hint = field.annotation
        for one in field.metadata:
            hint = Annotated[hint, one]
        alias = field.validation_alias
        yield (alias if isinstance(alias, str) else name), hint


def inner_lists(shape: Shape) -> dict[str, Any]:
    """The lists right inside an object type: the hints of their elements, by the field's name in JSON."""
    if shape.kind != "object":
        return {}
    fields = fields_of(_bare(shape.reads)[0]) or {}
    shapes = {name: shape_of(hint) for name, hint in fields.items()}
    return {name: one.item for name, one in shapes.items() if one.kind == "list" and one.container == "list"}


def by_pydantic(hint: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Whether pydantic must read it: some part of it, at any depth, is pydantic's."""
    metadata: tuple[Any, ...] = getattr(hint, "__metadata__", ())
    if any(type(one).__module__.partition(".")[0] in _PYDANTIC or _is_schema(one) for one in metadata):
        return True
    kind = get_origin(hint) or hint
    if _is_schema(kind):
        return True
    parts = [*get_args(hint), *(one for one in metadata if isinstance(one, type))]
    if isinstance(kind, type) and kind not in seen:
        seen |= {kind}
        parts += (fields_of(hint) or {}).values()
    return any(by_pydantic(part, seen) for part in parts if not isinstance(part, str | int | enum.Enum))


def _is_schema(one: Any) -> bool:
    return any(hasattr(one, name) for name in ("__pydantic_core_schema__", "__get_pydantic_core_schema__"))
