"""Stores of predictions: the suite on each, and what is special about the SQL ones."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bursty import wiring
from bursty.changes import EventDraft
from bursty.endpoints import Label
from bursty.errors import ConfigError, StoreError
from bursty.records import RunQuery
from bursty.stores.predictions import MemoryPredictions
from bursty.stores.predictions_sql import JUDGED, NEWEST_FIRST, OLDEST_FIRST, SqlPredictions
from bursty.stores.sql import SqlState
from conformance.predictionstore import PredictionStoreSuite, ids, made
from conformance.statestore_tools import make
from postgres import Postgres
from test_blobs import run_python, small_disk

Open = Callable[[], SqlPredictions]


class TestMemory(PredictionStoreSuite):
    @pytest.fixture
    def store(self) -> MemoryPredictions:
        return MemoryPredictions()

    @pytest.fixture
    def open_again(self, store: MemoryPredictions) -> Callable[[], MemoryPredictions]:
        return lambda: store


def opener(url: str) -> Iterator[Open]:
    opened: list[SqlPredictions] = []

    def open_again() -> SqlPredictions:
        opened.append(SqlPredictions(url))
        return opened[-1]

    yield open_again
    for other in opened:
        other.close()


class TestSqlite(PredictionStoreSuite):
    @pytest.fixture
    def open_again(self, tmp_path: Path) -> Iterator[Open]:
        yield from opener(f"sqlite:///{tmp_path}/state.sqlite")

    @pytest.fixture
    def store(self, open_again: Open) -> SqlPredictions:
        return open_again()


@pytest.fixture(scope="module")
def template(postgres: Postgres) -> str:
    """The name of a database that has the tables, to be copied."""
    return postgres.template(lambda url: SqlPredictions(url).close())


@pytest.fixture
def postgres_url(postgres: Postgres, template: str) -> Iterator[str]:
    yield from postgres.copies(template)


class TestPostgres(PredictionStoreSuite):
    @pytest.fixture
    def open_again(self, postgres_url: str) -> Iterator[Open]:
        yield from opener(postgres_url)

    @pytest.fixture
    def store(self, open_again: Open) -> SqlPredictions:
        return open_again()


def test_runs_and_predictions_in_one_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite"
    with contextlib.closing(SqlState(url)) as state, contextlib.closing(SqlPredictions(url)) as store:

        def write_runs(_: int) -> None:
            for number in range(100):
                state.submit(make(f"{number}"), EventDraft("submitted", "ann"))

        def write_predictions(part: int) -> None:
            for batch in range(10):
                store.write([made(f"{part}/{batch}/{number}", input="x" * 500) for number in range(500)])

        with ThreadPoolExecutor(3) as pool:
            done = [pool.submit(write_runs, 0), *(pool.submit(write_predictions, part) for part in range(2))]
            for each in done:
                each.result()
        assert len(state.find(RunQuery(limit=1000))) == 100
        assert store.count("rank").predictions == 10_000


def test_a_file_of_an_older_bursty_gets_the_tables(tmp_path: Path) -> None:
    """One that has runs, and no predictions yet."""
    path = tmp_path / "state.sqlite"
    with contextlib.closing(SqlState(f"sqlite:///{path}")) as state:
        state.submit(make("1"), EventDraft("submitted", "ann"))
    with contextlib.closing(sqlite3.connect(path)) as raw:
        for table in ("bursty_prediction", "bursty_prediction_input", "bursty_label"):
            raw.execute(f"DROP TABLE {table}")
        raw.execute("UPDATE bursty_schema SET version_num = '0001'")
        raw.commit()
    with contextlib.closing(SqlPredictions(f"sqlite:///{path}")) as store:
        assert store.write([made("a")]) == 1
    with contextlib.closing(SqlState(f"sqlite:///{path}")) as state:
        assert state.get("1") is not None


def test_processes_that_open_a_new_file_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite"
    code = """
        import sys
        from bursty.endpoints import Prediction
        from bursty.stores.predictions_sql import SqlPredictions
        store = SqlPredictions(sys.argv[1])
        for batch in range(5):
            store.write([Prediction(f"{sys.argv[2]}/{batch}/{n}", 1, "rank", "v") for n in range(100)])
    """
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda number: run_python(code, url, number), range(4)))
    assert [(process.returncode, process.stderr) for process in done] == [(0, "")] * 4
    with contextlib.closing(SqlPredictions(url)) as store:
        assert store.count("rank").predictions == 2000


def test_a_full_disk_loses_no_more_than_it_says(tmp_path: Path) -> None:
    with small_disk(tmp_path):
        store = SqlPredictions(f"sqlite:///{tmp_path}/state.sqlite")
        store.write([made("before")])
        filler = tmp_path / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        batch = [made(f"{number:03}", input="x" * 10_000) for number in range(50)]
        with pytest.raises(StoreError, match=r"full|disk I/O"):
            store.write(batch)
        assert store.count("rank").predictions == 1, "all of a batch or nothing"
        filler.unlink()
        assert store.write(batch) == 50
        store.close()


def test_lists_and_walks_go_by_the_index(tmp_path: Path) -> None:
    """No statement sorts, or looks at all predictions."""
    path = tmp_path / "state.sqlite"
    with contextlib.closing(SqlPredictions(f"sqlite:///{path}")) as store:
        store.write([made(f"{number}", number, matched="user=1") for number in range(100)])
        store.label([Label("5", 1, 1.0)])
        assert len(ids(store.list("rank").items)) == 100
    binds = {"endpoint": "rank", "since": 0, "until": 10, "at": 5, "id": "", "limit": 10, "ids": "user=1"}
    base = JUDGED.format(input="NULL", join="", how="LEFT")
    by_key = " WHERE p.endpoint = :endpoint AND p.ts_ms >= :since AND p.matched = :ids ORDER BY p.ts_ms DESC LIMIT 9"
    with contextlib.closing(sqlite3.connect(path)) as raw:
        for rest, index in (
            (NEWEST_FIRST, "bursty_prediction_time"),
            (OLDEST_FIRST, "bursty_prediction_time"),
            (by_key, "bursty_prediction_matched"),
        ):
            plan = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {base}{rest}", binds)]
            assert any(f"SEARCH p USING INDEX {index}" in step for step in plan), plan
            assert not any("TEMP B-TREE" in step or "SCAN" in step for step in plan), plan


def test_urls(tmp_path: Path) -> None:
    for url, kind in (("memory://", MemoryPredictions), (f"sqlite:///{tmp_path}/a.sqlite", SqlPredictions)):
        store = wiring.open_predictions(url)
        assert (type(store), store.url) == (kind, url)
        store.close()
    with pytest.raises(ConfigError, match="dynamodb") as caught:
        wiring.open_predictions("dynamodb://table")
    assert "BURSTY_PREDICTIONS" in caught.value.hint
