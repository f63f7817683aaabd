"""Table files of runs, opened lazily: as they were written by ``runtime.tables``, or by anybody.

Nothing is loaded here: a ``TableFile`` is a plan that polars streams when it is asked for.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from bursty.errors import TableError
from bursty.runtime.tables import type_word

if TYPE_CHECKING:
    import polars as pl

Format = Literal["parquet", "csv"]
Columns = Sequence[Mapping[str, Any]]
"""As ``write_table`` gives them: ``{"name", "type"}``. A CSV file does not say its types."""


@dataclass(frozen=True)
class TableFile:
    """``frame``: its columns are called ``c0``, ``c1`` …, for polars reads some names (``*``, ``^a$``) as patterns.
    ``names``, ``dtypes``: of the file's columns."""

    path: str
    frame: pl.LazyFrame
    names: list[str]
    dtypes: list[pl.DataType]

    @property
    def ids(self) -> list[str]:
        return [f"c{place}" for place in range(len(self.names))]

    @property
    def words(self) -> list[str]:
        return [type_word(dtype) for dtype in self.dtypes]

    def count(self) -> int:
        """Rows; of Parquet without reading them."""
        import polars as pl

        with explained(self.path):
            return cast(int, stream(self.frame.select(pl.len())).item()) if self.names else 0

    def named(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """With the file's own names again."""
        return frame.rename(dict(zip(self.ids, self.names, strict=True)))


def open_table(path: str, form: Format, columns: Columns | None = None, guess_rows: int | None = None) -> TableFile:
    """``guess_rows``: of a CSV file without ``columns``, from which its types are guessed; ``None``: from all.

    Raise ``TableError`` for a file that is not what ``form`` says, ``OSError`` for one that can't be read."""
    import polars as pl

    with open(path, "rb"):  # polars' own words for a missing file are many
        pass
    with explained(path):
        if form == "parquet":
            frame = pl.scan_parquet(path, glob=False)
        elif columns == []:
            frame = pl.LazyFrame()
        elif columns is None:
            frame = pl.scan_csv(path, infer_schema_length=guess_rows, glob=False)
        else:
            frame = _typed_csv(path, columns)
        schema = frame.collect_schema()
        names = [column["name"] for column in columns] if form == "csv" and columns else schema.names()
        ids = {name: f"c{place}" for place, name in enumerate(schema.names())}
    return TableFile(path, frame.rename(ids), names, schema.dtypes())


def _typed_csv(path: str, columns: Columns) -> pl.LazyFrame:
    import polars as pl

    at_once = {"integer": pl.Int64(), "number": pl.Float64(), "decimal": pl.Float64(), "duration": pl.Float64()}
    at_once |= {"boolean": pl.Boolean(), "date": pl.Date()}
    schema = {f"c{place}": at_once.get(column["type"], pl.String()) for place, column in enumerate(columns)}
    # The header is skipped: polars does not undo the quotes in it.
    frame = pl.scan_csv(path, schema=schema, has_header=False, skip_rows=1, glob=False)
    return frame.select(_parsed(f"c{place}", column["type"]) for place, column in enumerate(columns))


def _parsed(column: str, word: str) -> pl.Expr:
    import polars as pl

    cells = pl.col(column)
    match word:
        case "time":
            return cells.str.to_time("%H:%M:%S%.f")
        case "datetime":
            return cells.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us")
        case "datetime_tz":
            return cells.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC")
        case "duration":
            return (cells * 1e6).round().cast(pl.Int64).cast(pl.Duration("us"))
        case "binary":
            return cells.str.decode("hex")
        case _:
            return cells


def as_text(table: TableFile, place: int) -> pl.Expr:
    """A column of any type as text, the way that CSV has it."""
    import polars as pl

    cells = pl.col(f"c{place}")
    word = table.words[place]
    if word in ("list", "record"):
        return _by_python(cells, json_text)
    if word == "binary":
        return cells.bin.encode("hex")
    if word == "duration":
        return cells.dt.total_microseconds() / 1e6
    return cells.cast(pl.String)


def _by_python(cells: pl.Expr, write: Callable[[Any], str]) -> pl.Expr:
    """polars' own JSON writer ends the process's thread for some nested types."""
    import polars as pl

    def each(values: pl.Series) -> pl.Series:
        return pl.Series(
            values.name, [None if value is None else write(value) for value in values.to_list()], dtype=pl.String
        )

    return cells.map_batches(each, return_dtype=pl.String, is_elementwise=True)


def json_text(value: Any) -> str:
    return json.dumps(json_value(value), ensure_ascii=False)


def json_value(value: Any) -> Any:
    """A cell as JSON: numbers that JSON lacks, decimals, times and durations are text; bytes are hexadecimal."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return (
            value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        )
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in cast(Sequence[Any], value)]
    return str(value)


def stream(frame: pl.LazyFrame) -> pl.DataFrame:
    """Collect what is small in the end, batch by batch."""
    return frame.collect(engine="streaming")


@contextlib.contextmanager
def explained(path: str) -> Generator[None]:
    """polars' errors as ``TableError``; its panics, which are no ``Exception``, too."""
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise TableError(
            f"the table {path} can't be read: {str(error).strip() or type(error).__name__}",
            "Was it written in full, and is it of the format that was named?",
        ) from error
