"""The state store on PostgreSQL: the suite, on a real server, and what can go wrong with one."""

import contextlib
import itertools
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from bursty.changes import EventDraft
from bursty.core import runstate
from bursty.core.runstate import Ending
from bursty.errors import ConfigError, StoreError
from bursty.records import OutboxDraft, RunQuery
from bursty.stores import sql_postgres, sql_rows, sql_text
from bursty.stores.sql import SqlState
from bursty.stores.sql_text import Binds
from conformance.statestore import StateStoreSuite, Waiter
from conformance.statestore_tools import FUTURE, make, submit
from postgres import Postgres, run_postgres
from test_blobs import run_python


def await_that(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A server that tests may stop."""
    yield from run_postgres()


@pytest.fixture(scope="module")
def template(postgres: Postgres) -> str:
    """The name of a database that has the tables, to be copied."""
    return postgres.template(lambda url: SqlState(url).close())


@pytest.fixture
def url(postgres: Postgres, template: str) -> Iterator[str]:
    yield from postgres.copies(template)


class TestPostgres(StateStoreSuite):
    @pytest.fixture
    def store(self, url: str) -> Iterator[SqlState]:
        store = SqlState(url)
        yield store
        store.close()

    @pytest.fixture
    def open_again(self, url: str) -> Iterator[Callable[[], SqlState]]:
        opened: list[SqlState] = []

        def open_again() -> SqlState:
            opened.append(SqlState(url))
            return opened[-1]

        yield open_again
        for other in opened:
            other.close()


@pytest.fixture
def store(url: str) -> Iterator[SqlState]:
    store = SqlState(url)
    yield store
    store.close()


def test_processes_that_open_a_new_database_at_once(postgres: Postgres) -> None:
    url = postgres.database()
    code = """
        import sys
        from bursty.changes import EventDraft
        from bursty.records import RunRecord
        from bursty.stores.sql import SqlState
        store = SqlState(sys.argv[1])
        for number in range(10):
            store.submit(RunRecord(f"{sys.argv[2]}-{number}", "app", "job", "v"), EventDraft("submitted", "ann"))
            store.claim(sys.argv[2], 60, 1)
    """
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda number: run_python(code, url, number), range(4)))
    assert [(process.returncode, process.stderr) for process in done] == [(0, "")] * 4
    with contextlib.closing(SqlState(url)) as store:
        store.claim("last", FUTURE, 40)  # what others held locked for a moment was passed over
        assert {(run.status, run.attempt) for run in store.find(RunQuery(limit=100))} == {("running", 1)}
    postgres.drop(url)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_server_that_restarts_under_work(own_postgres: Postgres, how: signal.Signals) -> None:
    """Every run that was said to be submitted is there, once, and every outcome that was recorded."""
    url = own_postgres.database()
    store, other = SqlState(url), SqlState(url)
    submitted: list[str] = []
    finished: list[str] = []
    stop, through = threading.Event(), threading.Event()

    def submit_all() -> None:
        for number in itertools.count():
            if stop.is_set():
                through.set()
                return
            submitted.append(store.submit(make(f"{number:06}"), EventDraft("submitted", "ann"))[0].id)

    def finish_all() -> None:
        while not through.is_set() or other.pending().due:
            for run in other.claim("w", FUTURE, 5):
                other.change(runstate.finish(run, Ending("succeeded"), [OutboxDraft("notice")]))
                finished.append(run.id)

    with ThreadPoolExecutor(2) as pool:
        work = [pool.submit(submit_all), pool.submit(finish_all)]
        for _ in range(2):
            seen = len(submitted), len(finished)
            await_that(lambda seen=seen: len(submitted) > seen[0] + 20 and len(finished) > seen[1] + 20)
            own_postgres.restart(how)
        seen = len(submitted), len(finished)
        await_that(lambda seen=seen: len(submitted) > seen[0] + 20 and len(finished) > seen[1] + 20)
        stop.set()
        for one in work:
            one.result(60)
    runs = {run.id: run for run in store.find(RunQuery(limit=100_000))}
    assert sorted(runs) == sorted(submitted)
    assert {runs[name].status for name in finished} == {"succeeded"}
    # A claim whose answer was lost is nobody's until its lease ends; a finish whose answer was lost is there.
    assert {run.status for run in runs.values()} <= {"succeeded", "running"}
    for run in runs.values():
        kinds = [event.kind for event in store.events(run.id)]
        assert kinds == ["submitted", "started", "succeeded"][: run.seq]
        assert len(store.outbox(run.id)) == (run.status == "succeeded")
    store.close()
    other.close()


def test_waiting_goes_on_after_a_restart(own_postgres: Postgres) -> None:
    url = own_postgres.database()
    store, other = SqlState(url), SqlState(url)
    waiter = Waiter(store, until=lambda: bool(store.claim("w", FUTURE, 1)))
    own_postgres.restart(signal.SIGQUIT)
    submit(other, "1")
    waiter.ends()
    store.close()
    other.close()


def test_a_lost_connection_is_made_again(postgres: Postgres, store: SqlState) -> None:
    submit(store, "1")
    name = store.url.rpartition("/")[2]
    postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    assert store.get("1") is not None
    submit(store, "2")


def test_a_server_that_is_gone(own_postgres: Postgres) -> None:
    url = own_postgres.database()
    store = SqlState(url, patience=0.5)
    own_postgres.stop()
    for use in (lambda: store.get("1"), lambda: submit(store, "1"), lambda: SqlState(url, patience=0.5)):
        with pytest.raises(StoreError, match="refused") as caught:
            use()
        assert "See that the server runs" in caught.value.hint
    own_postgres.start()
    submit(store, "1")
    store.close()


def test_what_will_not_change_fails_at_once(postgres: Postgres) -> None:
    for url, words in (
        (postgres.url("none"), 'database "none" does not exist'),
        (postgres.url("postgres").replace("postgres@", "nobody:secret@"), 'role "nobody" does not exist'),
    ):
        with pytest.raises(StoreError, match=words) as caught:
            SqlState(url, patience=10_000)
        assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_passwords_are_not_shown(postgres: Postgres, url: str) -> None:
    secret = "p%40ss/w%3Aord"
    store = SqlState(url.replace("postgres@", f"postgres:{secret}@") + "?application_name=mine&password=hidden")
    submit(store, "1")
    assert store.url == url + "?application_name=mine"
    assert "ord" not in repr(store)
    store.close()
    with pytest.raises(ConfigError) as caught:
        SqlState(f"postgresql://user:{secret}@host:port/db")
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_other_spellings(url: str) -> None:
    for scheme in ("postgres", "postgresql+psycopg"):
        with contextlib.closing(SqlState(url.replace("postgresql", scheme, 1))) as store:
            assert store.url == url


def test_a_database_of_a_newer_bursty(postgres: Postgres, url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE bursty_schema SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"newer bursty.*9999"):
        SqlState(url, patience=10_000)


def test_tables_of_others_are_left_alone(postgres: Postgres) -> None:
    url = postgres.database()
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE TABLE runs (x int); CREATE TABLE label (x int); CREATE TABLE alembic_version (version_num text)"
        )
    SqlState(url).close()
    with psycopg.connect(url) as connection:
        names = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    assert sorted(names) == [
        "alembic_version", "bursty_documents", "bursty_events", "bursty_label", "bursty_outbox", "bursty_prediction",
        "bursty_prediction_input", "bursty_runs", "bursty_schema", "label", "runs",
    ]  # fmt: skip
    postgres.drop(url)


def test_a_forked_process_has_connections_of_its_own(url: str) -> None:
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
            claimed = len(store.claim("child", 60, 1))
            del store
            os._exit(claimed)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        submit("3")
        print([run.id for run in store.find(RunQuery())], len(store.claim("parent", 60, 5)))
    """
    done = run_python(code, url)
    assert done.stdout == "['3', '2', '1'] 2\n", done.stderr


QUEUED = {
    "id": "'x' || number", "app": "'app'", "job": "'job'", "version": "'v'", "inputs": "'{}'", "inputs_hash": "''",
    "status": "'queued'", "attempt": "0", "failures": "0", "max_attempts": "3", "retries": "0",
    "priority": "number % 3", "not_before": "number", "cancel_requested": "false", "created_by": "''",
    "created_at": "number", "seq": "1",
}  # fmt: skip


@pytest.mark.parametrize("analyzed", [False, True])
def test_a_claim_walks_the_queue_whatever_is_known_of_it(store: SqlState, url: str, analyzed: bool) -> None:
    """Also of a queue that was empty when the server last looked."""
    with psycopg.connect(url, options="-c enable_bitmapscan=off", autocommit=True) as connection:
        if analyzed:
            connection.execute("ANALYZE bursty_runs")
        connection.execute(
            f"INSERT INTO bursty_runs ({', '.join(QUEUED)}) "
            f"SELECT {', '.join(QUEUED.values())} FROM generate_series(1, 5000) AS number"
        )
        binds = Binds(app="app", limit=1)
        change = runstate.claim("w", 60.0)
        text = sql_text.select_due(change, sql_postgres.NOW, "app", "FOR UPDATE SKIP LOCKED", binds)
        rows = connection.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {sql_rows.pyformat(text)}", binds).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert "Index Scan using bursty_runs_queue on bursty_runs " in plan
    assert "rows=5000" not in plan, plan
