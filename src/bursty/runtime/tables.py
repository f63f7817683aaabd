"""Tables of a run as files, written in the worker by whatever library made the table.

Standard library at import: pandas, polars and pyarrow are reached only through the table that the user passes. The host
reads the files again in ``jobs.tables``.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from bursty.runtime.csvfile import Rows, write_csv

GROUP_CELLS = 500_000
"""Of a Parquet row group: readers hold several of them at a time."""

_WORDS = (
    ("decimal", "decimal"),
    (r"u?int\d", "integer"),
    ("half_?float|float|double", "number"),
    ("bool", "boolean"),
    (r"time(32|64|$)", "time"),
    (r"(datetime|timestamp).*(tz=|time_zone=')", "datetime_tz"),
    ("datetime|timestamp", "datetime"),
    ("date", "date"),
    ("duration", "duration"),
    ("binary|(large|fixed_size)_binary", "binary"),
    ("list|array|(large|fixed_size)_list", "list"),
    ("struct|map", "record"),
    ("null", "empty"),
)


def type_word(dtype: object) -> str:
    """A plain word for a type of Arrow or polars: integer, number, decimal, boolean, text, date, time, datetime,
    datetime_tz (with a time zone), duration, binary, list, record, or empty (nothing but nulls)."""
    text = str(dtype).lower()
    inner = re.match(r"dictionary<values=([^,>]+)", text)
    text = inner[1] if inner else text
    return next((word for pattern, word in _WORDS if re.match(pattern, text)), "text")


def write_table(frame: Any, folder: str, name: str) -> dict[str, Any]:
    """Write a table as ``name.parquet`` or ``name.csv`` into ``folder`` and say what it holds.

    ``name``: a checked one. ``frame``: a pandas DataFrame or Series; a polars DataFrame, Series or LazyFrame; a pyarrow
    Table, RecordBatch or RecordBatchReader, or what else exports an Arrow stream; a list of dicts; a dict of lists. A
    pandas index that is not just the row numbers becomes columns. Parquet is written when the table's own library can,
    else CSV, whose columns' types are in the answer.

    Returns ``{"kind": "table", "file": path, "format": "parquet" | "csv", "rows": count, "columns": [{"name", "type"}],
    "notes": [text]}``; types as ``type_word`` has them; notes say what was renamed or turned into text.
    Raises ``TypeError`` for what is no table, ``ValueError`` for columns of unequal lengths.
    """
    notes: list[str] = []
    write = _writer_of(frame)
    if write is None:
        raise TypeError(
            f"table {name!r}: {_shown(frame)} is no table; pass a pandas, polars or pyarrow table, a list of dicts "
            "(rows) or a dict of lists (columns)"
        )
    try:
        written = write(frame, folder, name, notes)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        if type(error) in (ValueError, TypeError):
            raise type(error)(f"table {name!r}: {error}") from error
        raise TypeError(f"table {name!r} can't be written: {error}") from error
    return {"kind": "table", **written, "notes": notes}


_Write = Callable[[Any, str, str, list[str]], dict[str, Any]]


def _writer_of(frame: Any) -> _Write | None:
    kinds = {(cls.__module__.partition(".")[0], cls.__name__) for cls in type(frame).__mro__}
    if ("pandas", "DataFrame") in kinds or ("pandas", "Series") in kinds:
        return _write_pandas
    if ("polars", "DataFrame") in kinds or ("polars", "Series") in kinds:
        return _write_polars
    if ("polars", "LazyFrame") in kinds:
        return _write_lazy
    if hasattr(frame, "__arrow_c_stream__") or ("pyarrow", "RecordBatch") in kinds:
        return _write_arrow
    if isinstance(frame, dict) and all(_is_column(column) for column in cast(dict[Any, Any], frame).values()):
        return _write_columns
    if isinstance(frame, list | tuple) and all(isinstance(row, dict) for row in cast(Sequence[Any], frame)):
        return _write_records
    return None


def _is_column(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__iter__") and not isinstance(value, str | bytes | dict)


def _shown(frame: Any) -> str:
    if isinstance(frame, list | tuple):
        items = cast(Sequence[Any], frame)
        odd = next(item for item in items if not isinstance(item, dict))
        return f"a {type(items).__name__} with an item of type {type(odd).__name__}"
    if isinstance(frame, dict):
        table = cast(dict[Any, Any], frame)
        odd = next(key for key, value in table.items() if not _is_column(value))
        return f"a dict whose {odd!r} is of type {type(table[odd]).__name__}"
    return f"an object of type {type_name(frame)}"


def type_name(value: object) -> str:
    """The type of a value with its module, for messages."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _write_polars(frame: Any, folder: str, name: str, notes: list[str]) -> dict[str, Any]:
    if not hasattr(frame, "columns"):
        frame = frame.to_frame()
    polars = import_module(type(frame).__module__.partition(".")[0])
    for column in [column for column, dtype in frame.schema.items() if str(dtype).startswith("Object")]:
        notes.append(_as_text_note(column))
        texts = polars.Series(column, [_text(value) for value in frame[column].to_list()], dtype=polars.String)
        frame = frame.with_columns(texts)
    path = os.path.join(folder, f"{name}.parquet")
    with _whole(path):
        frame.write_parquet(path, row_group_size=_group_rows(frame.width))
    return _described(path, frame.height, frame.schema.items())


def _write_lazy(frame: Any, folder: str, name: str, notes: list[str]) -> dict[str, Any]:
    polars = import_module(type(frame).__module__.partition(".")[0])
    schema = frame.collect_schema()
    path = os.path.join(folder, f"{name}.parquet")
    with _whole(path):
        frame.sink_parquet(path, row_group_size=_group_rows(len(schema)))
        rows = polars.scan_parquet(path).select(polars.len()).collect().item()
    return _described(path, rows, schema.items())


def _write_arrow(frame: Any, folder: str, name: str, notes: list[str]) -> dict[str, Any]:
    """Batch by batch: a reader may hold more than fits into memory."""
    if find_spec("pyarrow") is None:
        raise TypeError(f"a {type(frame).__qualname__} needs the package pyarrow, which is not installed here")
    arrow = import_module("pyarrow")
    if isinstance(frame, arrow.RecordBatch):
        frame = arrow.Table.from_batches([frame])
    reader = arrow.RecordBatchReader.from_stream(frame)
    names = unique_names(reader.schema.names, notes)
    schema = arrow.schema([field.with_name(new) for field, new in zip(reader.schema, names, strict=True)])
    path = os.path.join(folder, f"{name}.parquet")
    rows = 0
    with _whole(path), import_module("pyarrow.parquet").ParquetWriter(path, schema) as writer:
        for batches in _grouped(reader, _group_rows(len(names))):
            table = arrow.Table.from_batches(batches).rename_columns(names)
            writer.write_table(table, row_group_size=_group_rows(len(names)))
            rows += table.num_rows
    return _described(path, rows, zip(names, schema.types, strict=True))


def _grouped(batches: Iterable[Any], rows: int) -> Generator[list[Any]]:
    """Small batches together: a row group for each would make a slow file."""
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if sum(each.num_rows for each in group) >= rows:
            yield group
            group = []
    if group:
        yield group


def _group_rows(width: int) -> int:
    return max(5000, min(122_880, GROUP_CELLS // max(1, width)))


def _described(path: str, rows: int, schema: Iterable[tuple[str, object]]) -> dict[str, Any]:
    columns = [{"name": name, "type": type_word(dtype)} for name, dtype in schema]
    return {"file": path, "format": "parquet", "rows": rows, "columns": columns}


def _write_pandas(frame: Any, folder: str, name: str, notes: list[str]) -> dict[str, Any]:
    if not hasattr(frame, "columns"):
        frame = frame.to_frame("value" if frame.name is None else frame.name)
    labels, columns = _pandas_index(frame.index)
    labels += list(frame.columns)
    columns += [frame.iloc[:, place] for place in range(frame.shape[1])]
    names = unique_names(labels, notes)
    if find_spec("pyarrow") is None:
        rows = Rows(names, len(frame), lambda start, stop: [_missing_as_none(c.iloc[start:stop]) for c in columns])
        return _write_rows(rows, folder, name)
    arrow = import_module("pyarrow")
    arrays = [_arrow_column(arrow, label, column, notes) for label, column in zip(names, columns, strict=True)]
    return _write_arrow(arrow.table(arrays, names=names), folder, name, [])


def _pandas_index(index: Any) -> tuple[list[Any], list[Any]]:
    """What a default RangeIndex does not say: the labels and values of other indexes."""
    plain = type(index).__name__ == "RangeIndex" and (index.start, index.step, index.name) == (0, 1, None)
    if plain:
        return [], []
    many = index.nlevels > 1
    defaults = [f"level_{level}" for level in range(index.nlevels)] if many else ["index"]
    labels = [default if label is None else label for default, label in zip(defaults, index.names, strict=True)]
    return labels, [index.get_level_values(level).to_series() for level in range(index.nlevels)]


def _arrow_column(arrow: Any, name: str, column: Any, notes: list[str]) -> Any:
    if str(column.dtype).startswith("Sparse"):
        column = column.sparse.to_dense()
    try:
        array = arrow.array(column, from_pandas=True)
        if not isinstance(array.type, arrow.BaseExtensionType):  # such as pandas' periods: other readers lack them
            return array
    except (ValueError, TypeError, NotImplementedError, OverflowError):
        pass  # values of several kinds, or of one that Arrow has no type for
    notes.append(_as_text_note(name))
    return arrow.array([_text(value) for value in _missing_as_none(column)], arrow.string())


def _missing_as_none(column: Any) -> list[Any]:
    return column.astype(object).where(column.notna(), None).tolist()


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _as_text_note(column: str) -> str:
    return f"column {column!r} holds values of several kinds, or of a kind without a type in tables: kept as text"


def _write_columns(frame: dict[Any, Any], folder: str, name: str, notes: list[str]) -> dict[str, Any]:
    names = unique_names(list(frame), notes)
    columns = list(frame.values())
    lengths = {label: len(column) for label, column in zip(names, columns, strict=True)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"its columns have unequal lengths: {lengths}")

    def piece(start: int, stop: int) -> list[list[Any]]:
        return [_python_values(column[start:stop]) for column in columns]

    columns = [column if hasattr(column, "__getitem__") else list(column) for column in columns]
    return _write_rows(Rows(names, max(lengths.values(), default=0), piece), folder, name)


def _python_values(values: Any) -> list[Any]:
    """Of a list, or of an array or series; times in nanoseconds would come as bare numbers."""
    if hasattr(values, "notna"):
        return _missing_as_none(values)
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    if kind in ("M", "m") and hasattr(values, "astype"):
        values = values.astype("datetime64[us]" if kind == "M" else "timedelta64[us]")
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _write_records(frame: Sequence[dict[Any, Any]], folder: str, name: str, notes: list[str]) -> dict[str, Any]:
    """Columns in the order in which they first appear; what a row lacks is null."""
    labels = list(dict.fromkeys(label for row in frame for label in row))
    names = unique_names(labels, notes)

    def piece(start: int, stop: int) -> list[list[Any]]:
        rows = frame[start:stop]
        return [[row.get(label) for row in rows] for label in labels]

    return _write_rows(Rows(names, len(frame), piece), folder, name)


def _write_rows(rows: Rows, folder: str, name: str) -> dict[str, Any]:
    path = os.path.join(folder, f"{name}.csv")
    with _whole(path):
        columns = write_csv(rows, path)
    return {"file": path, "format": "csv", "rows": rows.count, "columns": columns}


def unique_names(labels: Iterable[Any], notes: list[str]) -> list[str]:
    """Column labels as text, each once; adds to ``notes`` what had to change."""
    names: list[str] = []
    taken: set[str] = set()
    for place, label in enumerate(labels, 1):
        text = _label_text(label) or f"column {place}"
        name, number = text, 1
        while name in taken:
            number += 1
            name = f"{text} ({number})"
        if number > 1:
            notes.append(f"two columns are called {text!r}: column {place} is now {name!r}")
        elif name != label and not isinstance(label, tuple | int):
            notes.append(f"column {place} had the name {label!r}: it is now {name!r}")
        names.append(name)
        taken.add(name)
    return names


def _label_text(label: Any) -> str:
    """Several levels, as pandas has them, are joined."""
    if isinstance(label, tuple):
        return " / ".join(str(part) for part in cast("tuple[Any, ...]", label) if str(part))
    return str(label).encode("utf-8", "replace").decode()


@contextlib.contextmanager
def _whole(path: str) -> Generator[None]:
    """No half-written file stays when the writing fails."""
    try:
        yield
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
