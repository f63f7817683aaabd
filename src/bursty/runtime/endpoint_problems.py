"""Requests that have no answer: problem details (RFC 9457). The server adds the request's id."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast
from urllib.parse import parse_qs

import msgspec

from bursty.core.answers import RAISED, pack_answer
from bursty.forms.offer_read import Fault, NoJson
from bursty.forms.offer_read import no_json as why_no_json
from bursty.forms.plain import short
from bursty.runtime.endpoint_rows import scrubbed

MOST_FAULTS = 100
_GONE: Any = object()


class Problem(Exception):
    """Ends a request. ``kind``: the last part of the problem's type. ``raised``: the user's code is to blame."""

    def __init__(
        self, status: int, kind: str, title: str, detail: str, *, hint: str = "", raised: bool = False, **more: Any
    ) -> None:
        super().__init__(detail)
        body = {"type": f"urn:bursty:{kind}", "title": title, "status": status, "detail": detail}
        self.body = {**body, **({"hint": hint} if hint else {}), **more}
        self.status = status
        self.raised = raised

    def packed(self) -> bytes:
        return pack_answer(self.status, msgspec.json.encode(self.body), flags=RAISED if self.raised else 0)


def no_json(body: bytes, error: NoJson) -> Problem:
    """Where bytes stop being JSON: line and column, both from 1, columns in characters."""
    message, position = str(error), error.position
    if position is None and "UTF-8" not in message:
        position = _position(body)
    if "too early" in message:
        position = len(body)
    if position is None:
        return Problem(400, "json", "The body is no JSON", f"The body is no JSON: {message}.")
    position, message = _number_words(body, position, message)
    before = body[:position]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
    detail = f"The body is no JSON: line {line}, column {column}: {message}."
    return Problem(400, "json", "The body is no JSON", detail, line=line, column=column)


def _position(body: bytes) -> int | None:
    """Of what was found in a part of the body: looked for in the whole of it."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return why_no_json(error).position
    return None


def _number_words(body: bytes, position: int, message: str) -> tuple[int, str]:
    for word in (b"NaN", b"-Infinity", b"Infinity"):
        start = position - 1 if word.startswith(b"-") and body[position - 1 : position] == b"-" else position
        if body.startswith(word, start):
            return start, f"JSON has no {word.decode()}; write null, or leave the item out"
    return position, message


def refused(faults: Collection[Fault], query: bytes, body: bytes, hidden: frozenset[str]) -> Problem:
    """The request's types refuse it. ``hidden``: fields and parameters whose values are not shown.

    A body that is no JSON behind the place where a type refused it is still no JSON.
    """
    try:
        whole = msgspec.json.decode(body) if body.strip() else _GONE
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        return no_json(body, why_no_json(problem))
    given = [None if whole is _GONE else whole, parse_qs(query.decode("ascii", "replace"))]
    errors: list[dict[str, Any]] = []
    for fault in list(faults)[:MOST_FAULTS]:
        steps = fault.pointer.split("/")[1:]
        message = scrubbed(fault.message, given, hidden)
        error: dict[str, Any] = {"pointer": fault.pointer, "message": message}
        value = _GONE if any(step in hidden for step in steps) else _walk(whole, steps)
        errors.append(error if value is _GONE or not steps else {**error, "value": short(value)})
    first = errors[0]
    detail = f"{first['pointer'][1:]}: {first['message']}" if first["pointer"] else f"The body {first['message']}"
    if len(faults) > 1:
        detail += f" (and {len(faults) - 1} more)"
    return Problem(422, "invalid", "The request does not fit", detail, errors=errors)


def _walk(value: Any, steps: list[str]) -> Any:
    for step in steps:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(name, _GONE)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(name)]
        else:
            return _GONE
    return value
