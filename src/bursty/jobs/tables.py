"""What people do with the tables of runs: look at the first rows, download, compare. Nothing is loaded as a whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal

from bursty.jobs.tablefile import Columns, Format, TableFile, as_text, explained, json_value, open_table, stream

if TYPE_CHECKING:
    import polars as pl

MAX_COLUMNS = 200
"""Of a preview."""
MAX_TEXT = 1000
"""Characters of a cell in a preview."""


def preview(
    path: str, form: Format, limit: int = 50, columns: Columns | None = None, total: int | None = None
) -> dict[str, Any]:
    """The first rows, as JSON has them: ``{"columns": [{"name", "type"}], "rows": [[value]], "total": rows}``.

    ``columns``: of a CSV file, as ``write_table`` gave them; without them types are guessed from its first 10,000 rows.
    ``total``: how many rows there are, where that is known: a CSV file is read through to count them. All columns are
    named, but rows hold the first 200 only, and long texts are cut. Raises ``TableError`` for a file that is no such
    table.
    """
    table = open_table(path, form, columns, guess_rows=10_000)
    described = [{"name": name, "type": word} for name, word in zip(table.names, table.words, strict=True)]
    if not table.names:
        return {"columns": [], "rows": [], "total": 0}
    with explained(path):
        rows = stream(table.frame.select(table.ids[:MAX_COLUMNS]).head(limit)).rows()
    shown = [[_short(cell) for cell in row] for row in rows]
    return {"columns": described, "rows": shown, "total": table.count() if total is None else total}


def _short(cell: Any) -> Any:
    value = json_value(cell)
    if type(value) not in (str, list, dict):
        return value
    text = str(value)
    return value if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def convert(
    path: str,
    form: Format,
    target: Literal["csv", "xlsx", "parquet"],
    out_path: str,
    columns: Columns | None = None,
) -> None:
    """Write the table anew in another format, in pieces.

    XLSX holds at most 1,048,576 rows, header included, and 16,384 columns: more raise ``TableError`` before anything is
    written. All text goes there as text: ``=1+1`` is no formula. In CSV text stays as it is (CSV is data for programs):
    open what may hold others' text in spreadsheets as XLSX.
    """
    with _whole(out_path):
        if target == form:
            shutil.copyfile(path, out_path)
            return
        table = open_table(path, form, columns)
        if target == "csv":
            _write_csv(table, out_path)
        elif target == "parquet":
            _write_parquet(table, out_path)
        else:
            _write_xlsx(table, form, out_path)


def _write_parquet(table: TableFile, out_path: str) -> None:
    with explained(table.path):
        table.named(table.frame).sink_parquet(out_path)


def _write_xlsx(table: TableFile, form: Format, out_path: str) -> None:
    from bursty.jobs.xlsx import check_size, write_xlsx

    check_size(table)
    folder = os.path.dirname(os.path.abspath(out_path))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".xlsx-") as scratch:
        if form == "csv":  # pieces of a CSV file can't be found without reading it from its beginning
            between = os.path.join(scratch, "table.parquet")
            _write_parquet(table, between)
            table = open_table(between, "parquet")
        write_xlsx(table, out_path, scratch)


def _write_csv(table: TableFile, out_path: str) -> None:
    if not table.names:
        open(out_path, "w").close()
        return
    odd = {place for place, word in enumerate(table.words) if word in ("list", "record", "binary", "duration")}
    with explained(table.path):
        table.named(table.frame.with_columns(as_text(table, place) for place in odd)).sink_csv(out_path)


@contextlib.contextmanager
def _whole(path: str) -> Generator[None]:
    """No half-written file stays when the writing fails."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        raise


def compare_tables(
    a_path: str,
    a_form: Format,
    b_path: str,
    b_form: Format,
    limit: int = 20,
    a_columns: Columns | None = None,
    b_columns: Columns | None = None,
) -> dict[str, Any]:
    """How table b differs from table a, row by row in the order of the files, as JSON:

    ``same``: they are equal: names, types, rows. ``rows``: ``{"a", "b"}``, how many each has. ``columns``: ``only_a``,
    ``only_b`` (names), ``types`` (``{"name", "a", "b"}`` where these differ). Of the rows and columns that both have:
    ``changed_rows``: how many differ; ``changed``: ``{name: rows}``; ``first``: up to ``limit`` differences
    ``{"row" (from 1), "column", "a", "b"}``. ``means``: ``{"name", "a", "b", "delta"}`` of numeric columns, each over
    its whole table, without nulls and NaN. NaN equals NaN; 1 equals 1.0; values of other unlike types are compared as
    text.
    """
    a, b = open_table(a_path, a_form, a_columns), open_table(b_path, b_form, b_columns)
    rows = {"a": a.count(), "b": b.count()}
    pairs = [(a.names.index(name), b.names.index(name), name) for name in a.names if name in b.names]
    columns = {
        "only_a": [name for name in a.names if name not in b.names],
        "only_b": [name for name in b.names if name not in a.names],
        "types": [{"name": name, "a": a.words[i], "b": b.words[j]} for i, j, name in pairs if a.words[i] != b.words[j]],
    }
    with explained(f"{a_path} or {b_path}"):
        changes = _changes(a, b, pairs, min(rows.values()), limit)
        means = _means(a, b, pairs)
    same = rows["a"] == rows["b"] and a.names == b.names and not columns["types"] and not changes["changed_rows"]
    return {"same": same, "rows": rows, "columns": columns, **changes, "means": means}


_Pairs = list[tuple[int, int, str]]


def _changes(a: TableFile, b: TableFile, pairs: _Pairs, rows: int, limit: int) -> dict[str, Any]:
    import polars as pl

    if not pairs or not rows:
        return {"changed_rows": 0, "changed": {}, "first": []}
    sides = [_comparable(a, b, i, j) for i, j, _ in pairs]
    ours = a.frame.head(rows).select(left.alias(f"a{k}") for k, (left, _) in enumerate(sides))
    theirs = b.frame.head(rows).select(right.alias(f"b{k}") for k, (_, right) in enumerate(sides))
    both = pl.concat([ours, theirs], how="horizontal")
    differ = [pl.col(f"a{k}").ne_missing(pl.col(f"b{k}")) for k in range(len(pairs))]
    counts = stream(
        both.select(
            pl.any_horizontal(differ).sum().alias("rows"), *(d.sum().alias(f"n{k}") for k, d in enumerate(differ))
        )
    ).row(0)
    changed = {name: count for (_, _, name), count in zip(pairs, counts[1:], strict=True) if count}
    first: list[dict[str, Any]] = []
    if changed:
        found = stream(both.with_row_index("row", offset=1).filter(pl.any_horizontal(differ)).head(limit))
        first = [cell for row in found.iter_rows() for cell in _differences(row, pairs)]
    return {"changed_rows": counts[0], "changed": changed, "first": first[:limit]}


def _differences(row: tuple[Any, ...], pairs: _Pairs) -> Generator[dict[str, Any]]:
    for k, (_, _, name) in enumerate(pairs):
        left, right = row[1 + k], row[1 + len(pairs) + k]
        if json_value(left) != json_value(right):
            yield {"row": row[0], "column": name, "a": _short(left), "b": _short(right)}


def _comparable(a: TableFile, b: TableFile, i: int, j: int) -> tuple[pl.Expr, pl.Expr]:
    """Two columns as one type, so that they can be compared."""
    import polars as pl

    ours, theirs = a.dtypes[i], b.dtypes[j]
    plain = not (ours.is_nested() or type(ours) in (pl.Categorical, pl.Enum))
    if ours == theirs and plain:
        return pl.col(f"c{i}"), pl.col(f"c{j}")
    if ours.is_integer() and theirs.is_integer():
        return pl.col(f"c{i}").cast(pl.Int128), pl.col(f"c{j}").cast(pl.Int128)
    if ours.is_numeric() and theirs.is_numeric():
        return pl.col(f"c{i}").cast(pl.Float64), pl.col(f"c{j}").cast(pl.Float64)
    return as_text(a, i).cast(pl.String), as_text(b, j).cast(pl.String)


def _means(a: TableFile, b: TableFile, pairs: _Pairs) -> list[dict[str, Any]]:
    numeric = [(i, j, name) for i, j, name in pairs if a.dtypes[i].is_numeric() and b.dtypes[j].is_numeric()]
    if not numeric:
        return []
    ours = _mean_row(a, [i for i, _, _ in numeric])
    theirs = _mean_row(b, [j for _, j, _ in numeric])
    return [
        {"name": name, "a": json_value(x), "b": json_value(y), "delta": None if None in (x, y) else json_value(y - x)}
        for (_, _, name), x, y in zip(numeric, ours, theirs, strict=True)
    ]


def _mean_row(table: TableFile, places: list[int]) -> tuple[Any, ...]:
    import polars as pl

    means = [pl.col(f"c{place}").cast(pl.Float64).fill_nan(None).mean() for place in places]
    return stream(table.frame.select(means)).row(0)
