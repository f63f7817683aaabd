"""``Table``: a small table among a job's inputs, typed in, pasted or given as a frame."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, get_args, get_type_hints

from bursty.forms.plain import plain
from bursty.forms.types import MARK

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

Row = TypeVar("Row")
MAX_COLUMNS, MAX_CELLS = 1000, 1_000_000
MAX_ROWS = 50_000  # more don't fit the inputs of a job anyway, and a frame of millions must not be taken apart
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class Table(Generic[Row]):
    """Rows and columns. ``Table`` takes any columns; ``Table[Item]`` those of a pydantic model, dataclass, TypedDict.

    ``rows``: dicts, one each, with all columns. ``columns``: names. ``records``, and iterating: rows as ``Item`` (as
    dicts without one). Made of rows, of CSV or TSV text with a header, or of a frame of pandas, polars or pyarrow.
    Raises ``ValueError`` for what is no table.
    """

    def __init__(self, data: Any = (), columns: Iterable[str] = ()) -> None:
        self._fill(typed_rows(data) if isinstance(data, str) else rows_of(data), columns)

    def _fill(self, records: list[Any], columns: Iterable[str]) -> None:
        self.records: list[Row] = records
        found = [_as_dict(record) for record in records]
        self.columns: list[str] = list(dict.fromkeys([*columns, *(name for row in found for name in row)]))
        self.rows: list[dict[str, Any]] = [{name: row.get(name) for name in self.columns} for row in found]

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=self.columns)

    def to_polars(self) -> Any:
        """A ``polars.DataFrame``."""
        import polars as pl

        return pl.DataFrame({name: [row[name] for row in self.rows] for name in self.columns}, strict=False)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        table = cast("Table[Any]", other)
        return self.columns == table.columns and self.rows == table.rows

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # rows can change

    def __repr__(self) -> str:
        return f"Table({len(self.rows)} rows, columns={self.columns})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        kinds = get_args(source)
        cells = core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())
        row = handler.generate_schema(kinds[0]) if kinds else cells
        columns = _declared(kinds[0]) if kinds else []

        def read(value: Any, check: Any) -> Table[Any]:
            table = cast("Table[Any]", cls.__new__(cls))
            given = text_rows(value) if isinstance(value, str) and kinds else value
            table._fill(check(typed_rows(given) if isinstance(given, str) else rows_of(given)), columns)
            return table

        return core_schema.no_info_wrap_validator_function(
            read,
            core_schema.list_schema(row),
            metadata={MARK: "table"},
            serialization=core_schema.plain_serializer_function_ser_schema(_rows),
        )


def _rows(table: Table[Any]) -> list[dict[str, Any]]:
    return table.rows


def _declared(row: Any) -> list[str]:
    """The names of a row type's fields."""
    if dataclasses.is_dataclass(row):
        return [field.name for field in dataclasses.fields(row)]
    return list(getattr(row, "model_fields", None) or get_type_hints(row))


def _as_dict(record: Any) -> dict[str, Any]:
    """A row as a dict of its cells, which stay as they are."""
    if isinstance(record, Mapping):
        return {str(name): cell for name, cell in cast("Mapping[Any, Any]", record).items()}
    if dataclasses.is_dataclass(record):
        return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    if fields := getattr(cast(Any, type(record)), "model_fields", None):
        return {name: getattr(record, name) for name in fields}
    raise ValueError(f"a row must be a dict of its cells, not a {type(record).__name__}")


def rows_of(data: Any) -> list[dict[str, Any]]:
    """The rows of a table, of a frame (polars, pyarrow, pandas) or of a list. Raises ``ValueError``."""
    if isinstance(data, Table):
        return cast("Table[Any]", data).rows
    frame: Any = data
    if isinstance(data, str | bytes | Mapping) or not hasattr(frame, "__len__"):
        raise ValueError("must be a table: a list of rows, or CSV text with a header")
    if len(frame) > MAX_ROWS:
        raise ValueError(f"has {len(frame)} rows, more than {MAX_ROWS}; give a File instead")
    height, width = getattr(frame, "shape", (0, 0))
    if height * width > MAX_CELLS:
        raise ValueError(f"has {height * width} cells, more than {MAX_CELLS}; give a File instead")
    for method, arguments in (("to_dicts", ()), ("to_pylist", ()), ("to_dict", ("records",))):
        if callable(take := getattr(frame, method, None)):
            rows = cast("list[dict[Any, Any]]", take(*arguments))
            return [{str(name): _cell(cell) for name, cell in row.items()} for row in rows]
    return [_as_dict(record) for record in frame]


def _cell(cell: Any) -> Any:
    """A frame's cell; its NaN stands for "no value"."""
    cell = plain(cell)
    return None if isinstance(cell, float) and cell != cell else cell


def text_rows(text: str) -> list[dict[str, str]]:
    """CSV or TSV text with a header as rows of text. Raises ``ValueError`` with the line."""
    text = text.removeprefix("\ufeff").strip("\r\n")
    header, _, _ = text.partition("\n")
    delimiter = max("\t;,", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(reader, list[str]())]
        _check_names(names)
        rows: list[dict[str, str]] = []
        for cells in reader:
            if len(cells) > len(names):
                raise ValueError(f"line {reader.line_num} has {len(cells)} cells and the header has {len(names)}")
            if len(rows) == MAX_ROWS or len(rows) * len(names) > MAX_CELLS:
                raise ValueError(f"has more than {len(rows)} rows; give a File instead")
            if any(cell.strip() for cell in cells):
                rows.append(dict(zip(names, cells + [""] * (len(names) - len(cells)), strict=True)))
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} is no CSV: {error}") from None
    return rows


def _check_names(names: list[str]) -> None:
    if not any(names):
        raise ValueError("is empty; the first line must name the columns")
    if not all(names):
        raise ValueError(f"column {names.index('') + 1} has no name in the first line")
    if len(names) > MAX_COLUMNS:
        raise ValueError(f"has {len(names)} columns, more than {MAX_COLUMNS}; give a File instead")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"has two columns named {twice[0]!r}")


def typed_rows(text: str) -> list[dict[str, Any]]:
    """CSV text without declared columns: a column of numbers becomes numbers, an empty cell ``None``.

    ``007`` stays text, and its column with it: it is rather a code than a number.
    """
    rows = cast("list[dict[str, Any]]", text_rows(text))
    for name in rows[0] if rows else ():
        filled = [cell for row in rows if (cell := row[name].strip())]
        numbers = bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)
        for row in rows:
            cell = row[name].strip() if numbers else row[name]
            row[name] = (_as_number(cell) if numbers else cell) if cell else None
    return rows


def _as_number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() and len(text) < 19 else float(text)
