"""Rows of tables as calls, on the worker: finds ``FILE::FUNCTION``, reads a row, calls, and makes the result plain.

``bursty map`` sends rows as they lie in their file; they are parsed and their results encoded here. What is wrong with
a row's text or with its result is given back as a ``Problem``, not raised: another try would change nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from bursty.errors import RemoteError
from bursty.runtime.cells import CellParser, parsers_of
from bursty.runtime.describe import describe, load_module
from bursty.runtime.faults import format_traceback
from bursty.runtime.plain import NotPlain, to_json, to_plain

RowKind = Literal["json", "csv", "columns"]
"""``json``: a line of JSON. ``csv``: a JSON list of cells. ``columns``: a tuple of values."""


class Problem(NamedTuple):
    """What is wrong with a row or with its result."""

    kind: str
    message: str


class Noted(NamedTuple):
    """A result, and how many NaN and infinite numbers in it became null."""

    value: Any
    nulls: int


@dataclass(frozen=True)
class RowTarget:
    """``module``: a name, or the absolute path of a file. ``folder``: goes on the import path for a module's name."""

    module: str
    function: str
    folder: str

    def load(self) -> Any:
        """Import the user's module (once in a worker)."""
        if not self.module.endswith(".py"):
            if self.folder not in sys.path:
                sys.path.insert(0, self.folder)
            return load_module(self.module)
        path = Path(self.module)
        known = sys.modules.get(path.stem)
        if known is not None and not _is_from(known, path):
            raise ImportError(f"{path.name} can't be imported: {path.stem!r} is the name of another module; rename it")
        module = load_module(self.module)
        if not _is_from(module, path):
            raise ImportError(f"{path.name} can't be imported: {path.stem!r} is the name of another module; rename it")
        return module


def _is_from(module: Any, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and os.path.realpath(file) == os.path.realpath(path)


def find(module: Any, name: str) -> Callable[..., Any] | None:
    """A function by its name in the module, dotted for a method, or by the name that its app gave it."""
    found: Any = module
    for piece in name.split("."):
        found = getattr(found, piece, None)
    if callable(found):
        return found
    everything: list[Any] = [*cast(dict[str, Any], vars(module)).values()]
    for value in everything:
        spec = getattr(value, "__bursty__", None)
        if spec is not None and spec.name == name and callable(value):
            return value
    return None


def describe_rows(target: RowTarget, columns: Sequence[str] | None) -> dict[str, Any]:
    """What the client must know of the function, as plain data; ``problem`` in it says why there will be no calls.

    ``columns``: of the table, when each row has the same. Gives those that the function takes.
    """
    try:
        module = target.load()
        described = describe(module.__name__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return {"problem": "import", "type": type(error).__name__, "traceback": import_traceback(error)}
    function = find(module, target.function)
    if function is None:
        declared = [spec["name"] for app in described["apps"] for spec in app["functions"]]
        return {"problem": "name", "functions": sorted({*described["functions"], *declared})}
    about: dict[str, Any] = {"spec": None, "source": _source_digest(function), "columns": columns}
    if problem := _cannot_call(function):
        return {"problem": "kind", "message": problem}
    spec = getattr(function, "__bursty__", None)
    for app in described["apps"]:
        about["spec"] = next(
            (s for s in app["functions"] if spec is not None and s["name"] == spec.name), about["spec"]
        )
    if columns is not None:
        about |= _taken_columns(function, columns)
    return about


def import_traceback(error: BaseException) -> str:
    """As Python prints it, without the frames of the import system at its top."""
    trace = error.__traceback__
    while trace is not None and _is_importing(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _is_importing(file: str) -> bool:
    return file.startswith("<frozen importlib") or file == importlib.__file__ or "/bursty/runtime/" in file


def _cannot_call(function: Any) -> str:
    inner = inspect.unwrap(function) if inspect.isfunction(function) else function
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        return "it is a generator function, and a generator can't be a result: return a list"
    if inspect.iscoroutinefunction(inner):
        return "it is a coroutine function, and workers run no event loop: wrap it with asyncio.run"
    return ""


def _taken_columns(function: Callable[..., Any], columns: Sequence[str]) -> dict[str, Any]:
    """Which columns become arguments: all with ``**kwargs``, else those that are parameters."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {"columns": list(columns)}
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        taken = list(columns)
    else:
        taken = [column for column in columns if column in named]
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    missing = [name for name in needed if name not in taken]
    if missing:
        return {"problem": "columns", "missing": missing, "parameters": [p.name for p in parameters]}
    return {"columns": taken}


def _source_digest(function: Any) -> str:
    """So that ``--resume`` notices that the function is another one now."""
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        source = repr(getattr(function, "__qualname__", function))
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class RowCaller:
    """What the engine calls with each row. It travels to workers by reference to this module, with its attributes.

    ``all_columns``: of the table; ``columns``: those that become arguments. ``typed``: results stay dates, decimals and
    bytes (for Parquet), else they become JSON text. ``source``: digest of the function's source.
    """

    def __init__(
        self,
        target: RowTarget,
        kind: RowKind,
        *,
        all_columns: Sequence[str] = (),
        columns: Sequence[str] = (),
        typed: bool = False,
        source: str = "",
    ) -> None:
        self.target = target
        self.kind: RowKind = kind
        self.all_columns = list(all_columns)
        self.columns = list(columns)
        self.typed = typed
        self.source = source
        self._ready: tuple[Callable[..., Any], Callable[[Any], Any]] | None = None
        setattr(self, "__qualname__", target.function.rpartition(".")[2])  # noqa: B010 - how the engine calls it

    def __call__(self, item: Any) -> Any:
        function, read = self._ready or self._open()
        try:
            args, kwargs = read(item)
        except RowError as error:
            return Problem("BadRow", str(error))
        try:
            value = function(*args, **kwargs)
        except Exception as error:
            raise _told(error) from None
        try:
            text, nulls = (to_plain(value), 0) if self.typed else to_json(value)
        except NotPlain as error:
            return Problem("BadResult", str(error))
        return Noted(text, nulls) if nulls else text

    def _open(self) -> tuple[Callable[..., Any], Callable[[Any], Any]]:
        function = find(self.target.load(), self.target.function)
        if function is None:
            raise AttributeError(f"{self.target.module} has no function {self.target.function!r}")
        self._ready = function, self._reader(function)
        return self._ready

    def _reader(self, function: Callable[..., Any]) -> Callable[[Any], Any]:
        if self.kind == "json":
            return read_json
        places = [(self.all_columns.index(name), name) for name in self.columns]
        if self.kind == "columns":
            return lambda item: ((), {name: item[place] for place, name in places})
        return _CsvReader(len(self.all_columns), places, parsers_of(function, self.columns))


class RowError(ValueError):
    """A row that can't be read; its message is for people."""


def _told(error: Exception) -> RemoteError:
    """What the function raised, in words: the client has none of the user's classes."""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        message = str(error)
    except Exception as second:
        message = f"<its __str__ raised {type(second).__name__}>"
    return RemoteError(message, type_name=name, remote_traceback=format_traceback(error))


def read_json(line: str | bytes) -> tuple[Sequence[Any], dict[str, Any]]:
    """A dict becomes keyword arguments, a list positional ones, all else the only argument."""
    try:
        value: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise RowError(f"not JSON: {error.msg} (column {error.colno})") from None
    except UnicodeDecodeError as error:
        raise RowError(f"not UTF-8: {error.reason} (byte {error.start + 1} of the line)") from None
    except (ValueError, RecursionError) as error:
        raise RowError(f"not JSON that Python can read: {error}") from None
    if isinstance(value, dict):
        return (), cast(dict[str, Any], value)
    return (cast(list[Any], value), {}) if isinstance(value, list) else ((value,), {})


class _CsvReader:
    def __init__(self, width: int, places: list[tuple[int, str]], parsers: dict[str, CellParser]) -> None:
        self._width = width
        self._columns = [(place, name, parsers.get(name)) for place, name in places]

    def __call__(self, item: str) -> tuple[Sequence[Any], dict[str, Any]]:
        cells: list[str] = json.loads(item)
        if len(cells) != self._width:
            raise RowError(f"it has {len(cells)} cells, and the header has {self._width}")
        _check_text(item, cells)
        arguments: dict[str, Any] = {}
        for place, name, parser in self._columns:
            text = cells[place]
            if parser is None:
                arguments[name] = text
                continue
            try:
                parser.read(text, name, arguments)
            except ValueError as error:
                raise RowError(f"column {name!r}: {error}") from None
        return (), arguments


def _check_text(item: str, cells: list[str]) -> None:
    """Bytes that are no UTF-8 came as lone surrogates."""
    if item.isascii():
        return
    for number, cell in enumerate(cells, 1):
        try:
            cell.encode()
        except UnicodeEncodeError:
            raise RowError(f"cell {number} is not UTF-8: {cell.encode('utf-8', 'surrogateescape')!r}") from None
