"""Files, tables and text as a job's inputs."""

from datetime import date
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.errors import ConfigError, InputsInvalid
from bursty.forms.convert import check, to_arguments
from bursty.forms.parse import parse_form, parse_text
from bursty.forms.schema import form_of
from bursty.forms.table import Table
from bursty.forms.types import File
from bursty.forms.validate import file_fields, files_in, replace_files, validate
from form_jobs import Item, Point, Scenario, checked, converted, field_of, forecast, problem, with_hint

# Files


def compare(first: File, others: list[File], last: File | None = None) -> None: ...


def test_files_are_uploaded_between_validation_and_the_function(folder: Path) -> None:
    Path("a.csv").write_text("a\n1\n")
    Path("b.csv").write_text("b\n")
    form = form_of(compare)
    assert file_fields(form) == ["first", "others", "last"]
    inputs = validate(
        form, {"first": "a.csv", "others": [Path("b.csv"), File("a.csv", name="c.csv")]}, allow_paths=True
    )
    digests: dict[str, str] = {}

    def upload(file: dict[str, Any]) -> dict[str, Any]:
        local = File(file["path"])
        digests[local.digest] = str(folder / file["path"])
        return {"upload": local.digest, "name": file["name"], "size": local.size}

    inputs = validate(form, replace_files(form, inputs, upload))
    assert [file["name"] for file in files_in(form, inputs)] == ["a.csv", "b.csv", "c.csv"]
    arguments = to_arguments(compare, inputs, digests)
    first: File = arguments["first"]
    assert (first.name, first.size, first.read_text(), first.read_bytes()) == ("a.csv", 4, "a\n1\n", b"a\n1\n")
    assert Path(first) == folder / "a.csv"
    with open(first) as by_path, first.open() as binary:
        assert by_path.read().encode() == binary.read()
    assert first.digest in digests
    assert [file.name for file in arguments["others"]] == ["b.csv", "c.csv"]
    assert "last" not in inputs or arguments["last"] is None
    check(compare, inputs)
    with pytest.raises(ConfigError, match="was not brought"):
        to_arguments(compare, inputs, {})


def test_a_file_that_is_not_there_is_told(folder: Path) -> None:
    assert problem(File, "sales.csv", allow_paths=True) == "there is no file sales.csv"
    assert problem(File, ".", allow_paths=True) == "is a folder, not a file: ."
    assert problem(list[File], ["no.csv"], allow_paths=True) == "item 1: there is no file no.csv"


# Tables

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


@pytest.mark.parametrize(
    "given_as",
    [
        ROWS,
        Table(ROWS),
        pd.DataFrame(ROWS),
        pl.DataFrame(ROWS),
        pa.Table.from_pylist(ROWS),
        "a,b\n1,x\n2,\n",
        "\ufeffa;b\r\n1;x\r\n\r\n2;\r\n",
        "a\tb\n1\tx\n2",
    ],
    ids=["rows", "Table", "pandas", "polars", "pyarrow", "csv", "semicolons", "tsv"],
)
def test_a_table_comes_in_many_ways(given_as: Any) -> None:
    assert checked(Table, given_as) == ROWS
    table: Table[Any] = converted(Table, given_as)
    assert table == Table(ROWS)
    assert (table.columns, len(table), list(table)) == (["a", "b"], 2, ROWS)
    assert table.to_polars().to_dicts() == ROWS
    assert table.to_pandas()["a"].tolist() == [1, 2]


def test_text_that_only_looks_like_numbers_stays_text() -> None:
    text = "zip,price,empty,mixed\n007,1.50,,1\n010,-2e3,,x\n"
    assert checked(Table, text) == [
        {"zip": "007", "price": 1.5, "empty": None, "mixed": "1"},
        {"zip": "010", "price": -2000.0, "empty": None, "mixed": "x"},
    ]


@pytest.mark.parametrize(
    "given_as", ["item_id,since\n 7 ,2026-01-02\n8,", [Item(item_id=7, since=date(2026, 1, 2)), {"item_id": 8}]]
)
def test_rows_become_the_declared_type(given_as: Any) -> None:
    assert [row["item_id"] for row in checked(Table[Item], given_as)] == [7, 8]
    table: Table[Item] = converted(Table[Item], given_as)
    assert list(table) == [Item(item_id=7, since=date(2026, 1, 2)), Item(item_id=8)]
    assert table.rows[0] == {"item_id": 7, "price": 1.0, "since": date(2026, 1, 2)}
    assert list(converted(Table[Point], [{"x": 1}])) == [Point(1.0)]
    assert converted(Table[Item], []).columns == ["item_id", "price", "since"]


@given(st.lists(st.fixed_dictionaries({"item_id": st.integers(-9, 9), "price": st.floats(0, 1e9)}), max_size=5))
def test_tables_there_and_back(rows: list[dict[str, Any]]) -> None:
    inputs = checked(Table[Item], rows)
    assert checked(Table[Item], inputs) == inputs
    items = converted(Table[Item], rows)
    assert [{"item_id": item.item_id, "price": item.price} for item in items] == rows


# Text


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int, "7", 7),
        (int | None, "", None),
        (str, "", ""),
        (str | None, "", None),
        (bool, "on", True),
        (Scenario, "bull", "bull"),
        (Scenario, "Base case", "base"),
        (Literal[1, True], "1", 1),
        (Literal[1, True], "true", True),
        (list[int], "1, 2,3", [1, 2, 3]),
        (list[int], ["1", "2"], [1, 2]),
        (list[int], "[1, 2]", [1, 2]),
        (list[str], 'a,"b, c"', ["a", "b, c"]),
        (list[str], "", []),
        (float, ["0.5"], 0.5),
        (Table, "a,b\n1,x", [{"a": 1, "b": "x"}]),
        (Table[Point], '[{"x": 1}]', [{"x": 1.0, "label": "none"}]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Path, "a/b", "a/b"),
        (date, " 2026-01-02", "2026-01-02"),
    ],
    ids=count(),
)
def test_text_as_values(hint: Any, text: str | list[str], value: Any) -> None:
    form = form_of(with_hint(hint))
    assert validate(form, parse_form(form, {"x": text})) == {"x": value}


@pytest.mark.parametrize(
    ("hint", "text", "says"),
    [
        (int, "", "must not be empty"),
        (int, ["1", "2"], "is given 2 times"),
        (dict[str, int], "{a: 1}", "is no JSON"),
        (dict[str, int], "[" * 100_000, "is no JSON"),
        (Table[Item], "no.csv", "names no file"),
    ],
    ids=count(),
)
def test_text_that_is_no_value_is_told(hint: Any, text: str | list[str], says: str) -> None:
    with pytest.raises(InputsInvalid, match=says) as caught:
        parse_text(field_of(hint), text, allow_paths=True)
    assert caught.value.problems[0]["field"] == "x"
    assert len(str(caught.value)) < 500


def test_a_table_on_the_command_line_may_be_a_path(folder: Path) -> None:
    Path("t.csv").write_text("\ufeffa,b\n1,x\n", encoding="utf-8")
    assert parse_text(field_of(Table), "t.csv", allow_paths=True) == [{"a": 1, "b": "x"}]
    assert parse_text(field_of(Table), "t.csv") == []  # a header without rows: no path is opened
    with pytest.raises(InputsInvalid) as caught:
        parse_form(form_of(forecast), {"growth": "", "start_day": "", "scenario": "bull"})
    assert [problem["field"] for problem in caught.value.problems] == ["growth", "start_day"]
