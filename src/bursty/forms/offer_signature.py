"""An endpoint's signature: what it takes from where, and how its answer is laid out. In the worker."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_type_hints

from bursty.endpoints import EndpointSpec
from bursty.errors import ConfigError
from bursty.forms.offer_shape import Shape, inner_lists, shape_of
from bursty.forms.parameters import check_parameter

MISSING: Any = inspect.Parameter.empty
Place = Literal["path", "query", "body"]
Body = Literal["none", "array", "object", "fields"]
Layout = Literal["aligned", "joined", "wrapped", "plain"]
_IN_PATH = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """``place``: where it is looked for. "query": there, and in the body; "body": scalars in the query, too."""

    name: str
    hint: Any
    default: Any
    shape: Shape
    place: Place


@dataclass(frozen=True, slots=True)
class Offer:
    """What an endpoint takes and gives.

    ``body``: "array" and "object": the one parameter as a whole; "fields": an object with the parameters by name.
    ``lists``: pointers of the lists whose elements are judged singly, with the hints of these. ``layout`` of the
    answer: "aligned": a list with a value or an error for each element of the one list. "joined": the function's list,
    then an error for each element that was refused. "wrapped": ``{"result", "errors"}``. "plain": the value.
    """

    name: str
    parameters: tuple[Parameter, ...]
    returns: Any
    result: Shape
    body: Body
    lists: Mapping[str, Any]
    layout: Layout

    @property
    def listed(self) -> Parameter | None:
        """The parameter whose elements the answer is aligned with."""
        return next((one for one in self.parameters if one.shape.kind == "list" and self.layout == "aligned"), None)

    @property
    def takes_get(self) -> bool:
        return all(_fits_query(one.shape) for one in self.parameters)


def read_offer(target: Any, spec: EndpointSpec) -> Offer:
    """Of a function, or of the ``__call__`` of a class. Raises ``ConfigError`` that names the parameter."""
    function = inspect.unwrap(target.__call__ if inspect.isclass(target) else target)
    given = list(inspect.signature(function).parameters.values())[1 if inspect.isclass(target) else 0 :]
    in_path = _IN_PATH.findall(spec.path)
    if unknown := [name for name in in_path if name not in {one.name for one in given}]:
        raise ConfigError(f"the path {spec.path} names {unknown[0]}, which {spec.name} does not take", "Add it.")
    read = [_parameter(function, one) for one in given]
    parameters = tuple(_placed(*one, in_path, [shape for *_, shape in read]) for one in read)
    returns = _resolved(function, "return", inspect.signature(function).return_annotation)
    body = _body([one for one in parameters if one.place != "path"])
    lists = _lists(parameters, body)
    result = shape_of(returns)
    layout = _layout(parameters, lists, result)
    if spec.batch and not (body == "array" and layout == "aligned" and len(parameters) == 1):
        raise ConfigError(
            f"the endpoint {spec.name} can't be batched: it must take one list and give a list",
            f"def {spec.name}(items: list[Item]) -> list[Score], say; or leave batch= away.",
        )
    return Offer(spec.name, parameters, returns, result, body, lists, layout)


def _parameter(function: Callable[..., Any], parameter: inspect.Parameter) -> tuple[str, Any, Any, Shape]:
    where, name = f"parameter {parameter.name!r} of {function.__qualname__}", parameter.name
    check_parameter(where, parameter, f"{name}: int, {name}: list[Item] …")
    hint, default = _resolved(function, name, parameter.annotation), parameter.default
    if type(default).__name__ == "FieldInfo" and hasattr(default, "get_default"):  # pydantic's, as a default
        hint = Annotated[hint, default]
        default = MISSING if default.is_required() else default.get_default(call_default_factory=True)
    return name, hint, default, shape_of(hint)


def _placed(name: str, hint: Any, default: Any, shape: Shape, in_path: list[str], shapes: list[Shape]) -> Parameter:
    place: Place = "query" if all(map(_fits_query, shapes)) else "body"
    if name in in_path:
        if shape.kind != "scalar":
            raise ConfigError(f"the parameter {name!r} stands in the path and is no scalar", "Make it a str or an int.")
        place = "path"
    return Parameter(name, hint, default, shape, place)


def _fits_query(shape: Shape) -> bool:
    return shape.kind == "scalar" or (
        shape.kind == "list" and shape.container == "list" and shape_of(shape.item).kind == "scalar"
    )


def _body(parameters: list[Parameter]) -> Body:
    if not parameters:
        return "none"
    if len(parameters) == 1 and parameters[0].shape.kind in ("list", "object"):
        return "array" if parameters[0].shape.kind == "list" else "object"
    return "fields"


def _lists(parameters: tuple[Parameter, ...], body: Body) -> dict[str, Any]:
    if body == "object":
        inner = inner_lists(next(one.shape for one in parameters if one.place != "path"))
        return {pointer(name): item for name, item in inner.items()}
    listed = [one for one in parameters if one.shape.kind == "list"]
    return {"" if body == "array" else pointer(one.name): one.shape.item for one in listed}


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _layout(parameters: tuple[Parameter, ...], lists: Mapping[str, Any], result: Shape) -> Layout:
    """A missing hint of the result is taken for what the parameters suggest."""
    if not lists:
        return "plain"
    if result.kind != "list" and result.reads is not Any:
        return "wrapped"
    return "aligned" if sum(one.shape.kind == "list" for one in parameters) == 1 else "joined"


def _resolved(function: Callable[..., Any], name: str, hint: Any) -> Any:
    """The hint as an object; ``Any`` where there is none."""
    if hint is MISSING:
        return Any
    holder = types.SimpleNamespace(__annotations__={name: hint})
    names = {**getattr(function, "__globals__", {})}
    try:
        nonlocals = dict(inspect.getclosurevars(function).nonlocals) if isinstance(hint, str) else None
        return get_type_hints(holder, names, nonlocals, include_extras=True)[name]
    except Exception as error:
        what = "the return type" if name == "return" else f"the type hint of parameter {name!r}"
        raise ConfigError(
            f"{what} of {function.__qualname__}, {hint!r}, can't be resolved: {error}",
            "Import what it names at the top of the module, not under TYPE_CHECKING.",
        ) from error
