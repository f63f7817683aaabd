"""Results as JSONL and CSV, in the order of the inputs; failures in a file of their own.

JSONL: ``{"input": row, "result": value}``. CSV and Parquet: the columns of the input, then ``result``, or the columns
of a result that is a dict (``result.NAME`` where the input has a column of that name).
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from bursty.cli.files import NewFile
from bursty.cli.rows import Row, Table


class Writer(Protocol):
    """Where results go. ``typed``: it takes values, not JSON text."""

    typed: bool

    def add(self, row: Row, result: Any) -> None: ...

    def finish(self) -> None:
        """All are there: put the file in its place."""
        ...

    def discard(self) -> None:
        """Leave nothing behind; without effect after ``finish``."""
        ...


def line_of(table: Table, row: Row, result: str) -> bytes:
    """A line of JSONL."""
    return f'{{"input": {table.as_json(row)}, "result": {result}}}\n'.encode()


class JsonWriter:
    """To a file, or as it comes to standard output."""

    typed = False

    def __init__(self, table: Table, file: NewFile | None = None) -> None:
        self._table = table
        self._file = file
        self._stdout: BinaryIO = sys.stdout.buffer

    def add(self, row: Row, result: Any) -> None:
        line = line_of(self._table, row, result)
        if self._file is not None:
            self._file.write(line)
        else:
            self._stdout.write(line)
            self._stdout.flush()

    def finish(self) -> None:
        if self._file is not None:
            self._file.commit()

    def discard(self) -> None:
        if self._file is not None:
            self._file.discard()


class CsvWriter:
    """Which columns there are is known at the end: until then the rows lie in a temporary file."""

    typed = False

    def __init__(self, table: Table, file: NewFile | None, delimiter: str) -> None:
        self._table = table
        self._file = file
        self._delimiter = delimiter
        self._stdout: BinaryIO = sys.stdout.buffer
        folder = None if file is None or file.direct else file.path.parent
        # Without a name, so that whatever ends this process leaves nothing.
        self._rows: BinaryIO = tempfile.TemporaryFile(dir=folder)  # pyright: ignore[reportAttributeAccessIssue]  # noqa: SIM115

    def add(self, row: Row, result: Any) -> None:
        line = line_of(self._table, row, result)
        if self._file is None:
            self._rows.write(line)
        else:
            with self._file.explained():
                self._rows.write(line)

    def finish(self) -> None:
        if self._file is None:
            self._write(self._stdout)
            self._stdout.flush()
            return
        with self._file.explained():
            self._write(self._file.file)
        self._file.commit()
        self._rows.close()

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # what it still holds does not fit on the disk
            self._rows.close()
        if self._file is not None:
            self._file.discard()

    def _read(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        self._rows.seek(0)
        for line in self._rows:
            row = json.loads(line)
            yield as_columns(row["input"], "input"), as_columns(row["result"], "result")

    def _write(self, target: BinaryIO) -> None:
        inputs: dict[str, None] = dict.fromkeys(self._table.columns or ())
        results: dict[str, None] = {}
        for given, result in self._read():
            inputs.update(dict.fromkeys(given))
            results.update(dict.fromkeys(result))
        text = io.TextIOWrapper(target, "utf-8", newline="", write_through=False)
        sheet = csv.writer(text, delimiter=self._delimiter, lineterminator="\n")
        sheet.writerow([*inputs, *(f"result.{name}" if name in inputs else name for name in results)])
        for given, result in self._read():
            sheet.writerow([*(cell(given.get(name)) for name in inputs), *(cell(result.get(name)) for name in results)])
        text.flush()
        text.detach()


def as_columns(value: Any, name: str) -> dict[str, Any]:
    """A dict as it is, else one column."""
    return cast(dict[str, Any], value) if isinstance(value, dict) else {name: value}


def cell(value: Any) -> Any:
    """As text: nothing for null, JSON for what is nested."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


class Failures:
    """A line for each row without a result. The file is only there when there are any."""

    def __init__(self, path: str, table: Table) -> None:
        self.path = path
        self.count = 0
        self._table = table
        self._file: NewFile | None = None

    def add(self, row: Row, kind: str, message: str, traceback: str = "") -> None:
        if self._file is None:
            self._file = NewFile(self.path)
        self.count += 1
        line = {} if row.line is None else {"line": row.line}
        about = {"row": row.number, **line, "input": self._input(row), "error": kind, "message": message}
        if traceback:
            about["traceback"] = traceback
        self._file.write(json.dumps(about).encode() + b"\n")

    def _input(self, row: Row) -> Any:
        """Its value where it can be read, else its text."""
        if isinstance(row.values, bytes):
            return row.values.decode("utf-8", "backslashreplace")
        try:
            return json.loads(self._table.as_json(row))
        except (ValueError, RecursionError):
            return row.values if isinstance(row.values, str) else repr(row.values)

    def finish(self) -> None:
        if self._file is not None:
            self._file.commit()
        elif Path(self.path).is_file():
            os.unlink(self.path)  # of an earlier run

    def discard(self) -> None:
        if self._file is not None:
            self._file.discard()
