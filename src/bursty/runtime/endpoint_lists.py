"""Lists and objects of requests, read so that a bad element spoils no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from bursty.forms.offer_codec import reader_of
from bursty.forms.offer_read import Fault, Refused, no_json
from bursty.forms.offer_shape import Shape
from bursty.forms.offer_signature import pointer

Part = msgspec.Raw | str
"""An element of a list, not yet read: JSON, or a text of the query string."""
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Failed:
    """An item without a value. ``field``: pointer to what is wrong in it; ``at``: to the item, where that is told.
    ``raised``: the type of what the user's code raised, if it did."""

    message: str
    field: str = ""
    at: str = ""
    raised: str = ""

    def as_json(self, discreet: bool = False) -> dict[str, Any]:
        """``discreet``: without what exceptions say."""
        message = self.raised if discreet and self.raised else self.message
        named = {"message": message, "field": self.field, "at": self.at}
        return {"error": {key: text for key, text in named.items() if text}}


@dataclass(slots=True)
class Listed:
    """A list's elements. ``values``: the valid ones. ``refused``: the others, by position. ``parts``: all of them
    unread, if they were asked for or needed.
    """

    values: Sequence[Any]
    refused: dict[int, Failed] = field(default_factory=dict[int, Failed])
    parts: Sequence[Part] | None = None

    @property
    def count(self) -> int:
        return len(self.values) + len(self.refused)

    def positions(self) -> list[int]:
        """Of the valid elements."""
        return [number for number in range(self.count) if number not in self.refused]

    def spread(self) -> list[Any]:
        """All elements at their positions: the valid ones, and the others as plain data."""
        values: list[Any] = list(map(_plain, self.parts)) if self.refused and self.parts else [None] * self.count
        for position, value in zip(self.positions(), self.values, strict=True):
            values[position] = value
        return values


class ListReader:
    """Reads a list at one go; when that is refused, element by element, and then what is valid once more as a whole.

    ``spare_empty``: a list of which nothing is left is not read again, for nobody will be called with it.
    """

    def __init__(self, shape: Shape, *, spare_empty: bool) -> None:
        self._shape = shape
        self._whole = reader_of(shape.reads)
        self._item = reader_of(shape.item)
        self._spare_empty = spare_empty

    def json(self, data: bytes | msgspec.Raw, keep_parts: bool) -> Listed | None:
        """``None`` for a ``null`` that is allowed. Raises ``Refused`` and ``NoJson``."""
        parts = split_list(data) if keep_parts and not _is_null(data) else None
        try:
            values = self._whole.read(data)
        except Refused:
            parts = split_list(data) if parts is None else parts
            found = self._singly(parts, self._item.read, lambda kept: self._whole.read(_encode(kept)))
            if found is None:
                raise
            return found
        return None if values is None else self._even(Listed(values, {}, parts))

    def texts(self, texts: list[str]) -> Listed:
        """Of a query string. Raises ``Refused``."""
        try:
            return Listed(self._whole.convert(texts), {}, texts)
        except Refused:
            found = self._singly(texts, self._item.convert, self._whole.convert)
            if found is None:
                raise
            return found

    def _singly(self, parts: Sequence[Part], read: Callable[[Any], Any], again: Callable[[Any], Any]) -> Listed | None:
        """``None`` when no element is to blame."""
        refused = judge(parts, read)
        if not refused:
            return None
        kept = [part for number, part in enumerate(parts) if number not in refused]
        values: Sequence[Any] = again(kept) if kept or not self._spare_empty else ()
        return self._even(Listed(values, refused, parts))

    def _even(self, listed: Listed) -> Listed:
        """Rows of an array must be of one length: of the one that most have."""
        if self._shape.container != "array" or not listed.values:
            return listed
        lengths = list(map(row_length, listed.values))
        usual = Counter(lengths).most_common(1)[0][0]
        if lengths.count(usual) < len(lengths):
            kept: list[Any] = []
            for position, row, length in zip(listed.positions(), listed.values, lengths, strict=True):
                if length == usual:
                    kept.append(row)
                else:
                    listed.refused[position] = Failed(f"must be {_row(usual)} as the others are, not {_row(length)}")
            listed.values = kept
        return listed


def row_length(row: Any) -> int:
    """Of a row of an array; -1 for a number."""
    return len(cast("list[Any]", row)) if isinstance(row, list) else -1


def _row(length: int) -> str:
    return "one number" if length < 0 else f"a list of {length}"


class ObjectReader:
    """Reads an object with lists right inside it. ``lists``: the hints of their elements by pointer."""

    def __init__(self, shape: Shape, lists: Mapping[str, Any]) -> None:
        self._whole = reader_of(shape.reads)
        self._items = {place: reader_of(item) for place, item in lists.items()}

    def json(self, data: bytes | msgspec.Raw) -> tuple[Any, list[Failed]]:
        """The object without the elements that are refused, and these. Raises ``Refused`` and ``NoJson``."""
        try:
            return self._whole.read(data), []
        except Refused:
            if not self._items:
                raise
            fields = _split(_object, data)
            failed = [bad for name in list(fields) for bad in self._judge(fields, name)]
            if not failed:
                raise
        try:
            return self._whole.read(_encode(fields)), failed
        except Refused as refused:
            more = [Fault(bad.at + bad.field, bad.message) for bad in failed]
            raise Refused([*refused.faults, *more]) from None

    def _judge(self, fields: dict[str, msgspec.Raw], name: str) -> list[Failed]:
        """Take the bad elements out of the list in this field, if it is one."""
        place = pointer(name)
        if place not in self._items:
            return []
        try:
            parts = split_list(fields[name])
        except Refused:  # no list; the object's own type says so
            return []
        refused = judge(parts, self._items[place].read)
        kept = [part for number, part in enumerate(parts) if number not in refused]
        fields[name] = msgspec.Raw(_encode(kept))
        return located(place, refused)


def located(place: str, refused: Mapping[int, Failed]) -> list[Failed]:
    """Refused elements, each with a pointer to it."""
    return [Failed(bad.message, bad.field, place + pointer(number)) for number, bad in refused.items()]


def judge(parts: Sequence[Part], read: Callable[[Any], Any]) -> dict[int, Failed]:
    """The elements that ``read`` refuses, by position. Raises ``NoJson``."""
    refused: dict[int, Failed] = {}
    for number, part in enumerate(parts):
        try:
            read(part)
        except Refused as error:
            first = error.faults[0]
            refused[number] = Failed(first.message, first.pointer)
    return refused


def _plain(part: Part) -> Any:
    return part if isinstance(part, str) else msgspec.json.decode(part)


def _is_null(data: bytes | msgspec.Raw) -> bool:
    return bytes(memoryview(data)[:64]).strip() == b"null"


def split_list(data: bytes | msgspec.Raw) -> list[msgspec.Raw]:
    """The elements of a JSON array, unread. Raises ``Refused`` and ``NoJson``."""
    return _split(_list, data)


def split_object(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, unread. Raises ``Refused`` and ``NoJson``."""
    return _split(_object, data)


def _split(decode: Callable[[Any], Any], data: bytes | msgspec.Raw) -> Any:
    try:
        return decode(data)
    except msgspec.ValidationError:
        kind = "a list" if decode is _list else "an object"
        raise Refused([Fault("", f"must be {kind}")]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise no_json(error) from None
