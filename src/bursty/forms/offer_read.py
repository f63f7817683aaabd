"""JSON and query texts as values of a hint's type, by msgspec; and what all readers say of what they refuse."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from bursty.forms.offer_signature import pointer

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
    "bytes": "bytes in base64",
    "datetime": "a date and time",
    "date": "a date",
    "time": "a time",
    "timedelta": "a duration",
    "duration": "a duration",
    "uuid": "a UUID",
    "decimal": "a decimal number",
}
_EXPECTED = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_BOUND = re.compile(r"Expected `([^`]+)` (of length )?(>=|<=|>|<|==) (.+)")
_BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than", "==": "exactly"}
_COUNTED = {"str": "characters", "bytes": "bytes", "array": "items", "object": "fields"}
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|\.([^.\[]+)")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a value: ``pointer`` to the part of it (RFC 6901), and why."""

    pointer: str
    message: str


class Refused(Exception):
    """A value doesn't fit its type."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(fault.message for fault in self.faults))


class NoJson(Exception):
    """Bytes that are no JSON. The message says why; ``position`` is the byte where it shows, if that is known."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


class Reader(Protocol):
    """Reads values of one hint."""

    def read(self, data: bytes | msgspec.Raw) -> Any:
        """JSON. Raises ``Refused`` and ``NoJson``."""
        ...

    def convert(self, value: Any) -> Any:
        """A text, or a list of texts, of a query string. Raises ``Refused``."""
        ...


class MsgspecReader:
    def __init__(self, hint: Any) -> None:
        self._hint = hint
        self._decode = msgspec.json.Decoder(hint).decode

    def read(self, data: bytes | msgspec.Raw) -> Any:
        try:
            return self._decode(data)
        except msgspec.ValidationError as error:
            raise Refused([_fault(error)]) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise no_json(error) from None
        except Exception as error:  # a __post_init__ of the user's
            raise Refused([Fault("", said(error))]) from None

    def convert(self, value: Any) -> Any:
        try:
            found = msgspec.convert(value, self._hint, strict=False)
        except msgspec.ValidationError as error:
            raise Refused([_fault(error)]) from None
        refuse_nonfinite(found)
        return found


def refuse_nonfinite(value: Any) -> None:
    """Raises ``Refused`` for a number that JSON doesn't have."""
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused([Fault("", "must be a finite number")])


def no_json(error: Exception) -> NoJson:
    """Why msgspec found bytes to be no JSON."""
    match error:
        case RecursionError():
            return NoJson("it is nested too deeply")
        case UnicodeDecodeError():
            return NoJson("it is not UTF-8")
        case _:
            text = str(error)
            found = re.search(r" \(byte (\d+)\)$", text)
            message = (text[: found.start()] if found else text).removeprefix("JSON is malformed: ")
            return NoJson(message.replace("Input data was truncated", "it ends too early"), found and int(found[1]))


def said(error: BaseException) -> str:
    """An exception in a line: type and message."""
    try:
        text = str(error)
    except Exception as second:
        text = f"its message can't be shown: {type(second).__name__}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _fault(error: Exception) -> Fault:
    """What msgspec says, in plain words. A path of its own looks like ``$.rows[3].price``."""
    text, _, path = str(error).partition(" - at `")
    if path.startswith("key") or "` in `" in path:
        path = path.partition("` in `")[2]
    steps = [index or name for index, name in _STEP.findall(path.rstrip("`"))]
    missing = re.fullmatch(r"Object missing required field `(.+)`", text)
    if missing:
        return Fault(pointer(*steps, missing[1]), "is missing")
    return Fault(pointer(*steps), _in_words(text))


def _in_words(text: str) -> str:
    if expected := _EXPECTED.fullmatch(text):
        found = "one with decimals" if expected.groups() == ("int", "float") else _words(expected[2])
        return f"must be {_words(expected[1])}, not {found}"
    if bound := _BOUND.fullmatch(text):
        kind, length, sign, limit = bound.groups()
        limit = limit.removesuffix(".0")
        return f"must have {_BOUNDS[sign]} {limit} {_COUNTED[kind]}" if length else f"must be {_BOUNDS[sign]} {limit}"
    return text.replace("`", "")


def _words(kinds: str) -> str:
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds.split(" | "))
