"""Fingerprints of functions and arguments that are the same in every process, unlike pickles."""

from __future__ import annotations

import copyreg
import functools
import hashlib
import inspect
import pickle
import struct
import textwrap
import types
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

MAX_DEPTH = 100


class _Hash(Protocol):
    def update(self, data: Any, /) -> None: ...


def _put(into: _Hash, tag: str, data: bytes | bytearray | memoryview = b"") -> None:
    """With its type and length before it, so that no two values differ only by where they are cut."""
    into.update(tag.encode() + struct.pack("<Q", memoryview(data).nbytes))
    into.update(data)


class _Fingerprints:
    """Digests of objects, each by itself: whether two parts are the same object or only equal makes no difference.

    Objects are kept alive, so that no other gets the address of one that was seen.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, bytes]] = {}
        self._path: dict[int, int] = {}

    def feed(self, into: _Hash, value: Any) -> None:
        kind = cast(Any, type)(value)
        if value is None or kind in (bool, int, float, complex):
            _put(into, kind.__name__, repr(value).encode())
        elif kind is str:
            _put(into, "str", value.encode("utf-8", "surrogatepass"))
        elif kind in (bytes, bytearray):
            _put(into, kind.__name__, value)
        elif id(value) in self._path:
            _put(into, "around", str(len(self._path) - self._path[id(value)]).encode())
        else:
            _put(into, "object", self._digest(value))

    def _digest(self, value: Any) -> bytes:
        if (known := self._known.get(id(value))) is not None:
            return known[1]
        if len(self._path) >= MAX_DEPTH:
            raise RecursionError("nested too deeply for a fingerprint")
        self._path[id(value)] = len(self._path)
        into = hashlib.sha256()
        try:
            self._feed_object(into, value)
        finally:
            del self._path[id(value)]
        self._known[id(value)] = value, into.digest()
        return into.digest()

    def _feed_all(self, into: _Hash, tag: str, values: Iterable[Any]) -> None:
        count = 0
        for value in values:
            self.feed(into, value)
            count += 1
        _put(into, tag, str(count).encode())

    def _feed_unordered(self, into: _Hash, tag: str, groups: Iterable[tuple[Any, ...]]) -> None:
        digests: list[bytes] = []
        for group in groups:
            part = hashlib.sha256()
            for value in group:
                self.feed(part, value)
            digests.append(part.digest())
        _put(into, tag, b"".join(sorted(digests)))

    def _feed_object(self, into: _Hash, value: Any) -> None:
        kind = cast(Any, type)(value)
        if kind in (list, tuple):
            self._feed_all(into, kind.__name__, value)
        elif kind in (set, frozenset):
            self._feed_unordered(into, kind.__name__, ((item,) for item in value))
        elif kind is dict:
            self._feed_unordered(into, "dict", value.items())
        elif isinstance(value, types.FunctionType):
            self._feed_function(into, value)
        elif isinstance(value, types.MethodType):
            self._feed_all(into, "method", (value.__func__, value.__self__))
        elif isinstance(value, functools.partial):
            self._feed_all(into, "partial", (value.func, value.args, value.keywords))  # pyright: ignore[reportUnknownMemberType]
        elif isinstance(value, types.BuiltinFunctionType):
            _put(into, "builtin", f"{value.__module__ or ''}:{value.__qualname__}".encode())
            if not isinstance(value.__self__, types.ModuleType):
                self.feed(into, value.__self__)
        elif isinstance(value, type | types.ModuleType):
            name = getattr(value, "__qualname__", value.__name__)
            _put(into, "name", f"{getattr(value, '__module__', '')}:{name}".encode())
        elif isinstance(value, types.CodeType):
            self._feed_all(into, "code", (value.co_code, value.co_names, value.co_varnames, value.co_consts))
        elif isinstance(value, pickle.PickleBuffer):
            _put(into, "buffer", value.raw())
        else:
            self._feed_instance(into, value)

    def _feed_function(self, into: _Hash, function: types.FunctionType) -> None:
        """Its source (its bytecode where there is none), defaults and closure."""
        cells: list[Any] = []
        for cell in function.__closure__ or ():
            try:
                cells.append(cell.cell_contents)
            except ValueError:
                cells.append("<empty>")
        self._feed_all(into, "def", (_source(function), function.__defaults__, function.__kwdefaults__, cells))

    def _feed_instance(self, into: _Hash, value: Any) -> None:
        """By what its class says of its pickling: constructor, arguments, state, and buffers out of band."""
        kind = cast(Any, type)(value)
        _put(into, "class", f"{kind.__module__}:{kind.__qualname__}".encode())
        if isinstance(inner := getattr(value, "__wrapped__", None), types.FunctionType):
            self.feed(into, inner)  # a function in a cache
        elif isinstance(kind.__call__ if callable(value) else None, types.FunctionType):
            self.feed(into, kind.__call__)
        reducer = copyreg.dispatch_table.get(kind)
        reduced: Any = value.__reduce_ex__(5) if reducer is None else reducer(value)
        if isinstance(reduced, str):
            _put(into, "global", reduced.encode())
            return
        make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        if (name := getattr(make, "__qualname__", None)) is not None:
            _put(into, "make", f"{make.__module__}:{name}".encode())
        else:
            self.feed(into, make)
        self.feed(into, arguments)
        self.feed(into, state)
        self._feed_all(into, "items", items or ())
        if pairs is not None:
            self._feed_all(into, "pairs", map(tuple, pairs))


def fingerprint(value: Any) -> str:
    """32 hex digits that equal values of the same types have in every process.

    Raises ``TypeError`` for what can't be pickled and ``RecursionError`` for what is nested too deeply.
    """
    into = hashlib.sha256()
    _Fingerprints().feed(into, value)
    return into.hexdigest()[:32]


def fingerprint_function(function: Callable[..., Any]) -> str:
    """32 hex digits of a function's source (its bytecode where there is none), defaults and closure."""
    if isinstance(function, type):
        return fingerprint((function, _source(function)))
    return fingerprint(function)


def _source(what: types.FunctionType | type) -> Any:
    """A lambda's has its bytecode, too: there may be another one on its lines."""
    code = what.__code__ if isinstance(what, types.FunctionType) else None
    try:
        source = textwrap.dedent(inspect.getsource(what if code is None else code))
    except (OSError, TypeError):
        return code
    return (source, code) if code is not None and code.co_name == "<lambda>" else source
