"""Tables of runs: written by the library that made them, read again with polars alone."""

import datetime as dt
import decimal
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.jobs.tables import convert
from bursty.runtime.tables import type_word, unique_names, write_table
from tabular import KINDS, UTC, convert_to, naive, run_python


def written(frame: Any, folder: Path, name: str = "t") -> tuple[dict[str, Any], pl.DataFrame]:
    """What ``write_table`` says, and the table as it comes back."""
    meta = write_table(frame, str(folder), name)
    assert (meta["kind"], Path(meta["file"]).name) == ("table", f"{name}.{meta['format']}")
    back = folder / "back.parquet"
    convert(meta["file"], meta["format"], "parquet", str(back), columns=meta["columns"])
    frame = pl.read_parquet(back)
    assert frame.height == meta["rows"]
    assert frame.columns == [column["name"] for column in meta["columns"]]
    return meta, frame


def types(meta: dict[str, Any]) -> list[str]:
    return [column["type"] for column in meta["columns"]]


class TestWritten:
    FRAMES: ClassVar[dict[str, Callable[[], Any]]] = {
        "pandas": lambda: pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]}),
        "polars": lambda: pl.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]}),
        "lazy": lambda: pl.LazyFrame({"a": [0, 1, 2], "b": ["x", None, "z"]}).with_columns(pl.col("a") + 1),
        "arrow": lambda: pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]}),
        "batch": lambda: pa.RecordBatch.from_pydict({"a": [1, 2, 3], "b": ["x", None, "z"]}),
        "reader": lambda: pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]}).to_reader(max_chunksize=1),
        "records": lambda: [{"a": 1, "b": "x"}, {"a": 2}, {"b": "z", "a": 3}],
        "columns": lambda: {"a": np.array([1, 2, 3]), "b": ("x", None, "z")},
    }

    @pytest.mark.parametrize("kind", FRAMES)
    def test_every_kind_of_table(self, kind: str, tmp_path: Path) -> None:
        meta, frame = written(self.FRAMES[kind](), tmp_path)
        assert meta["format"] == ("csv" if kind in ("records", "columns") else "parquet")
        assert meta["columns"] == [{"name": "a", "type": "integer"}, {"name": "b", "type": "text"}]
        assert frame.rows() == [(1, "x"), (2, None), (3, "z")]
        assert meta["notes"] == []

    @pytest.mark.parametrize("made", [pd.Series, pl.Series])
    def test_series(self, made: Any, tmp_path: Path) -> None:
        _, frame = written(made([1.5, 2], name="v") if made is pd.Series else made("v", [1.5, 2]), tmp_path)
        assert frame.to_dict(as_series=False) == {"v": [1.5, 2.0]}

    @pytest.mark.parametrize("made", [pd.DataFrame, pl.DataFrame, list, dict])
    def test_nothing_in_it(self, made: Any, tmp_path: Path) -> None:
        meta, _ = written(made(), tmp_path)
        assert (meta["rows"], meta["columns"]) == (0, [])

    def test_no_rows(self, tmp_path: Path) -> None:
        for number, frame in enumerate((pd.DataFrame({"a": []}), pl.DataFrame({"a": []}), {"a": []})):
            _, back = written(frame, tmp_path, f"t{number}")
            assert (back.columns, back.height) == (["a"], 0)

    @pytest.mark.parametrize(
        "frame", ["text", 5, None, [1, 2], [{"a": 1}, 2], {"a": 1}, {"a": [1], "b": "x"}, np.zeros((2, 2)), object()]
    )
    def test_what_is_no_table(self, frame: Any, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match=r"table 'mine': .* is no table; pass a pandas"):
            write_table(frame, str(tmp_path), "mine")
        assert list(tmp_path.iterdir()) == []

    def test_unequal_lengths(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"table 'mine': .*unequal lengths: \{'a': 1, 'b': 2\}"):
            write_table({"a": [1], "b": [1, 2]}, str(tmp_path), "mine")

    def test_a_source_that_breaks_leaves_nothing(self, tmp_path: Path) -> None:
        def batches():
            yield pa.RecordBatch.from_pydict({"a": range(200_000)})
            raise RuntimeError("the query broke")

        reader = pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), batches())
        with pytest.raises(TypeError, match=r"table 't' can't be written: .*the query broke"):
            write_table(reader, str(tmp_path), "t")
        assert list(tmp_path.iterdir()) == []

    def test_row_groups_are_small_enough_to_look_at(self, tmp_path: Path) -> None:
        wide = pd.DataFrame({f"c{number}": range(30_000) for number in range(40)})
        tiny = pa.table({"a": range(5000)}).to_reader(max_chunksize=10)
        for frame, groups in ((wide, 3), (pl.from_pandas(wide), 3), (tiny, 1)):
            file = pq.ParquetFile(write_table(frame, str(tmp_path), "t")["file"])
            assert file.num_row_groups == groups


class TestPandas:
    def test_the_index(self, tmp_path: Path) -> None:
        plain = pd.DataFrame({"a": [1, 2]})
        many = pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["k", None])
        for index, expected in (
            (None, {}),
            ([5, 6], {"index": [5, 6]}),
            (pd.RangeIndex(1, 3), {"index": [1, 2]}),
            (pd.RangeIndex(2, name="n"), {"n": [0, 1]}),
            (pd.Index(["x", "y"], name="a"), {"a": ["x", "y"]}),
            (many, {"k": ["x", "y"], "level_1": [1, 2]}),
        ):
            _, frame = written(plain if index is None else plain.set_axis(index), tmp_path)
            own = "a (2)" if "a" in expected else "a"
            assert frame.to_dict(as_series=False) == expected | {own: [1, 2]}

    def test_names(self, tmp_path: Path) -> None:
        frame = pd.DataFrame([[1, 2, 3, 4]], columns=pd.Index(["a", "a", 7, None], dtype=object))
        meta, back = written(frame, tmp_path)
        assert back.columns == ["a", "a (2)", "7", "None"]
        assert meta["notes"] == [
            "two columns are called 'a': column 2 is now 'a (2)'",
            "column 4 had the name None: it is now 'None'",
        ]
        levels = pd.DataFrame({("a", "min"): [1], ("a", ""): [2]})
        assert written(levels, tmp_path)[1].columns == ["a / min", "a"]

    def test_kinds_that_tables_have_no_type_for_become_text(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({
            "mixed": [1, "x", None],
            "period": pd.period_range("2024", periods=3, freq="M"),
            "interval": pd.interval_range(0, 3),
            "complex": [1j, 2, 3],
            "uuid": [uuid.UUID(int=number) for number in range(3)],
        })  # fmt: skip
        meta, back = written(frame, tmp_path)
        assert back.row(0) == ("1", "2024-01", "(0, 1]", "1j", str(uuid.UUID(int=0)))
        assert back["mixed"].to_list() == ["1", "x", None]
        assert len(meta["notes"]) == 5
        assert "column 'mixed' holds values of several kinds" in meta["notes"][0]

    def test_kinds_that_have_one(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({
            "category": pd.Categorical(["a", "b"]),
            "number": pd.Categorical([1, 2]),
            "text": pd.array(["", pd.NA], dtype="string"),
            "nullable": pd.array([1, None], dtype="Int64"),
            "when": pd.date_range("2024", periods=2, tz="Europe/Berlin"),
            "lasting": pd.to_timedelta([1, 2], unit="s"),
            "money": [decimal.Decimal("1.50")] * 2,
            "lists": [[1, 2], None],
            "sparse": pd.arrays.SparseArray([0, 1]),
        })  # fmt: skip
        meta, back = written(frame, tmp_path)
        assert types(meta) == [
            "text", "integer", "text", "integer", "datetime_tz", "duration", "decimal", "list", "integer",
        ]  # fmt: skip
        assert back["text"].to_list() == ["", None]
        assert back["nullable"].to_list() == [1, None]
        assert back["money"].to_list() == [decimal.Decimal("1.50")] * 2
        assert meta["notes"] == []

    def test_without_pyarrow(self, tmp_path: Path) -> None:
        """CSV with types; in a process that can't find pyarrow."""
        script = """
            import json, sys
            from importlib.machinery import PathFinder

            class Without(PathFinder):
                @classmethod
                def find_spec(cls, name, path=None, target=None):
                    return None if name.partition(".")[0] == "pyarrow" else super().find_spec(name, path, target)

            sys.meta_path[sys.meta_path.index(PathFinder)] = Without
            import pandas as pd
            from bursty.runtime.tables import write_table

            frame = pd.DataFrame({"s": ["", None], "f": [0.5, None], "i": pd.array([1, None], dtype="Int64"),
                "t": [pd.Timestamp("2024-01-01"), pd.NaT], "z": pd.date_range("2024", periods=2, tz="UTC"),
                "c": pd.Categorical(["a", "b"]), "d": pd.to_timedelta([1, 2], unit="s"), "b": [True, False]})
            print(json.dumps(write_table(frame, sys.argv[1], "t")))
        """
        meta = json.loads(run_python(script, str(tmp_path)))
        assert meta["format"] == "csv"
        assert types(meta) == ["text", "number", "integer", "datetime", "datetime_tz", "text", "duration", "boolean"]
        back = pl.read_parquet(convert_to(tmp_path, meta, "parquet"))
        assert back.rows() == [
            ("", 0.5, 1, naive(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=UTC), "a", dt.timedelta(0, 1), True),
            (None, None, None, None, dt.datetime(2024, 1, 2, tzinfo=UTC), "b", dt.timedelta(0, 2), False),
        ]


class TestPlainPython:
    def test_values_come_back_with_their_types(self, tmp_path: Path) -> None:
        meta, back = written([KINDS, {}], tmp_path)
        assert types(meta) == [
            "integer", "number", "boolean", "text", "date", "datetime", "datetime_tz", "time", "duration", "binary",
            "list", "record", "integer", "integer",
        ]  # fmt: skip
        assert back.row(0, named=True) == KINDS | {"l": "[1, 2]", "r": '{"a": 1}'}
        assert set(back.row(1)) == {None}

    def test_scalars_of_numpy_and_pandas(self, tmp_path: Path) -> None:
        row = {
            "i": np.int64(3), "f": np.float32(1.5), "b": np.bool_(True), "t": np.datetime64("2024-01-01T01:00", "ns"),
            "p": pd.Timestamp("2024-01-01", tz="UTC"), "n": pd.NaT,
        }  # fmt: skip
        meta, back = written([row, row], tmp_path)
        assert types(meta) == ["integer", "number", "boolean", "datetime", "datetime_tz", "empty"]
        assert back.row(1) == (3, 1.5, True, naive(2024, 1, 1, 1), dt.datetime(2024, 1, 1, tzinfo=UTC), None)

    def test_arrays_of_times_in_nanoseconds(self, tmp_path: Path) -> None:
        columns = {"t": np.array(["2024-01-01", "NaT"], "M8[ns]"), "d": np.array([1, 2], "m8[ns]") * 1000}
        assert written(columns, tmp_path)[1].rows() == [
            (naive(2024, 1, 1), dt.timedelta(microseconds=1)),
            (None, dt.timedelta(microseconds=2)),
        ]

    @pytest.mark.parametrize(
        ("values", "word", "back"),
        [
            ([1, 2.5], "number", [1.0, 2.5]),
            ([1, decimal.Decimal("2.5")], "decimal", [1.0, 2.5]),
            ([1, "x"], "text", ["1", "x"]),
            ([True, 1], "text", ["true", "1"]),
            ([2**63, 1], "text", [str(2**63), "1"]),
            ([-(2**63), None], "integer", [-(2**63), None]),
            ([dt.date(2024, 1, 1), naive(2024, 1, 1)], "text", ["2024-01-01", "2024-01-01T00:00:00"]),
            ([float("inf"), -1e300], "number", [float("inf"), -1e300]),
            ([None, None], "empty", [None, None]),
            ([[1], {"a": 1}], "text", ["[1]", '{"a": 1}']),
            (["", None], "text", ["", None]),
        ],
    )
    def test_the_type_that_holds_all(self, values: list[Any], word: str, back: list[Any], tmp_path: Path) -> None:
        meta, frame = written({"a": values}, tmp_path)
        assert (types(meta), frame["a"].to_list()) == ([word], back)

    TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)

    @given(st.lists(st.tuples(st.none() | TEXTS, st.none() | st.integers(-(2**63), 2**63 - 1)), min_size=1))
    def test_any_text_comes_back(self, tmp_path_factory: Any, rows: list[tuple[Any, ...]]) -> None:
        folder = tmp_path_factory.mktemp("any")
        frame = written([{"a": text, "b, \"'": number} for text, number in rows], folder)[1]
        assert frame.rows() == rows


class TestNames:
    @given(st.lists(st.text(max_size=3) | st.integers(0, 3) | st.none() | st.tuples(st.text(max_size=2)), max_size=8))
    def test_each_is_text_and_there_once(self, labels: list[Any]) -> None:
        notes: list[str] = []
        names = unique_names(labels, notes)
        assert len(set(names)) == len(names) == len(labels)
        assert all(isinstance(name, str) and name for name in names)
        if len(set(map(str, labels))) == len(labels) and all(isinstance(label, str) and label for label in labels):
            assert (names, notes) == ([label.encode("utf-8", "replace").decode() for label in labels], notes)

    @pytest.mark.parametrize(
        ("dtype", "word"),
        [
            (pa.int8(), "integer"), (pl.UInt64(), "integer"), (pa.float16(), "number"), (pl.Float32(), "number"),
            (pa.decimal128(5, 2), "decimal"), (pa.bool_(), "boolean"), (pa.large_string(), "text"),
            (pl.Enum(["a"]), "text"), (pl.Date(), "date"), (pa.date32(), "date"), (pa.time32("s"), "time"),
            (pl.Time(), "time"), (pa.timestamp("us"), "datetime"), (pl.Datetime("ns"), "datetime"),
            (pa.timestamp("us", "UTC"), "datetime_tz"), (pl.Datetime("us", "UTC"), "datetime_tz"),
            (pa.duration("s"), "duration"), (pl.Duration(), "duration"), (pa.binary(3), "binary"),
            (pa.dictionary(pa.int8(), pa.string()), "text"), (pa.dictionary(pa.int8(), pa.int64()), "integer"),
            (pa.list_(pa.int8()), "list"), (pl.Array(pl.Int8, 2), "list"), (pl.Struct({"a": pl.Int8}), "record"),
            (pa.map_(pa.string(), pa.int8()), "record"), (pl.Null(), "empty"), (pa.null(), "empty"),
        ],
    )  # fmt: skip
    def test_words_for_types(self, dtype: object, word: str) -> None:
        assert type_word(dtype) == word
