"""Results as Parquet: pieces of some thousand rows, joined at the end, when all columns and their types are known."""

from __future__ import annotations

import json
import shutil
from typing import Any

import polars as pl

from bursty.cli.files import NewFile
from bursty.cli.outputs import as_columns
from bursty.cli.rows import ParquetTable, Row, Table
from bursty.errors import StoreError
from bursty.runtime.plain import to_json

PIECE_ROWS = 16384
INPUT, RESULT = "i:", "r:"


class ParquetWriter:
    """Columns of the input keep their types; those of results get one that holds all their values, else JSON text."""

    typed = True

    def __init__(self, file: NewFile, table: Table) -> None:
        self._file = file
        self._table = table
        self._folder = file.spare("parts")
        self._inputs: list[Any] = []
        self._results: list[Any] = []
        self._pieces = 0
        self._piece_rows = min(PIECE_ROWS, table.ahead)
        with file.explained():
            self._folder.mkdir(mode=0o700)

    def add(self, row: Row, result: Any) -> None:
        self._inputs.append(row.values if isinstance(self._table, ParquetTable) else self._table.as_value(row))
        self._results.append(result)
        if len(self._results) >= self._piece_rows:
            self._put()

    def _put(self) -> None:
        frame = pl.concat([self._input_frame(), _frame_of(self._results, "result", RESULT)], how="horizontal")
        with self._file.explained():
            self._write(lambda: frame.write_parquet(self._folder / f"{self._pieces:06}.parquet"))
        self._pieces += 1
        self._inputs, self._results = [], []

    def _input_frame(self) -> pl.DataFrame:
        if isinstance(self._table, ParquetTable):
            frame = pl.DataFrame(self._inputs, schema=self._table.schema, orient="row")
            return frame.rename({name: INPUT + name for name in frame.columns})
        frame = _frame_of(self._inputs, "input", INPUT)
        return frame if frame.width else pl.DataFrame({INPUT + "input": [None] * len(self._inputs)})

    def finish(self) -> None:
        if self._results or not self._pieces:
            self._put()
        frame = pl.concat([pl.scan_parquet(path) for path in sorted(self._folder.iterdir())], how="diagonal_relaxed")
        names = frame.collect_schema().names()
        inputs = [name for name in names if name.startswith(INPUT)]
        results = [name for name in names if name.startswith(RESULT)]
        new = {name: name.removeprefix(INPUT) for name in inputs}
        taken = set(new.values())
        for name in results:
            plain = name.removeprefix(RESULT)
            new[name] = f"result.{plain}" if plain in taken else plain
        with self._file.explained():
            self._write(lambda: frame.select(*inputs, *results).rename(new).sink_parquet(self._file.temporary))
        self._file.commit()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, write: Any) -> None:
        try:
            write()
        except pl.exceptions.SchemaError as error:
            raise StoreError(
                f"results of different rows don't fit into one Parquet column: {error}",
                "Return the same kind of value from every call, or write JSONL.",
            ) from None
        except pl.exceptions.PolarsError as error:
            raise OSError(str(error).splitlines()[0]) from error

    def discard(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._file.discard()


def _frame_of(values: list[Any], name: str, prefix: str) -> pl.DataFrame:
    """Dicts as columns, other values as the column ``name``."""
    rows = [as_columns(value, name) for value in values]
    names = dict.fromkeys(key for row in rows for key in row)
    if not names and not rows and prefix == RESULT:
        names = {name: None}
    return pl.DataFrame([_series(prefix + key, [row.get(key) for row in rows]) for key in names])


def _series(name: str, values: list[Any]) -> pl.Series:
    kinds: set[type] = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        values = [None if value is None else float(value) for value in values]
    elif len(kinds) > 1:
        values = [None if value is None else _text(value) for value in values]
    try:
        series = pl.Series(name, values, strict=True)
        if series.dtype != pl.Object and not _is_lossy(series):
            return series
    except (TypeError, OverflowError, ValueError, pl.exceptions.PolarsError):
        pass
    return pl.Series(name, [None if value is None else _text(value) for value in values], dtype=pl.String)


def _is_lossy(series: pl.Series) -> bool:
    """An empty struct can't be stored."""
    return isinstance(series.dtype, pl.Struct) and not series.dtype.fields


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value) if not isinstance(value, bool | int | float) else to_json(value)[0]
