"""A user's function on its way to workers: its pickle, digest, name and options."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import types
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bursty.errors import ConfigError, SerializationError
from bursty.runtime.pickling import Parts, dumps, is_by_value
from bursty.values import FunctionSpec, Payload, Ref


@dataclass(frozen=True, slots=True)
class Code:
    """``digest`` names it; a worker gets ``payload`` once. ``module``: what a zygote may import in advance.
    ``python``: the workers' minor version, if it is not ours: nothing may travel by value.
    """

    digest: str
    payload: Payload
    label: str
    module: str | None
    by_value: bool
    python: str | None = None


_known: weakref.WeakKeyDictionary[Any, Code] = weakref.WeakKeyDictionary()


def spec_of(function: Callable[..., Any]) -> FunctionSpec | None:
    """What ``@app.function`` attached."""
    spec = getattr(function, "__bursty__", None)
    return spec if isinstance(spec, FunctionSpec) else None


def label_of(function: Any) -> str:
    """How people call it: its name; a partial's or method's is that of the function inside."""
    while isinstance(function, functools.partial):
        function = function.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).replace("<locals>.", "")


def encode_function(function: Callable[..., Any], parts: Parts, python: str | None = None) -> Code:
    """Pickle a function, by reference when it can be imported, else by value, each time anew: its globals may change.

    ``python``: the minor version of the workers. Raises ``SerializationError`` and ``ConfigError``.
    """
    code = _known.get(function) if is_constant(function) else None
    if code is None:
        _check(function)
        payload = dumps(function, parts, what=f"function {label_of(function)!r}")
        payload = Payload(tuple(p if isinstance(p, Ref) else bytes(p) for p in payload.parts))
        module = getattr(function, "__module__", None)
        code = Code(_digest(payload), payload, label_of(function), None, is_by_value(payload))
        if not code.by_value and isinstance(module, str) and module != "__main__":
            code = Code(code.digest, payload, code.label, None if module == "builtins" else module, False)
            if is_constant(function):
                _known[function] = code
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python is None or python == own:
        return code
    refuse_by_value(code.payload, python, f"function {code.label!r}")
    return replace(code, python=python)


def refuse_by_value(payload: Payload, python: str, what: str) -> None:
    """Bytecode of another minor version ends the worker that runs it. Raises ``SerializationError``."""
    if is_by_value(payload):
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SerializationError(
            f"{what} would travel by value from Python {own} to {python}, whose bytecode differs",
            "Put functions and classes into a module (a .py file) and import them from there.",
        )


def is_constant(function: Any) -> bool:
    """Whether its pickle is the same tomorrow: plain functions of modules. Others carry values that may change."""
    if inspect.isbuiltin(function):
        return isinstance(function.__self__, types.ModuleType)
    return inspect.isfunction(function) and function.__closure__ is None and function.__module__ != "__main__"


def _check(function: Any) -> None:
    if not callable(function):
        raise ConfigError(f"{function!r} can't be called", "Pass the function first, then its arguments.")
    inner = inspect.unwrap(function) if inspect.isfunction(function) else function
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise ConfigError(
            f"{label_of(function)!r} is a generator function: its call gives a generator, which can't leave its worker",
            "Return a list instead of yielding.",
        )
    if inspect.iscoroutinefunction(inner):
        raise ConfigError(
            f"{label_of(function)!r} is a coroutine function, and workers run no event loop",
            "Wrap it: def f(x): return asyncio.run(coroutine(x)).",
        )


def _digest(payload: Payload) -> str:
    digest = hashlib.sha256()
    for part in payload.parts:
        digest.update(part.digest.encode() if isinstance(part, Ref) else part)
    return digest.hexdigest()
