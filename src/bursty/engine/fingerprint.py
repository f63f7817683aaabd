"""Fingerprints of functions and arguments that are the same in every process, unlike pickles."""

from __future__ import annotations

import functools
import hashlib
import inspect
import pickle
import struct
import textwrap
import types
from collections.abc import Callable, Mapping
from typing import Any, cast

MAX_DEPTH = 100


class _Hasher:
    """Feeds values to SHA-256, each with its type and length before it, so that no two differ only by where they
    are cut.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._depth = 0
        self._seen: dict[int, int] = {}

    def hexdigest(self) -> str:
        return self._hash.hexdigest()[:32]

    def _put(self, tag: str, data: bytes | bytearray | memoryview = b"") -> None:
        size = memoryview(data).nbytes
        self._hash.update(tag.encode() + struct.pack("<Q", size))
        self._hash.update(data)

    def add(self, value: Any) -> None:
        if value is None or type(value) in (bool, int, float, complex):
            self._put(type(value).__name__, repr(value).encode())
        elif type(value) is str:
            self._put("str", value.encode("utf-8", "surrogatepass"))
        elif type(value) in (bytes, bytearray):
            self._put(type(value).__name__, value)
        elif id(value) in self._seen:
            self._put("again", str(self._seen[id(value)]).encode())
        else:
            self._add_object(value)

    def _add_object(self, value: Any) -> None:
        self._seen[id(value)] = len(self._seen)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RecursionError("nested too deeply for a fingerprint")
        kind = cast(Any, type)(value)
        if kind in (list, tuple):
            self._put(kind.__name__, str(len(value)).encode())
            for item in value:
                self.add(item)
        elif kind in (set, frozenset):
            self._put(kind.__name__, "".join(sorted(map(fingerprint, value))).encode())
        elif kind is dict:
            self._put("dict", str(len(value)).encode())
            for pair in value.items():
                self.add(pair[0])
                self.add(pair[1])
        elif isinstance(value, types.FunctionType | types.MethodType | functools.partial):
            self._put("function", fingerprint_function(value).encode())  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, type | types.BuiltinFunctionType | types.ModuleType):
            self._put("name", f"{getattr(value, '__module__', '')}:{value.__name__}".encode())
        else:
            self._add_instance(value)
        self._depth -= 1

    def _add_instance(self, value: Any) -> None:
        """By what its class says of its pickling: constructor, arguments, state, and buffers out of band."""
        kind = cast(Any, type)(value)
        self._put("class", f"{kind.__module__}:{kind.__qualname__}".encode())
        if isinstance(value, pickle.PickleBuffer):
            self._put("buffer", value.raw())
            return
        reduced = value.__reduce_ex__(5)
        if isinstance(reduced, str):
            self._put("global", reduced.encode())
            return
        for part in reduced:
            if part is None or isinstance(part, str | Mapping | tuple | list):
                self.add(part)
            elif callable(part):
                self._put("callable", f"{part.__module__}:{getattr(part, '__qualname__', '')}".encode())
            else:  # iterators of items
                self.add(list(part))


def fingerprint(value: Any) -> str:
    """32 hex digits that equal values have in every process. Raises ``TypeError`` for what can't be pickled."""
    hasher = _Hasher()
    hasher.add(value)
    return hasher.hexdigest()


def fingerprint_function(function: Callable[..., Any]) -> str:
    """32 hex digits of a function's source (its bytecode where there is none), defaults and closure."""
    if isinstance(function, functools.partial):
        inner = fingerprint_function(function.func)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        return fingerprint(("partial", inner, function.args, function.keywords))  # pyright: ignore[reportUnknownMemberType]
    if isinstance(function, types.MethodType):
        return fingerprint(("method", fingerprint_function(function.__func__), function.__self__))
    if not isinstance(function, types.FunctionType):
        call: Any = type(function).__call__
        if isinstance(call, types.FunctionType):
            return fingerprint(("instance", fingerprint_function(call), getattr(function, "__dict__", None)))
        return fingerprint(("builtin", getattr(function, "__module__", ""), getattr(function, "__qualname__", "")))
    cells: list[Any] = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:
            cells.append("<empty>")
    return fingerprint(("def", _source(function), function.__defaults__, function.__kwdefaults__, cells))


def _source(function: types.FunctionType) -> Any:
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return _code(function.__code__)


def _code(code: types.CodeType) -> tuple[Any, ...]:
    constants = tuple(_code(item) if isinstance(item, types.CodeType) else repr(item) for item in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, constants
