"""Tables as XLSX, row by row, so that memory does not grow with the table."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Generator
from decimal import Decimal
from typing import Any

from bursty.errors import TableError
from bursty.jobs.tablefile import TableFile, explained, json_text, json_value, stream

MAX_ROWS = 1_048_576
"""Header included."""
MAX_COLUMNS = 16_384
MAX_TEXT = 32_767
"""Characters of a cell."""
EXACT = 2**53
"""Above this, spreadsheets' numbers lose digits: larger ones are written as text."""
FIRST_DAY = dt.date(1900, 3, 1)
"""Spreadsheets have a 29 February 1900: days before are written as text."""
PIECE_CELLS = 500_000
CUT = "… (cut)"


def check_size(table: TableFile) -> None:
    """Raise ``TableError`` when the table is too long or too wide for a sheet."""
    rows, width = table.count(), len(table.names)
    if rows >= MAX_ROWS or width > MAX_COLUMNS:
        raise TableError(
            f"the table has {rows:,} rows and {width:,} columns; XLSX holds {MAX_ROWS - 1:,} rows below the header and "
            f"{MAX_COLUMNS:,} columns",
            "Download it as CSV or Parquet.",
        )


def write_xlsx(table: TableFile, out_path: str, scratch: str) -> None:
    """Write a table (of a Parquet file) that fits into one sheet; ``scratch``: a folder for files in between.

    Text is never taken for a formula or a link. Times with a zone lose it (they show the clock of that zone); NaN,
    infinite and very large numbers become text; text is cut at 32,767 characters, and says so.
    """
    from xlsxwriter import Workbook

    with Workbook(out_path, {"constant_memory": True, "tmpdir": scratch}) as book:
        book.use_zip64()
        _write_sheet(book, table)


def _write_sheet(book: Any, table: TableFile) -> None:
    sheet = book.add_worksheet("Table")
    cells = _Cells(book, sheet)
    sheet.freeze_panes(1, 0)
    for place, name in enumerate(table.names):
        sheet.set_column(place, place, min(40, max(10, len(name) + 2)))
        cells.text(0, place, name, head=True)
    with explained(table.path):
        for number, row in enumerate(_rows(table), 1):
            for place, value in enumerate(row):
                if value is not None:
                    cells.write(number, place, value)


def _rows(table: TableFile) -> Generator[tuple[Any, ...]]:
    """In slices: of Parquet these cost no more than one pass."""
    if not table.names:
        return
    piece = max(1000, PIECE_CELLS // len(table.names))
    start = 0
    while True:
        rows = stream(table.frame.slice(start, piece)).rows()
        yield from rows
        if len(rows) < piece:
            return
        start += piece


class _Cells:
    def __init__(self, book: Any, sheet: Any) -> None:
        self._sheet = sheet
        self._head = book.add_format({"bold": True, "bottom": 1})
        # Without this mark, text such as =1+1 becomes a formula when somebody edits the cell.
        self._quoted = book.add_format({"quote_prefix": True})
        self._formats = {
            word: book.add_format({"num_format": form})
            for word, form in {
                "date": "yyyy-mm-dd",
                "datetime": "yyyy-mm-dd hh:mm:ss",
                "time": "hh:mm:ss",
                "duration": "[h]:mm:ss",
            }.items()
        }
        self._writers: dict[object, Callable[[int, int, Any], Any]] = {
            bool: sheet.write_boolean,
            int: self._integer,
            float: self._number,
            Decimal: self._decimal,
            str: self.text,
            dt.date: self._date,
            dt.datetime: self._datetime,
            dt.time: self._time,
            dt.timedelta: self._duration,
        }

    def write(self, row: int, place: int, value: object) -> None:
        writer = self._writers.get(type(value))
        if writer is None:
            shown = json_value(value)
            self.text(row, place, shown if isinstance(shown, str) else json_text(value))
        else:
            writer(row, place, value)

    def text(self, row: int, place: int, value: str, *, head: bool = False) -> None:
        if len(value) > MAX_TEXT:
            value = value[: MAX_TEXT - len(CUT)] + CUT
        form = self._head if head else self._quoted if value[:1] in ("=", "+", "-", "@", "\t", "\r") else None
        self._sheet.write_string(row, place, value, form)

    def _integer(self, row: int, place: int, value: int) -> None:
        if abs(value) <= EXACT:
            self._sheet.write_number(row, place, value)
        else:
            self.text(row, place, str(value))

    def _number(self, row: int, place: int, value: float) -> None:
        if math.isfinite(value):
            self._sheet.write_number(row, place, value)
        else:
            self.text(row, place, str(json_value(value)))

    def _decimal(self, row: int, place: int, value: Decimal) -> None:
        if value.is_finite() and len(value.as_tuple().digits) <= 15:
            self._sheet.write_number(row, place, float(value))
        else:
            self.text(row, place, str(value))

    def _date(self, row: int, place: int, value: dt.date) -> None:
        self._dated(row, place, value, value, "date")

    def _datetime(self, row: int, place: int, value: dt.datetime) -> None:
        self._dated(row, place, value.replace(tzinfo=None), value.date(), "datetime")

    def _dated(self, row: int, place: int, value: dt.date, day: dt.date, word: str) -> None:
        if day >= FIRST_DAY:
            self._sheet.write_datetime(row, place, value, self._formats[word])
        else:
            self.text(row, place, value.isoformat())

    def _time(self, row: int, place: int, value: dt.time) -> None:
        self._sheet.write_datetime(row, place, value, self._formats["time"])

    def _duration(self, row: int, place: int, value: dt.timedelta) -> None:
        if value >= dt.timedelta(0):
            self._sheet.write_datetime(row, place, value, self._formats["duration"])
        else:
            self.text(row, place, str(value))
