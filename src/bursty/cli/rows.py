"""Tables as streams of rows: JSONL, CSV and Parquet, a little at a time."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from bursty.errors import ConfigError
from bursty.runtime.plain import to_json
from bursty.runtime.rows import RowKind

Format = Literal["jsonl", "csv", "tsv", "parquet"]

ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
AHEAD_BYTES = 64 << 20
MAX_AHEAD = 32768
STDIN_AHEAD = 4096
PARQUET_ROWS = 16384
SAMPLE = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """``number``: from 1, the header and blank lines not counted. ``line``: in the file, from 1, when it has lines.
    ``item``: as it goes to the worker. ``values``: its text (JSON) or its cells."""

    number: int
    line: int | None
    item: Any
    values: Any


class Table(Protocol):
    """An input. ``columns``: ``None`` when each row has its own. ``ahead``: how many rows may be held in memory."""

    kind: RowKind
    ahead: int

    @property
    def columns(self) -> list[str] | None: ...

    def __iter__(self) -> Iterator[Row]: ...

    def count(self) -> int | None:
        """How many rows, if that is quickly told; where cells have line ends in them, a little more."""
        ...

    def as_json(self, row: Row) -> str:
        """The row as JSON text."""
        ...

    def as_value(self, row: Row) -> Any:
        """The row as a dict of its columns, where it has columns."""
        ...


def format_of(path: str, given: str | None, option: str) -> Format:
    """By what was said, else by the file's ending; ``-`` is JSONL."""
    if given is not None:
        if given not in ENDINGS.values():
            raise ConfigError(f"{option} can't be {given!r}", "Known: jsonl, csv, tsv, parquet.")
        return given  # pyright: ignore[reportReturnType]
    if path == "-":
        return "jsonl"
    found = ENDINGS.get(Path(path).suffix.lower())
    if found is None:
        raise ConfigError(
            f"the ending of {path!r} does not say what it holds", f"Say so: {option} jsonl, csv, tsv or parquet."
        )
    return found


def open_table(path: str, given: str | None) -> Table:
    """Raises ``ConfigError`` for a file that is not there or is not what it seems."""
    kind = format_of(path, given, "--in-format")
    if path == "-" and kind == "parquet":
        raise ConfigError("Parquet can't be read from standard input", "Name its file.")
    if path != "-" and not Path(path).exists():
        raise ConfigError(f"there is no file {path!r}", "Name the file with the inputs, or - for standard input.")
    if path != "-" and Path(path).is_dir():
        raise ConfigError(f"{path!r} is a folder", "Name one file with the inputs.")
    if kind == "parquet":
        return ParquetTable(path)
    return JsonTable(path) if kind == "jsonl" else CsvTable(path, "\t" if kind == "tsv" else ",")


def _open(path: str) -> BinaryIO:
    if path == "-":
        return sys.stdin.buffer
    try:
        return open(path, "rb")
    except OSError as error:
        raise ConfigError(f"{path!r} can't be read: {error.strerror or error}") from error


def _ahead(path: str) -> int:
    """By the mean length of the first lines."""
    if not Path(path).is_file():
        return STDIN_AHEAD
    with _open(path) as file:
        sample = file.read(SAMPLE)
    return rows_ahead(len(sample) / max(sample.count(b"\n"), 1))


def rows_ahead(bytes_a_row: float) -> int:
    """How many rows of this size may wait in memory."""
    return int(min(MAX_AHEAD, max(16, AHEAD_BYTES / max(bytes_a_row, 1))))


def _count_lines(path: str) -> int | None:
    if not Path(path).is_file():
        return None
    count, last = 0, b"\n"
    with _open(path) as file:
        while piece := file.read(SAMPLE):
            count += piece.count(b"\n")
            last = piece[-1:]
    return count + (last != b"\n")


class JsonTable:
    """Each line is one JSON value."""

    kind: RowKind = "json"

    def __init__(self, path: str) -> None:
        self.columns: list[str] | None = None
        self.ahead = _ahead(path)
        self._path = path
        self._file = _open(path)

    def count(self) -> int | None:
        return _count_lines(self._path)

    def __iter__(self) -> Iterator[Row]:
        number = 0
        with self._file as file:
            for line, data in enumerate(file, 1):
                text = data.removeprefix(b"\xef\xbb\xbf").strip() if line == 1 else data.strip()
                if text:
                    number += 1
                    item = _decoded(text)
                    yield Row(number, line, item, item)

    def as_json(self, row: Row) -> str:
        text = row.values
        if "NaN" in text or "Infinity" in text:  # Python reads them, JSON has none
            text, _ = to_json(json.loads(text))
        return text

    def as_value(self, row: Row) -> Any:
        return json.loads(row.values)


def _decoded(text: bytes) -> str | bytes:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text  # the worker says what is wrong with it


class CsvTable:
    """A header, then rows of text."""

    kind: RowKind = "csv"

    def __init__(self, path: str, delimiter: str) -> None:
        csv.field_size_limit(1 << 30)
        self.ahead = _ahead(path)
        self._path = path
        self._file = io.TextIOWrapper(_open(path), "utf-8-sig", errors="surrogateescape", newline="")
        self._reader = csv.reader(self._file, delimiter=delimiter)
        self.columns: list[str] = self._header()

    def _header(self) -> list[str]:
        try:
            columns = next(self._reader)
        except StopIteration:
            raise ConfigError(f"{self._path!r} is empty", "Its first line must name the columns.") from None
        except csv.Error as error:
            raise ConfigError(f"{self._path!r} can't be read as CSV: {error}") from None
        check_columns(columns, self._path)
        return columns

    def count(self) -> int | None:
        lines = _count_lines(self._path)
        return None if lines is None else max(lines - 1, 0)

    def __iter__(self) -> Iterator[Row]:
        number = 0
        try:
            for cells in self._reader:
                if cells:
                    number += 1
                    yield Row(number, self._reader.line_num, json.dumps(cells, ensure_ascii=False), cells)
        except csv.Error as error:
            raise ConfigError(f"{self._path!r}, line {self._reader.line_num}: {error}") from None
        finally:
            self._file.close()

    def as_json(self, row: Row) -> str:
        return json.dumps(self.as_value(row), ensure_ascii=False)

    def as_value(self, row: Row) -> Any:
        return dict(zip(self.columns, row.values, strict=False))


class ParquetTable:
    """Read a slice of rows at a time."""

    kind: RowKind = "columns"

    def __init__(self, path: str) -> None:
        import polars as pl

        self._path = path
        try:
            self._frame = pl.scan_parquet(path, glob=False)
            self.schema = self._frame.collect_schema()
            self._rows = int(self._frame.select(pl.len()).collect().item())
            sample = self._frame.head(100).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ConfigError(f"{path!r} can't be read as Parquet: {error}") from None
        self.columns: list[str] = self.schema.names()
        check_columns(self.columns, path)
        self.ahead = rows_ahead(10 * sample.estimated_size() / max(sample.height, 1))  # Python's objects are larger

    def count(self) -> int | None:
        return self._rows

    def __iter__(self) -> Iterator[Row]:
        import polars as pl

        number, step = 0, min(PARQUET_ROWS, self.ahead)
        try:
            for batch in self._frame.collect_batches(chunk_size=step, maintain_order=True):
                for piece in batch.iter_slices(step):
                    for values in piece.iter_rows():
                        number += 1
                        yield Row(number, None, values, values)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ConfigError(f"{self._path!r} can't be read after row {number}: {error}") from None

    def as_json(self, row: Row) -> str:
        return to_json(self.as_value(row))[0]

    def as_value(self, row: Row) -> Any:
        return dict(zip(self.columns, row.values, strict=True))


def check_columns(columns: Sequence[str], path: str) -> None:
    """Every column needs a name of its own."""
    twice = [name for name, group in itertools.groupby(sorted(columns)) if len(list(group)) > 1]
    if twice or not columns or not all(columns):
        what = f"has two columns named {twice[0]!r}" if twice and twice[0] else "has a column without a name"
        raise ConfigError(f"{path!r} {what}", "The first line names the columns, each once; they become arguments.")
