"""The prediction log: what becomes of answers, when the store fails, when there are too many, and at the end."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursty.core.answers import pack_request
from bursty.core.matched import matched
from bursty.endpoints import AnswerKind, Log, Prediction
from bursty.errors import StoreError
from bursty.serving.predictions import OVERHEAD, UNREADABLE, Logged, PredictionWriter, rows_of
from bursty.stores.predictions import MemoryPredictions
from bursty.stores.predictions_sql import SqlPredictions
from conformance.cache import await_that

PATIENT = 60.0
ROW = [0.7, 0.5, "yes", "user=7", None, {"user": 7}]


class ScriptedStore(MemoryPredictions):
    """Fails so many times, and writes only while it ``goes``."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.failures = failures
        self.sizes: list[int] = []
        self.goes = threading.Event()
        self.goes.set()

    def write(self, predictions: Sequence[Prediction]) -> int:
        assert self.goes.wait(PATIENT)
        if self.failures:
            self.failures -= 1
            raise StoreError("the disk is full")
        self.sizes.append(len(predictions))
        return super().write(predictions)


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
def writer(store: ScriptedStore) -> Iterator[PredictionWriter]:
    writer = PredictionWriter(store)
    yield writer
    store.goes.set()
    writer.close()


def log_of(*rows: Any) -> bytes:
    return json.dumps(rows).encode()


def add(writer: PredictionWriter, name: str, **more: Any) -> None:
    if "request" not in more:
        more.setdefault("log", log_of(ROW))
    writer.add("rank", Log(), name, 1000, "v1+knn@3", 4.5, AnswerKind.FRESH, **more)


def logged(rules: Log | None = None, **more: Any) -> Sequence[Prediction]:
    given: dict[str, Any] = {"log": None, "request": None, "items": None, "first": 0, "error": None, **more}
    return rows_of(Logged("rank", rules or Log(), "r", 1000, "v1", 4.5, AnswerKind.DEFAULT, **given))


# From answers to rows


def test_a_workers_log_becomes_a_row(store: ScriptedStore, writer: PredictionWriter) -> None:
    add(writer, "a")
    assert writer.flush(PATIENT)
    assert [item.prediction for item in store.find(["a"])] == [
        Prediction(
            "a", 1000, "rank", "v1+knn@3", 0.7, 0.5, '"yes"', "user=7", 4.5, AnswerKind.FRESH, None, '{"user": 7}'
        )
    ]


def test_items_of_a_list_have_rows_of_their_own() -> None:
    log = log_of(ROW, [None, None, None, None, "too old", None], [1, None, {"a": [1.0, None]}, None, None, [1]])
    rows = logged(log=log, items=3, first=2000)
    assert [(row.id, row.score, row.decision, row.error, row.input) for row in rows] == [
        ("r/2000", 0.7, '"yes"', None, '{"user": 7}'),
        ("r/2001", None, None, "too old", None),
        ("r/2002", 1.0, '{"a": [1.0, null]}', None, "[1]"),
    ]
    assert [row.id for row in logged(log=log_of(ROW), items=1)] == ["r/0"]
    assert [row.id for row in logged(log=log_of(ROW))] == ["r"]


def test_a_list_without_items_leaves_a_trace() -> None:
    for rows in (logged(log=b"[]", items=0), logged(request=pack_request(b"", b"[]"), items=0)):
        assert [(row.id, row.endpoint) for row in rows] == [("r", "rank")]


@pytest.mark.parametrize("log", [b"{", b"[[1]]", b'[["x",null,null,null,null,null]]', b"[[1e999,null,1,null,null,1]]"])
def test_a_log_that_can_not_be_read_is_no_loss(log: bytes) -> None:
    assert [(row.id, row.error) for row in logged(log=log)] == [("r", UNREADABLE)]


def test_fallbacks_are_logged_with_what_was_asked() -> None:
    rules = Log(redact=("ssn",), key=("user", "day"))
    body = b'{"user": 7, "ssn": "123", "more": [{"ssn": 1, "x": null}]}'
    (row,) = logged(rules, request=pack_request(b"day=1%2F2&ssn=9", body), error="late")
    assert row.input is not None
    assert json.loads(row.input) == {"day": "1/2", "user": 7, "more": [{"x": None}]}
    assert (row.id, row.score, row.matched, row.error) == ("r", None, "day=1/2&user=7", "late")
    assert row.matched == matched({"user": 7.0, "day": "1/2"})


def test_items_of_fallbacks_are_logged_one_by_one() -> None:
    body = json.dumps([{"user": number, "ssn": 1} for number in range(5)]).encode()
    rows = logged(Log(redact=("ssn",), key=("user",)), request=pack_request(b"", body), items=2, first=3)
    assert [(row.id, row.input, row.matched) for row in rows] == [
        ("r/3", '{"user":3}', "user=3"),
        ("r/4", '{"user":4}', "user=4"),
    ]


@pytest.mark.parametrize(
    ("request_bytes", "found"),
    [
        (pack_request(b"", b""), None),
        (pack_request(b"", b"{"), None),
        (pack_request(b"", b"\xff"), None),
        (pack_request(b"", b"[" * 100_000), None),
        (pack_request(b"a=%FF", b""), '{"a":"�"}'),
        (pack_request(b"a=1", b"[1]"), "[1]"),
        (pack_request(b"", b"1.50"), "1.5"),
        (b"W", None),
    ],
)
def test_requests_of_any_kind(request_bytes: bytes, found: str | None) -> None:
    (row,) = logged(request=request_bytes)
    assert row.input == found


def test_inputs_that_shall_not_be_kept() -> None:
    rules = Log(inputs=False, key=("user",))
    (row,) = logged(rules, request=pack_request(b"", b'{"user": 7, "name": "x"}'))
    assert (row.input, row.matched) == (None, "user=7")


# Business keys


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"b": 1, "a": "x y"}, "a=x y&b=1"),
        ({"a": 7.0}, "a=7"),
        ({"a": "7"}, "a=7"),
        ({"a": 0.1}, "a=0.1"),
        ({"a": True}, "a=true"),
        ({"a": "x&b=1%"}, "a=x%26b%3D1%25"),
        ({"é": "日\n"}, "é=日%0A"),
        ({"a": [1, {"b": None}]}, "a=%5B1,%7B%22b%22:null%7D%5D"),
        ({"a": None, "b": 1}, None),
        ({"a": ""}, None),
        ({}, None),
    ],
)
def test_business_keys(fields: dict[str, Any], text: str | None) -> None:
    assert matched(fields) == text


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=3)


@given(*[st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=3)] * 2)
def test_different_keys_have_different_texts(one: dict[str, str], other: dict[str, str]) -> None:
    assert (matched(one) == matched(other)) == (one == other)


def test_long_keys_are_told_apart_and_fit_into_an_index() -> None:
    keys = {matched({"user": "\N{PILE OF POO}" * length + end}) for length in (100, 300, 5000) for end in "ab"}
    assert len(keys) == 6
    assert max(len(str(key).encode()) for key in keys) <= 1000


# Writing


def test_batches(store: ScriptedStore, writer: PredictionWriter) -> None:
    store.goes.clear()
    add(writer, "first")
    await_that(lambda: writer.counts.added == 1)
    for number in range(2500):
        add(writer, f"{number}", log=log_of(ROW, ROW), items=2)
    store.goes.set()
    assert writer.flush(PATIENT)
    assert max(store.sizes) == 1000
    assert len(store.sizes) <= 9
    counts = writer.counts
    assert (counts.added, counts.written, counts.rows, counts.waiting) == (2501, 2501, 5001, 0)
    assert store.count("rank").predictions == 5001


def test_an_answer_larger_than_a_batch(store: ScriptedStore, writer: PredictionWriter) -> None:
    add(writer, "large", log=log_of(*[ROW] * 2500), items=2500)
    assert writer.flush(PATIENT)
    assert store.sizes == [1000, 1000, 500]
    assert (writer.counts.written, writer.counts.rows) == (1, 2500)


def test_a_store_that_fails_and_recovers_loses_nothing() -> None:
    store = ScriptedStore(failures=3)
    writer = PredictionWriter(store)
    for number in range(100):
        add(writer, f"{number}")
    await_that(lambda: writer.problem != "" or not store.failures)
    assert writer.flush(PATIENT)
    assert writer.problem == ""
    assert (writer.counts.written, writer.counts.failures, writer.counts.dropped) == (100, 3, 0)
    assert store.count("rank").predictions == 100
    assert writer.close(PATIENT)


def test_no_error_of_a_store_ends_the_log_and_it_is_told_once() -> None:
    class Odd(MemoryPredictions):
        failures = 2

        def write(self, predictions: Sequence[Prediction]) -> int:
            self.failures -= 1
            if self.failures >= 0:
                raise OverflowError("too large to convert")
            return super().write(predictions)

    said: list[str] = []
    store = Odd()
    writer = PredictionWriter(store, say=said.append)
    add(writer, "a")
    assert writer.flush(PATIENT)
    assert writer.counts.failures == 2
    assert said == [
        "predictions can't be logged now, and wait: OverflowError: too large to convert",
        "predictions can be logged again",
    ]
    store.failures = 10**9
    add(writer, "b")
    assert not writer.close(0.5)
    assert said[-1] == "1 answers are not in the prediction log: OverflowError: too large to convert"


def test_what_is_too_much_is_dropped_and_counted(store: ScriptedStore) -> None:
    writer = PredictionWriter(store, max_bytes=10 * (OVERHEAD + 1000))
    store.goes.clear()
    for number in range(100):
        add(writer, f"{number:03}", log=None, request=bytes(1000))
    assert writer.counts.dropped == 90
    assert writer.counts.waiting == 10
    assert not writer.flush(0.01)
    store.goes.set()
    assert writer.flush(PATIENT)
    add(writer, "after", log=None, request=bytes(1000))
    assert writer.close(PATIENT)
    assert [item.prediction.id for item in store.list("rank").items] == [
        "after",
        *(f"{n:03}" for n in range(9, -1, -1)),
    ]
    counts = writer.counts
    assert (counts.added, counts.written, counts.dropped) == (101, 11, 90)


def test_after_the_end_everything_is_dropped(store: ScriptedStore) -> None:
    writer = PredictionWriter(store)
    assert writer.flush(PATIENT)
    assert writer.close(PATIENT)
    add(writer, "a")
    assert (writer.counts.added, writer.counts.dropped) == (1, 1)
    assert not store.find(["a"])


def test_an_end_while_the_store_fails_counts_what_is_lost() -> None:
    store = ScriptedStore(failures=10**9)
    writer = PredictionWriter(store)
    for number in range(7):
        add(writer, f"{number}")
    assert not writer.close(0.05)
    assert (writer.counts.dropped, writer.counts.waiting) == (7, 0)


def test_flush_waits_for_what_was_there_and_no_more(store: ScriptedStore, writer: PredictionWriter) -> None:
    stop = threading.Event()

    def add_more() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            add(writer, f"more/{number}")
            stop.wait(0.0005)

    thread = threading.Thread(target=add_more)
    thread.start()
    try:
        for number in range(5):
            add(writer, f"{number}")
            assert writer.flush(PATIENT)
            assert store.find([f"{number}"])
    finally:
        stop.set()
        thread.join()


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3000)), max_size=30),
    st.integers(0, 3),
    st.integers(1_000, 20_000),
)
def test_what_went_in_came_out_or_was_counted(answers: list[tuple[int, int]], failures: int, most: int) -> None:
    store = ScriptedStore(failures)
    writer = PredictionWriter(store, max_bytes=most)
    for number, (items, size) in enumerate(answers):
        add(writer, f"{number}", log=log_of(*[ROW] * items) + b" " * size, items=items)
    assert writer.close(PATIENT)
    counts = writer.counts
    assert (counts.added, counts.waiting) == (len(answers), 0)
    assert counts.written + counts.dropped == len(answers)
    assert store.count("rank").predictions == counts.rows
    assert (
        len({item.prediction.id.partition("/")[0] for item in store.list("rank", limit=1000).items}) == counts.written
    )


def test_a_locked_database_is_waited_for(tmp_path: Path) -> None:
    """Another process keeps the file locked for longer than a batch takes."""
    url = f"sqlite:///{tmp_path}/state.sqlite"
    store = SqlPredictions(url)
    code = """
        import sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        print("locked", flush=True)
        sys.stdin.read()
        connection.execute("ROLLBACK")
    """
    command = [sys.executable, "-c", textwrap.dedent(code), f"{tmp_path}/state.sqlite"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        writer = PredictionWriter(store)
        for number in range(100):
            add(writer, f"{number}")
        assert not writer.flush(0.05)
        other.communicate()
        assert writer.flush(PATIENT)
    assert writer.counts.dropped == 0
    assert store.count("rank").predictions == 100
    writer.close()
    store.close()


def test_what_a_killed_process_had_written_is_there(tmp_path: Path) -> None:
    """What was flushed is safe from kill -9; what only was added may be lost."""
    url = f"sqlite:///{tmp_path}/state.sqlite"
    code = """
        import sys, time
        from bursty.endpoints import AnswerKind, Log
        from bursty.serving.predictions import PredictionWriter
        from bursty.stores.predictions_sql import SqlPredictions
        writer = PredictionWriter(SqlPredictions(sys.argv[1]))
        for number in range(5000):
            writer.add("rank", Log(), f"{number}", 1, "v", 1.0, AnswerKind.FRESH, log=b'[[1,null,null,null,null,null]]')
            if number == 2999:
                assert writer.flush(60)
        print("flushed", flush=True)
        time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"flushed\n"
        os.kill(process.pid, signal.SIGKILL)
    store = SqlPredictions(url)
    assert 3000 <= store.count("rank").predictions <= 5000
    store.close()
