"""Exceptions of calls as payloads, and back to the original type with the worker's traceback attached."""

from __future__ import annotations

import json
import linecache
import pickle
import re
import traceback
from typing import Any, cast

import cloudpickle

from bursty.errors import CallExited, RemoteError
from bursty.values import Payload, Ref

OWN_FRAMES = ("/bursty/runtime/", "/bursty/supervise/")
MAX_TRACEBACK = 64 << 10
_FRAME = re.compile(r' +File "(.+)", line (\d+), in .+')


def encode_error(error: BaseException, note: str = "") -> Payload:
    """``parts[0]``: JSON for people and for the engine; ``parts[1]``: the pickled exception, or b'' when it can't
    travel.
    """
    notes = [note] if note else []
    about = {
        "type": _type_name(type(error)),
        "message": _text(error),
        "traceback": format_traceback(error),
        "notes": notes,
        "exit": _exit_code(error),
    }
    body = b""
    if isinstance(error, Exception):
        body, problem = _dump_exception(error)
        if problem:
            notes.append(problem)
    return Payload((json.dumps(about).encode(), body))


def _type_name(kind: type) -> str:
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:
        return f"<its __str__ raised {type(second).__name__}>"


def _exit_code(error: BaseException) -> object:
    if not isinstance(error, SystemExit):
        return None
    code: Any = error.code
    return code if isinstance(code, int | str | None) else repr(code)


def format_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, without bursty's own frames at its top."""
    trace = error.__traceback__
    while trace is not None and any(own in trace.tb_frame.f_code.co_filename for own in OWN_FRAMES):
        trace = trace.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except Exception as second:
        text = f"{_type_name(type(error))} (its traceback can't be printed: {type(second).__name__})"
    if len(text) > MAX_TRACEBACK:
        half = MAX_TRACEBACK // 2
        text = f"{text[:half]}\n… {len(text) - MAX_TRACEBACK} characters left out …\n{text[-half:]}"
    return text


def _dump_exception(error: Exception) -> tuple[bytes, str]:
    """Pickle as the class does it, else by class, args and attributes; proven to load before it travels."""
    problem, pickled = "", cast(Any, cloudpickle).dumps
    for candidate in (error, _Rebuilt(error)):
        try:
            body = pickled(candidate, protocol=5)
            if type(pickle.loads(body)).__qualname__ == type(error).__qualname__:
                return body, ""
        except Exception as second:
            problem = f"the original exception can't be pickled: {second}"
    return b"", problem


class _Rebuilt:
    """Pickles as a call that rebuilds an exception without its constructor, which may take other arguments."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild_exception, (type(self._error), self._error.args, dict(vars(self._error)))


def rebuild_exception(kind: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    """An exception of ``kind`` with these ``args`` and attributes, its ``__init__`` not called."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def describe_error(payload: Payload) -> dict[str, Any]:
    """The JSON part of an encoded error; opens no pickle."""
    part = payload.parts[0]
    if isinstance(part, Ref):
        raise TypeError("the description of an error is never spilled")
    return json.loads(bytes(part))


def add_sources(trace: str) -> str:
    """Source lines that the worker did not have: a notebook's cells are known to its kernel alone."""
    lines = trace.split("\n")
    found: list[str] = []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        found.append(line)
        match = _FRAME.fullmatch(line)
        if match and not after.startswith("    ") and (source := linecache.getline(match[1], int(match[2])).strip()):
            found.append(f"    {source}")
    return "\n".join(found)


def decode_error(payload: Payload, where: str = "") -> BaseException:
    """The original exception with the worker's traceback as its cause; a ``RemoteError`` where that can't be had.

    ``where`` is added as a note: which call, which worker, which attempt.
    """
    about = describe_error(payload)
    about["traceback"] = add_sources(about["traceback"])
    remote = RemoteError(
        f"{about['type']}: {about['message']}", type_name=about["type"], remote_traceback=about["traceback"]
    )
    error: BaseException = remote
    if about["type"] == "SystemExit":
        error = CallExited(
            f"the call ended itself with sys.exit({about['exit']!r})", "Return a value, or raise an error."
        )
        error.__cause__ = remote
    elif len(payload.parts) > 1 and (body := payload.parts[1]) and not isinstance(body, Ref):
        try:
            found = pickle.loads(body)
        except Exception as second:
            about["notes"].append(f"the original exception can't be rebuilt here: {type(second).__name__}: {second}")
        else:
            if isinstance(found, BaseException):
                error = found
                error.__cause__ = remote
    for note in (*about["notes"], *([where] if where else [])):
        error.add_note(note)
    return error
