"""Table files of runs: looked at, converted and compared without loading them."""

import csv
import datetime as dt
import decimal
import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.errors import TableError
from bursty.jobs.tables import compare_tables, convert, preview
from bursty.jobs.xlsx import MAX_ROWS
from bursty.runtime.tables import write_table
from tabular import KINDS, convert_to, run_python


@pytest.fixture(params=["parquet", "csv"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """All kinds of values, then nulls, then what is hard: as Parquet, and as CSV."""
    rows: list[dict[str, Any]] = [
        KINDS, dict.fromkeys(KINDS), dict.fromkeys(KINDS) | {"f": float("nan"), "s": "=1+1", "i": 2**60, "x": b""},
    ]  # fmt: skip
    return write_table(pl.DataFrame(rows) if request.param == "parquet" else rows, str(tmp_path), "table")


class TestPreview:
    def test_values_as_json(self, table: dict[str, Any]) -> None:
        seen = preview(table["file"], table["format"], columns=table["columns"])
        assert json.loads(json.dumps(seen, allow_nan=False)) == seen
        assert seen["total"] == 3
        assert [column["name"] for column in seen["columns"]] == list(KINDS)
        first = dict(zip(KINDS, seen["rows"][0], strict=True))
        nested = {"l": [1, 2], "r": {"a": 1}} if table["format"] == "parquet" else {"l": "[1, 2]", "r": '{"a": 1}'}
        assert first == {
            "i": 7, "f": 1.5, "b": True, "s": "word", "d": "2024-02-29", "t": "2024-01-01T01:02:03.000004",
            "z": "2024-01-01T00:00:00+00:00", "clock": "01:02:00", "lasting": "0:00:01.500000", "x": "6162",
            "*": 1, "^i$": 2,
        } | nested  # fmt: skip
        assert set(seen["rows"][1]) == {None}
        assert seen["rows"][2][:4] == [2**60, "NaN", None, "=1+1"]

    def test_only_the_first_rows(self, tmp_path: Path) -> None:
        meta = write_table(pl.DataFrame({"a": range(1000)}), str(tmp_path), "t")
        seen = preview(meta["file"], "parquet", limit=3)
        assert (seen["rows"], seen["total"]) == ([[0], [1], [2]], 1000)
        assert preview(meta["file"], "parquet", limit=1, total=77)["total"] == 77

    def test_wide_tables_and_long_texts(self, tmp_path: Path) -> None:
        meta = write_table({f"c{number}": ["x" * 5000] for number in range(300)}, str(tmp_path), "t")
        seen = preview(meta["file"], "csv", columns=meta["columns"])
        assert (len(seen["columns"]), len(seen["rows"][0])) == (300, 200)
        assert seen["rows"][0][0] == "x" * 1000 + "…"

    def test_a_csv_file_of_somebody_else(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.csv"
        path.write_text("a,b\n" + "1,x\n" * 3000 + "2.5,y\n")
        seen = preview(str(path), "csv", limit=1)
        assert seen == {
            "columns": [{"name": "a", "type": "number"}, {"name": "b", "type": "text"}],
            "rows": [[1.0, "x"]],
            "total": 3001,
        }

    def test_what_is_no_table(self, tmp_path: Path) -> None:
        path = tmp_path / "odd"
        for content in (b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", bytes(1000)):
            path.write_bytes(content)
            with pytest.raises(TableError, match="odd can't be read"):
                preview(str(path), "parquet")
        path.write_text("a\n1\nx\n")
        with pytest.raises(TableError, match="odd can't be read"):
            preview(str(path), "csv", columns=[{"name": "a", "type": "integer"}])
        with pytest.raises(FileNotFoundError):
            preview(str(tmp_path / "none"), "parquet")


MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def cells_of(path: Path) -> list[list[tuple[str, str]]]:
    """The cells of the only sheet, as (type, text)."""
    with zipfile.ZipFile(path) as book:
        assert [name for name in book.namelist() if "worksheets/" in name] == ["xl/worksheets/sheet1.xml"]
        root = ET.fromstring(book.read("xl/worksheets/sheet1.xml"))
    assert root.find(f".//{MAIN}f") is None
    rows = [list(row.iter(f"{MAIN}c")) for row in root.iter(f"{MAIN}row")]
    return [[(cell.get("t", "n"), "".join(cell.itertext())) for cell in row] for row in rows]


class TestConvert:
    def test_csv(self, table: dict[str, Any], tmp_path: Path) -> None:
        text = convert_to(tmp_path, table, "csv").read_text("utf-8")
        rows = list(csv.DictReader(text.splitlines()))
        assert [len(rows), list(rows[0])] == [3, list(KINDS)]
        assert {name: rows[0][name] for name in ("i", "f", "b", "s", "d", "lasting", "x", "l", "r", "*")} == {
            "i": "7", "f": "1.5", "b": "true", "s": "word", "d": "2024-02-29", "lasting": "1.5", "x": "6162",
            "l": "[1, 2]", "r": '{"a": 1}', "*": "1",
        }  # fmt: skip
        assert set(rows[1].values()) == {""}
        assert (rows[2]["s"], rows[2]["f"]) == ("=1+1", "NaN")

    def test_parquet(self, table: dict[str, Any], tmp_path: Path) -> None:
        frame = pl.read_parquet(convert_to(tmp_path, table, "parquet"))
        assert {**frame.row(0, named=True), "l": 0, "r": 0} == {**KINDS, "l": 0, "r": 0}

    def test_xlsx(self, table: dict[str, Any], tmp_path: Path) -> None:
        rows = cells_of(convert_to(tmp_path, table, "xlsx"))
        assert [text for _, text in rows[0]] == list(KINDS)
        first = dict(zip(KINDS, rows[1], strict=True))
        assert first == {
            "i": ("n", "7"), "f": ("n", "1.5"), "b": ("b", "1"), "s": ("inlineStr", "word"), "d": ("n", "45351"),
            "t": ("n", first["t"][1]), "z": ("n", "45292"), "clock": ("n", first["clock"][1]),
            "lasting": ("n", first["lasting"][1]), "x": ("inlineStr", "6162"), "l": ("inlineStr", "[1, 2]"),
            "r": ("inlineStr", '{"a": 1}'), "*": ("n", "1"), "^i$": ("n", "2"),
        }  # fmt: skip
        assert abs(float(first["t"][1]) - 45292.0430903) < 1e-6
        assert abs(float(first["lasting"][1]) * 86400 - 1.5) < 1e-6
        assert rows[2] == [("inlineStr", str(2**60)), ("inlineStr", "NaN"), ("inlineStr", "=1+1"), ("inlineStr", "")]

    def test_text_is_never_a_formula_nor_a_link(self, tmp_path: Path) -> None:
        texts = [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "{=1}",
            "http://example.org",
            "mailto:a@example.org",
            "=",
            "plain",
        ]
        meta = write_table({"=cmd()": texts}, str(tmp_path), "t")
        path = convert_to(tmp_path, meta, "xlsx")
        assert [row[0] for row in cells_of(path)] == [("inlineStr", text) for text in ("=cmd()", *texts)]
        with zipfile.ZipFile(path) as book:
            assert b"hyperlink" not in b"".join(book.read(name) for name in book.namelist())
            sheet = ET.fromstring(book.read("xl/worksheets/sheet1.xml"))
            styles = ET.fromstring(book.read("xl/styles.xml"))
        marked = [form.get("quotePrefix") == "1" for form in styles.find(f"{MAIN}cellXfs") or ()]
        shown = [marked[int(cell.get("s", 0))] for cell in sheet.iter(f"{MAIN}c")]
        assert shown == [False, True, True, True, True, True, False, False, False, True, False]

    def test_values_that_spreadsheets_lack(self, tmp_path: Path) -> None:
        values = {
            "far": [dt.date(1900, 2, 28), dt.date(1900, 3, 1)],
            "long": ["x" * 40_000, "x" * 32_767],
            "large": [2**53 + 1, 2**53],
            "money": [decimal.Decimal("1234567890.12345678"), decimal.Decimal("0.10000000")],
            "past": [dt.timedelta(days=-1), dt.timedelta(days=2)],
            "control": ["a\0b\x01", "_x0001_"],
        }
        meta = write_table(pl.DataFrame(values), str(tmp_path), "t")
        _, first, second = cells_of(convert_to(tmp_path, meta, "xlsx"))
        assert first[0] == ("inlineStr", "1900-02-28")
        assert (len(first[1][1]), first[1][1][-7:]) == (32_767, "… (cut)")
        assert [kind for kind, _ in first] == ["inlineStr"] * 6
        assert [text for _, text in first[2:5]] == [str(2**53 + 1), "1234567890.12345678", "-1 day, 0:00:00"]
        assert [second[0], second[2], second[3], second[4]] == [
            ("n", "61"),
            ("n", str(2**53)),
            ("n", "0.1"),
            ("n", "2"),
        ]
        assert len(second[1][1]) == 32_767

    def test_too_much_for_a_sheet(self, tmp_path: Path) -> None:
        long = write_table(pl.DataFrame({"a": pl.int_range(MAX_ROWS, eager=True)}), str(tmp_path), "long")
        wide = write_table({f"c{number}": [1] for number in range(16_385)}, str(tmp_path), "wide")
        with pytest.raises(
            TableError, match=r"1,048,576 rows and 1 columns; XLSX holds 1,048,575 rows(.|\n)*CSV or Parq"
        ):
            convert_to(tmp_path, long, "xlsx")
        with pytest.raises(TableError, match="16,385 columns"):
            convert_to(tmp_path, wide, "xlsx")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["long.parquet", "wide.csv"]

    def test_a_broken_file_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "odd").write_bytes(b"PAR1" * 10)
        for target in ("csv", "xlsx"):
            with pytest.raises(TableError):
                convert(str(tmp_path / "odd"), "parquet", target, str(tmp_path / "out"))
        assert [path.name for path in tmp_path.iterdir()] == ["odd"]


class TestCompare:
    def compare(self, folder: Path, a: Any, b: Any, limit: int = 20) -> dict[str, Any]:
        one, two = write_table(a, str(folder), "a"), write_table(b, str(folder), "b")
        found = compare_tables(
            one["file"], one["format"], two["file"], two["format"], limit, one["columns"], two["columns"]
        )
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        return found

    def test_equal(self, tmp_path: Path, table: dict[str, Any]) -> None:
        parts = (table["file"], table["format"], table["file"], table["format"], 5, table["columns"], table["columns"])
        found = compare_tables(*parts)
        assert found["same"] is True
        assert (found["changed_rows"], found["changed"], found["first"]) == (0, {}, [])
        assert found["means"][0] == {"name": "i", "a": (2**60 + 7) / 2, "b": (2**60 + 7) / 2, "delta": 0.0}

    def test_what_changed(self, tmp_path: Path) -> None:
        a = pl.DataFrame({"k": ["x", "y", "z", None], "v": [1.0, 2.0, float("nan"), None], "old": [1, 1, 1, 1]})
        b = pl.DataFrame({"v": [1.0, 2.5, float("nan"), 4.0], "k": ["x", "Y", "z", None], "new": [1, 1, 1, 1]})
        found = self.compare(tmp_path, a, b)
        assert found == {
            "same": False,
            "rows": {"a": 4, "b": 4},
            "columns": {"only_a": ["old"], "only_b": ["new"], "types": []},
            "changed_rows": 2,
            "changed": {"k": 1, "v": 2},
            "first": [
                {"row": 2, "column": "k", "a": "y", "b": "Y"},
                {"row": 2, "column": "v", "a": 2.0, "b": 2.5},
                {"row": 4, "column": "v", "a": None, "b": 4.0},
            ],
            "means": [{"name": "v", "a": 1.5, "b": 2.5, "delta": 1.0}],
        }

    def test_types(self, tmp_path: Path) -> None:
        a = pl.DataFrame({"n": [1, 2], "t": ["1", "2"], "l": [[1], [2]], "c": ["a", "b"], "big": [2**60, 2**60 + 1]})
        b = a.with_columns(
            pl.col("n").cast(pl.Float64), pl.col("t").cast(pl.Int64), pl.col("c").cast(pl.Categorical),
            pl.Series("l", [[1], [3]]), (pl.col("big") + pl.Series([0, 1])).cast(pl.UInt64),
        )  # fmt: skip
        found = self.compare(tmp_path, a, b)
        assert found["columns"]["types"] == [
            {"name": "n", "a": "integer", "b": "number"},
            {"name": "t", "a": "text", "b": "integer"},
        ]
        assert found["first"] == [
            {"row": 2, "column": "l", "a": "[2]", "b": "[3]"},
            {"row": 2, "column": "big", "a": 2**60 + 1, "b": 2**60 + 2},
        ]

    def test_rows_of_one_only(self, tmp_path: Path) -> None:
        found = self.compare(tmp_path, pd.DataFrame({"a": [1, 2, 3]}), {"a": [1, 5]})
        assert found["rows"] == {"a": 3, "b": 2}
        assert (found["same"], found["changed_rows"]) == (False, 1)
        assert found["first"] == [{"row": 2, "column": "a", "a": 2, "b": 5}]
        assert found["means"] == [{"name": "a", "a": 2.0, "b": 3.0, "delta": 1.0}]

    def test_nothing_in_common(self, tmp_path: Path) -> None:
        found = self.compare(tmp_path, {"a": [1]}, {})
        assert (found["same"], found["columns"]["only_a"], found["means"]) == (False, ["a"], [])
        assert self.compare(tmp_path, {}, {})["same"] is True

    @pytest.mark.parametrize("limit", [0, 1, 7])
    def test_first_differences_are_limited(self, limit: int, tmp_path: Path) -> None:
        found = self.compare(tmp_path, {"a": range(9), "b": range(9)}, {"a": range(1, 10), "b": range(9)}, limit)
        assert (found["changed_rows"], len(found["first"])) == (9, limit)

    @given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.text("ab", max_size=2)), max_size=12), st.data())
    def test_as_python_counts(self, tmp_path_factory: Any, rows: list[tuple[Any, ...]], data: st.DataObject) -> None:
        other = [data.draw(st.just(row) | st.tuples(st.integers(0, 3), st.none() | st.just("a"))) for row in rows]
        schema = {"n": pl.Int64, "t": pl.String}
        frames = [pl.DataFrame(table, schema=schema, orient="row") for table in (rows, other)]
        found = self.compare(tmp_path_factory.mktemp("any"), *frames, limit=100)
        assert found["changed_rows"] == sum(x != y for x, y in zip(rows, other, strict=True))
        assert len(found["first"]) == sum(
            x != y for p, q in zip(rows, other, strict=True) for x, y in zip(p, q, strict=True)
        )
        assert found["same"] is (rows == other)


class TestMemory:
    def test_two_million_rows(self, tmp_path: Path) -> None:
        """Loaded as a whole, the 12 columns would take more than 300 MB."""
        wide = {f"c{number}": pl.int_range(2_000_000, eager=True) * (number + 1) for number in range(10)}
        frame = pl.DataFrame(wide).with_columns(
            x=pl.col("c0") / 7, s=pl.lit("some text ") + pl.col("c0").cast(pl.String)
        )
        a = write_table(frame, str(tmp_path), "a")
        b = write_table(frame.with_columns(x=pl.col("x") + (pl.col("c0") == 1_999_999)), str(tmp_path), "b")
        del frame, wide
        script = """
            import json, sys
            import polars as pl
            import xlsxwriter
            from bursty.jobs.tables import compare_tables, convert, preview

            def peak():
                with open("/proc/self/status") as file:
                    return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))

            pl.LazyFrame({"a": [1]}).select(pl.len()).collect(engine="streaming")
            a, b, folder = sys.argv[1:]
            start, peaks = peak(), {}

            def step(name, work):
                work()
                peaks[name] = round(peak() - start)

            step("preview", lambda: preview(a, "parquet"))
            step("csv", lambda: convert(a, "parquet", "csv", folder + "/a.csv"))
            step("compare", lambda: compare_tables(a, "parquet", b, "parquet"))
            pl.scan_parquet(a).head(100_000).sink_parquet(folder + "/head.parquet")
            step("xlsx", lambda: convert(folder + "/head.parquet", "parquet", "xlsx", folder + "/head.xlsx"))
            found = compare_tables(a, "parquet", b, "parquet")
            print(json.dumps([peaks, found["changed_rows"], found["first"][0]["row"]]))
        """
        peaks, changed, row = json.loads(run_python(script, a["file"], b["file"], str(tmp_path)))
        assert max(peaks.values()) < 300, peaks
        assert (changed, row) == (1, 2_000_000)
        with open(tmp_path / "a.csv", "rb") as file:
            assert sum(1 for _ in file) == 2_000_001
