"""The state store on SQLite: the suite, and what can go wrong with a file."""

import contextlib
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from bursty.errors import ConfigError, StoreError
from bursty.records import RUN_FIELDS, RunQuery, RunStatus
from bursty.stores import sql_schema, sql_text
from bursty.stores.sql import SqlState
from conformance.statestore import StateStoreSuite
from conformance.statestore_tools import submit
from test_blobs import run_python, small_disk


class TestSqlite(StateStoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SqlState]:
        store = SqlState(f"sqlite:///{tmp_path}/state.sqlite")
        yield store
        store.close()

    @pytest.fixture
    def open_again(self, store: SqlState) -> Iterator[Callable[[], SqlState]]:
        opened: list[SqlState] = []

        def open_again() -> SqlState:
            opened.append(SqlState(store.url))
            return opened[-1]

        yield open_again
        for other in opened:
            other.close()


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def test_the_file_is_private_and_its_folder_too(tmp_path: Path) -> None:
    path = tmp_path / ".bursty" / "state.sqlite"
    store = SqlState(url_of(path))
    submit(store, "1")
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["state.sqlite", "state.sqlite-shm", "state.sqlite-wal"]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    store.close()


def test_a_relative_path_stays_the_same_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqlState("sqlite:///state 100%?.sqlite")
    assert store.url == url_of(folder / "state 100%?.sqlite")
    submit(store, "1")
    store.close()
    monkeypatch.chdir("/")
    assert store.get("1") is not None, "it is opened again when used after a close"
    again = SqlState(store.url)
    assert again.get("1") is not None
    for opened in (store, again):
        opened.close()


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite:///:memory:", "sqlite://", "mysql://host/db"])
def test_urls_that_name_no_file(url: str) -> None:
    with pytest.raises(ConfigError):
        SqlState(url)


def test_a_full_disk_and_then_room(tmp_path: Path) -> None:
    with small_disk(tmp_path):
        store = SqlState(url_of(tmp_path / "state.sqlite"))
        filler = tmp_path / "filler"
        filler.write_bytes(b"")
        run = submit(store, "1")
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(StoreError, match=r"full|disk I/O") as caught:
            fill(store)
        assert "Free some space" in caught.value.hint or "its disk is full" in caught.value.hint
        assert "x" * 100 not in str(caught.value)
        filler.unlink()
        assert store.get("1") == run
        submit(store, "after")
        store.close()


def fill(store: SqlState) -> None:
    for number in range(1000):
        submit(store, f"{number:04}", inputs="x" * 10_000)


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"no database at all " * 1000)
    with pytest.raises(StoreError, match="not a database") as caught:
        SqlState(url_of(path))
    assert str(path) in caught.value.message
    assert "Move it away" in caught.value.hint


def test_a_file_that_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    store = SqlState(url_of(path))
    for number in range(200):
        submit(store, f"{number}", inputs="x" * 1000)
    store.close()
    content = bytearray(path.read_bytes())
    content[8192:] = bytes(len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="malformed") as caught:
        SqlState(url_of(path)).find(RunQuery())
    assert "backup" in caught.value.hint


def test_what_may_not_be_written(tmp_path: Path) -> None:
    with small_disk(tmp_path):
        path = tmp_path / "state.sqlite"
        store = SqlState(url_of(path))
        submit(store, "1")
        store.close()
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        for opens, words in ((path, "can't be used"), (tmp_path / "new" / "state.sqlite", "can't be made")):
            with pytest.raises(StoreError, match=words) as caught:
                SqlState(url_of(opens))
            assert str(opens) in caught.value.message
            assert "rights" in caught.value.hint or "may write" in caught.value.hint


def test_a_file_of_a_newer_bursty(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    SqlState(url_of(path)).close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {sql_schema.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"newer bursty.*9999") as caught:
        SqlState(url_of(path))
    assert "Upgrade bursty" in caught.value.hint


def test_the_tables_are_what_the_code_thinks(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    SqlState(url_of(path)).close()
    migrations = Path(sql_schema.__file__).parent / "migrations"
    assert ScriptDirectory(str(migrations)).get_current_head() == sql_schema.VERSION == sql_schema.KNOWN[-1]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(bursty_runs)")]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert sorted(columns) == sorted(RUN_FIELDS)


def test_a_current_file_is_opened_without_alembic(tmp_path: Path) -> None:
    SqlState(url_of(tmp_path / "state.sqlite")).close()
    code = "import sys; from bursty.stores.sql import SqlState; SqlState(sys.argv[1]); print('alembic' in sys.modules)"
    done = run_python(code, url_of(tmp_path / "state.sqlite"))
    assert done.stdout == "False\n", done.stderr


PLANS = {
    "queue": "SELECT id, priority, not_before FROM bursty_runs WHERE status = 'queued' AND not_before <= :now "
    f"AND attempt < max_attempts AND {sql_text.OF_APP} ORDER BY {sql_text.BY_PRIORITY} LIMIT 1",
    "running": "SELECT id FROM bursty_runs WHERE status = 'running' AND lease_until <= :now",
    "final": f"SELECT id FROM bursty_runs WHERE status = 'lost' AND {sql_text.IS_FINAL} ORDER BY id DESC LIMIT 50",
    "queued": "SELECT id FROM bursty_runs WHERE status = 'queued' ORDER BY id DESC LIMIT 50",
    "ended": "SELECT id FROM bursty_runs WHERE app = :app AND job = :job AND status = 'failed' "
    f"AND {sql_text.IS_FINAL} ORDER BY id DESC LIMIT 50",
    **{
        name: f"SELECT id FROM bursty_runs WHERE {name} = :app ORDER BY id DESC LIMIT 50"
        for name in ("app", "job", "version", "created_by", "schedule", "inputs_hash")
    },
}


@pytest.mark.parametrize("index", PLANS)
def test_each_index_is_walked_without_sorting(tmp_path: Path, index: str) -> None:
    path = tmp_path / "state.sqlite"
    SqlState(url_of(path)).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {PLANS[index]}", {"now": 1.0, "app": "a", "job": "j"}).fetchall()
    words = " ".join(row[-1] for row in plan)
    assert f"INDEX bursty_runs_{index}" in words
    assert "TEMP B-TREE" not in words


FAILED, SUCCEEDED, QUEUED = RunStatus.FAILED, RunStatus.SUCCEEDED, RunStatus.QUEUED
WALKS = [
    (RunQuery(app="a", status=FAILED), "final"),
    (RunQuery(app="a", job="j", status=FAILED), "ended"),
    (RunQuery(app="a", job="j", status=SUCCEEDED), "ended"),
    (RunQuery(app="a", status=SUCCEEDED), "app"),
    (RunQuery(app="a", job="j", status=QUEUED), "queued"),
    (RunQuery(app="a", job="j"), "job"),
    (RunQuery(app="a", job="j", created_by="u", status=SUCCEEDED), "created_by"),
    (RunQuery(app="a", created_by="u", schedule="s", status=FAILED), "final"),
    (RunQuery(app="a", job="j", version="v", created_by="u"), "version"),
    (RunQuery(app="a", inputs_hash="h", status=FAILED, before="r"), "inputs_hash"),
]


@pytest.mark.parametrize(("query", "index"), WALKS)
def test_a_list_walks_the_index_of_what_few_runs_have_in_common(tmp_path: Path, query: RunQuery, index: str) -> None:
    SqlState(url_of(tmp_path / "state.sqlite")).close()
    binds = sql_text.Binds()
    text = sql_text.select_runs(query, binds, hide="+")
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {text}", binds).fetchall()
    assert f"INDEX bursty_runs_{index} " in " ".join(f"{row[-1]} " for row in plan)


def test_processes_that_open_a_new_file_at_once(tmp_path: Path) -> None:
    code = """
        import sys
        from bursty.changes import EventDraft
        from bursty.records import RunRecord
        from bursty.stores.sql import SqlState
        store = SqlState(sys.argv[1])
        for number in range(25):
            store.submit(RunRecord(f"{sys.argv[2]}-{number}", "app", "job", "v"), EventDraft("submitted", "ann"))
            store.claim(sys.argv[2], 60, 1)
    """
    url = url_of(tmp_path / "state.sqlite")
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda number: run_python(code, url, number), range(6)))
    assert [(process.returncode, process.stderr) for process in done] == [(0, "")] * 6
    store = SqlState(url)
    runs = store.find(RunQuery(limit=1000))
    assert len(runs) == 150
    assert {(run.status, run.attempt) for run in runs} == {("running", 1)}
    store.close()


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    code = """
        import itertools, sys
        from bursty.changes import EventDraft
        from bursty.records import RunRecord
        from bursty.stores.sql import SqlState
        store = SqlState(sys.argv[1])
        for number in itertools.count():
            store.submit(RunRecord(f"{number:06}", "app", "job", "v"), EventDraft("submitted", "ann"))
            print(number, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), url_of(tmp_path / "state.sqlite")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(30):
            process.stdout.readline()
        process.kill()
        said = 30 + len(process.stdout.read().split())
    store = SqlState(url_of(tmp_path / "state.sqlite"))
    kept = [run.id for run in reversed(store.find(RunQuery(limit=100_000)))]
    assert kept[:said] == [f"{number:06}" for number in range(said)]
    assert [len(store.events(name)) for name in kept] == [1] * len(kept)
    store.close()


def test_a_forked_process_has_connections_of_its_own(tmp_path: Path) -> None:
    code = """
        import os, sys
        from bursty.changes import EventDraft
        from bursty.records import RunRecord, RunQuery
        from bursty.stores.sql import SqlState
        store = SqlState(sys.argv[1])
        def submit(name):
            store.submit(RunRecord(name, "app", "job", "v"), EventDraft("submitted", "ann"))
        submit("1")
        store.wait(0)
        child = os.fork()
        if child == 0:
            submit("2")
            store.wait(0)
            os._exit(len(store.claim("child", 60, 1)))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        submit("3")
        print([run.id for run in store.find(RunQuery())], len(store.claim("parent", 60, 5)))
    """
    done = run_python(code, url_of(tmp_path / "state.sqlite"))
    assert done.stdout == "['3', '2', '1'] 2\n", done.stderr
