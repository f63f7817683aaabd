"""Find the part of an object that can't be pickled, and say so in words."""

from __future__ import annotations

import functools
import io
import types
from collections.abc import Iterator
from typing import Any, cast

MAX_DEPTH = 12
MAX_NODES = 2_000

HINTS = {
    "socket": "Open connections inside the function, on the worker.",
    "lock": "Locks belong to one process; create it inside the function.",
    "RLock": "Locks belong to one process; create it inside the function.",
    "generator": "Turn the generator into a list first.",
    "module": "Import the module inside the function.",
    "TextIOWrapper": "Pass the file's path and open it inside the function.",
    "BufferedReader": "Pass the file's path and open it inside the function.",
    "BufferedWriter": "Pass the file's path and open it inside the function.",
    "Connection": "Open the connection inside the function, on the worker.",
}


def explain(value: Any, what: str, error: BaseException) -> tuple[str, str]:
    """Message and hint for ``value`` (called ``what``) that failed to pickle with ``error``."""
    if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):  # cloudpickle wraps it
        return (
            f"{what} is nested too deeply to be pickled",
            "Flatten it (lists or arrays instead of linked objects), or build it inside the function.",
        )
    path, culprit = _find(value)
    kind = type(culprit).__name__
    hint = HINTS.get(kind, "Pass plain data instead, or create this object inside the function.")
    return f"{what}{path} (a {type(culprit).__module__}.{kind}) can't be pickled: {error}", hint


def _pickles(value: Any) -> bool:
    import cloudpickle

    pickler: Any = cloudpickle.Pickler(io.BytesIO(), protocol=5)
    try:
        pickler.dump(value)
    except Exception:
        return False
    return True


def _find(value: Any) -> tuple[str, Any]:
    """Path to, and the deepest part of ``value`` that fails; the value itself when no part of it fails alone."""
    path, budget, seen = "", MAX_NODES, {id(value)}
    for _ in range(MAX_DEPTH):
        for name, child in _children(value):
            budget -= 1
            if budget < 0:
                return path, value
            if id(child) not in seen and not _pickles(child):
                seen.add(id(child))
                path, value = path + name, child
                break
        else:
            break
    return path, value


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield f"[{key!r}]", item
    elif isinstance(value, list | tuple | set | frozenset):
        for number, item in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            yield f"[{number}]", item
    elif isinstance(value, functools.partial):
        yield ".func", value.func  # pyright: ignore[reportUnknownMemberType]
        yield ".args", value.args
        yield ".keywords", value.keywords
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, types.FunctionType):
        yield from _function_children(value)
    else:
        yield from _attributes(value)


def _function_children(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f" → variable {name!r} of its closure", cell.cell_contents
        except ValueError:  # an empty cell
            continue
    for name in code.co_names:
        if name in function.__globals__:
            yield f" → global {name!r}", function.__globals__[name]
    for number, default in enumerate(function.__defaults__ or ()):
        yield f" → default {number}", default


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    for name, item in getattr(value, "__dict__", {}).items():
        yield f".{name}", item
    kind = cast(Any, type)(value)
    slots: Any = getattr(kind, "__slots__", ())
    for name in (slots,) if isinstance(slots, str) else slots:
        if hasattr(value, name):
            yield f".{name}", getattr(value, name)
