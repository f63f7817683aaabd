"""Rows of labels from JSON or CSV; CSV as it comes, so that it may be of any length."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from bursty.errors import BurstyError
from bursty.units import format_bytes
from bursty.values import Buffer

MAX_JSON = 16 << 20
MAX_CSV = 1 << 30
MAX_LINE = 1 << 20


class LabelsRefused(BurstyError, ValueError):
    """Labels can't be read at all. ``status``: of HTTP."""

    def __init__(self, message: str = "", hint: str = "", *, status: int = 400) -> None:
        super().__init__(message, hint)
        self.status = status


def rows_of(content_type: str, body: Buffer | Iterable[Buffer]) -> Iterator[Any]:
    """What should be objects; a ``ValueError`` in place of a row that is none. Raises ``LabelsRefused``."""
    kind = content_type.partition(";")[0].strip().lower()
    parts: Iterable[Any] = [body] if isinstance(body, bytes | bytearray | memoryview) else body
    if kind in ("text/csv", "application/csv"):
        return _csv_rows(parts)
    if kind and not kind.endswith("json"):
        raise LabelsRefused(
            f"labels can't come as {kind:.80}", "Send application/json, or text/csv with a header row.", status=415
        )
    return _json_rows(b"".join(_limited(parts, MAX_JSON, "Send the labels in several requests, or as text/csv.")))


def _limited(parts: Iterable[Buffer], limit: int, hint: str) -> Iterator[Buffer]:
    size = 0
    for part in parts:
        size += len(part)
        if size > limit:
            raise LabelsRefused(f"the body is larger than {format_bytes(limit)}", hint, status=413)
        yield part


def _json_rows(body: bytes) -> Iterator[Any]:
    """Opened row by row: a list that is decoded at one go lets no other thread work meanwhile."""
    hint = 'Send {"prediction_id": "…", "y": 1}, or a list.'
    try:
        found: list[msgspec.Raw] | dict[str, Any] = msgspec.json.decode(body, type=list[msgspec.Raw] | dict[str, Any])
    except msgspec.ValidationError:
        raise LabelsRefused("the body is neither an object nor a list", hint) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LabelsRefused(f"the body is no JSON: {error}", hint) from None
    return map(_json_row, found) if isinstance(found, list) else iter([found])


def _json_row(row: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(row)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return ValueError(f"it is no JSON: {error}")


def _csv_rows(parts: Iterable[Buffer]) -> Iterator[Any]:
    lines = _lines(_limited(parts, MAX_CSV, "Send the labels in several requests."))
    first = next(lines, "")
    delimiter = next((mark for mark in (",", ";", "\t") if mark in first), ",")
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), list[str]())]
    _check_header(header)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise LabelsRefused(f"line {reader.line_num + 1} is no CSV: {error}", "Earlier rows were kept.") from None
        if cells is None:
            return
        if cells:
            yield _named(header, cells)


def _check_header(header: Sequence[str]) -> None:
    hint = "The first line names the columns: prediction_id,y or endpoint,user,y; ts and source may follow."
    if "y" not in header or not {"prediction_id", "endpoint"} & set(header):
        raise LabelsRefused(f"the header row is {','.join(header)!r:.200}", hint)
    if len(set(header)) < len(header):
        raise LabelsRefused("the header row names a column twice", hint)


def _named(header: Sequence[str], cells: Sequence[str]) -> Mapping[str, str] | ValueError:
    if len(cells) != len(header):
        return ValueError(f"it has {len(cells)} fields, the header {len(header)}")
    return dict(zip(header, cells, strict=True))


def _lines(parts: Iterable[Buffer]) -> Iterator[str]:
    """With their ends. Raises ``LabelsRefused`` for what is not UTF-8, and for a line without end."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    rest, number = "", 0
    for part in parts:
        rest += _decoded(decoder, part, number, final=False)
        *whole, rest = rest.split("\n")
        for line in whole:
            number += 1
            yield line + "\n"
        if len(rest) > MAX_LINE:
            raise LabelsRefused(f"line {number + 1} is longer than {format_bytes(MAX_LINE)}")
    rest += _decoded(decoder, b"", number, final=True)
    if rest:
        yield rest


def _decoded(decoder: codecs.IncrementalDecoder, part: Buffer, number: int, *, final: bool) -> str:
    try:
        return decoder.decode(bytes(part), final)
    except UnicodeDecodeError:
        raise LabelsRefused(f"a line after line {number} is not UTF-8", "Save the file as UTF-8.") from None
