"""``POST /labels``: what is taken, and what is said of what is not."""

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bursty.endpoints import Label, Prediction
from bursty.serving import labels as module
from bursty.serving import labels_read
from bursty.serving.labels import LabelReport, LabelsRefused, take_labels
from bursty.stores.predictions import MemoryPredictions
from bursty.stores.predictions_sql import SqlPredictions

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC).timestamp()
NOW_MS = int(NOW * 1000)
KEYS = {"rank": ("user", "day"), "plain": ()}


@pytest.fixture
def store() -> MemoryPredictions:
    store = MemoryPredictions()
    store.write(
        [
            Prediction("a", 1000, "rank", "v", matched="day=mon&user=7"),
            Prediction("b", 1001, "rank", "v", matched="day=mon&user=7"),
            Prediction("c", 1002, "rank", "v", matched="day=tue&user=7"),
        ]
    )
    return store


def take(store: Any, body: Any, kind: str = "application/json", now: float = NOW, **more: Any) -> LabelReport:
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return take_labels(store, kind, data, now, **more)


def newest(store: MemoryPredictions, name: str) -> Label | None:
    (found,) = store.find([name])
    return found.label


def label(y: float = 1.0, ts_ms: int = NOW_MS, name: str = "a", source: str = "") -> Label:
    return Label(name, ts_ms, y, source)


# JSON


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "", "a/b+json"]
)
def test_one_label(store: MemoryPredictions, kind: str) -> None:
    report = take(store, {"prediction_id": "a", "y": 0.5, "ts": 1_790_000_000_000, "source": "ann", "note": "?"}, kind)
    assert report.as_json() == {"accepted": 1, "unknown": 0, "failed": 0, "errors": []}
    assert newest(store, "a") == label(0.5, 1_790_000_000_000, source="ann")


@pytest.mark.parametrize(
    ("y", "number"),
    [(1, 1), (0, 0), (-2.5, -2.5), (True, 1), (False, 0), ("yes", 1), ("No", 0), (" TRUE ", 1), ("false", 0),
     ("0.25", 0.25)],
)  # fmt: skip
def test_truths(store: MemoryPredictions, y: Any, number: float) -> None:
    take(store, {"prediction_id": "a", "y": y})
    assert newest(store, "a") == label(number)


@pytest.mark.parametrize(
    ("ts", "ms"),
    [
        (None, NOW_MS),
        ("", NOW_MS),
        (1_790_000_000_000, 1_790_000_000_000),
        (1_790_000_000_000.0, 1_790_000_000_000),
        ("1790000000000", 1_790_000_000_000),
        ("2026-11-01", NOW_MS - int(2.5 * 86_400_000)),
        ("2026-11-03T12:00:00Z", NOW_MS),
        ("2026-11-03 12:00:00.250", NOW_MS + 250),
        ("2026-11-03T12:00+02:00", NOW_MS - 7_200_000),
    ],
)
def test_times(store: MemoryPredictions, ts: Any, ms: int) -> None:
    assert take(store, {"prediction_id": "a", "y": 1, "ts": ts}).accepted == 1
    assert newest(store, "a") == label(1, ms)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (3, "an object"),
        ([], "an object"),
        ({}, "neither prediction_id nor endpoint"),
        ({"prediction_id": "", "y": 1}, "neither"),
        ({"prediction_id": 7, "y": 1}, "prediction_id must be text"),
        ({"prediction_id": "x" * 501, "y": 1}, "at most 500"),
        ({"prediction_id": "a"}, "there is no y"),
        ({"prediction_id": "a", "y": None}, "there is no y"),
        ({"prediction_id": "a", "y": "maybe"}, "y is 'maybe'"),
        ({"prediction_id": "a", "y": "nan"}, "y is"),
        ({"prediction_id": "a", "y": "inf"}, "y is"),
        ({"prediction_id": "a", "y": [1]}, "y is"),
        ({"prediction_id": "a", "y": 1, "ts": "soon"}, "ts is 'soon'"),
        ({"prediction_id": "a", "y": 1, "ts": True}, "ts is True"),
        ({"prediction_id": "a", "y": 1, "ts": 1_790_000_000}, "long ago"),
        ({"prediction_id": "a", "y": 1, "ts": -5}, "long ago"),
        ({"prediction_id": "a", "y": 1, "ts": "0001-01-01"}, "long ago"),
        ({"prediction_id": "a", "y": 1, "ts": "2027-01-01"}, "the future"),
        ({"prediction_id": "a", "y": 1, "source": 5}, "source must be text"),
        ({"endpoint": "none", "user": 7, "y": 1}, "no endpoint 'none'; known: plain, rank"),
        ({"endpoint": "plain", "user": 7, "y": 1}, "no business key"),
        ({"endpoint": "rank", "user": 7, "y": 1}, "the key lacks day"),
        ({"endpoint": "rank", "user": 8, "day": "mon", "y": 1}, "no prediction of 'rank' has the key day=mon&user=8"),
    ],
)
def test_a_bad_row_fails_alone(store: MemoryPredictions, row: Any, words: str) -> None:
    good = {"prediction_id": "b", "y": 1}
    report = take(store, [good, row, good], keys=KEYS)
    assert (report.accepted, report.unknown, report.failed) == (2, 0, 1)
    (error,) = report.errors
    assert error.row == 2
    assert words in error.message
    assert newest(store, "a") is None


def test_a_row_that_cannot_be_read_spoils_no_other(store: MemoryPredictions) -> None:
    report = take(store, b'[{"prediction_id": "a", "y": 1}, {"prediction_id": "\xff", "y": 1}]')
    assert (report.accepted, report.failed) == (1, 1)
    assert "no JSON" in report.errors[0].message
    assert newest(store, "a") is not None


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b"{", "application/json", 400, "no JSON"),
        (b"", "application/json", 400, "no JSON"),
        (b"\xff", "application/json", 400, "no JSON"),
        (b'"a"', "application/json", 400, "neither an object nor a list"),
        (b"[" * 100_000, "application/json", 400, "no JSON"),
        (b"", "text/csv", 400, "header row"),
        (b"a,b\n1,2\n", "text/csv", 400, "header row is 'a,b'"),
        (b"prediction_id,y,y\n", "text/csv", 400, "twice"),
        (b"prediction_id,y\n\xff\xfe,1\n", "text/csv", 400, "UTF-8"),
        (b"prediction_id,y\n\xc3", "text/csv", 400, "UTF-8"),
        (b'prediction_id,y\n"a" b,1\n', "text/csv", 400, "line 2 is no CSV"),
        (b'prediction_id,y\n"a,1\n', "text/csv", 400, "is no CSV"),
        (b"x", "text/html", 415, "text/html"),
    ],
)
def test_what_can_not_be_read_at_all(store: MemoryPredictions, body: bytes, kind: str, status: int, words: str) -> None:
    with pytest.raises(LabelsRefused, match=words) as caught:
        take(store, body, kind)
    assert caught.value.status == status
    assert caught.value.hint or "CSV" in words


# By key


def test_by_business_key_every_prediction_that_has_it(store: MemoryPredictions) -> None:
    for keys, more in ((KEYS, {"note": "not of the key"}), (None, {})):
        report = take(store, {"endpoint": "rank", "user": 7, "day": "mon", "y": True, **more}, keys=keys)
        assert (report.accepted, report.failed) == (1, 0)
    assert [newest(store, name) for name in "abc"] == [label(), label(name="b"), None]


def test_keys_of_several_endpoints_in_one_body(store: MemoryPredictions) -> None:
    store.write([Prediction(f"o{number}", 1, "other", "v", matched=f"id={number}") for number in range(250)])
    rows = [{"endpoint": "other", "id": str(number), "y": number} for number in range(250)]
    report = take(store, [*rows, {"endpoint": "rank", "user": 7.0, "day": "tue", "y": 1}])
    assert (report.accepted, report.failed) == (251, 0)
    assert newest(store, "o249") == label(249, name="o249")
    assert newest(store, "c") == label(name="c")


def test_a_key_that_too_many_have(store: MemoryPredictions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OF_KEY", 3)
    store.write([Prediction(f"{number}", number, "many", "v", matched="user=1") for number in range(100)])
    store.write([Prediction(f"few{number}", 0, "many", "v", matched="user=2") for number in range(3)])
    rows = [{"endpoint": "many", "user": user, "y": 1} for user in (1, 2)]
    report = take(store, rows)
    assert (report.accepted, report.failed) == (1, 1)
    assert "more than 3 predictions" in report.errors[0].message
    assert newest(store, "few0") == label(name="few0")
    assert newest(store, "99") is None


# Late, repeated, corrected


def test_labels_wait_for_their_prediction(store: MemoryPredictions) -> None:
    report = take(store, [{"prediction_id": "later", "y": 1}, {"prediction_id": "a", "y": 1}])
    assert (report.accepted, report.unknown, report.failed) == (1, 1, 0)
    store.write([Prediction("later", 5, "rank", "v")])
    assert newest(store, "later") == label(name="later")


def test_repeated_labels_add_nothing(store: MemoryPredictions) -> None:
    for later in range(3):
        assert take(store, {"prediction_id": "a", "y": 1}, now=NOW + later).accepted == 1
        assert take(store, {"endpoint": "rank", "user": 7, "day": "mon", "y": 1}, now=NOW + later).accepted == 1
    assert newest(store, "a") == label(), "the time is that of the first"
    assert store.label([label()]) == 0


def test_the_same_after_a_correction_is_a_correction(store: MemoryPredictions) -> None:
    for later, y in enumerate([1, 0, 1]):
        take(store, {"prediction_id": "a", "y": y}, now=NOW + later)
    assert newest(store, "a") == label(1, NOW_MS + 2000)


def test_of_a_body_the_last_row_counts(store: MemoryPredictions) -> None:
    take(store, [{"prediction_id": "a", "y": 0}, {"prediction_id": "a", "y": 1}])
    assert newest(store, "a") == label(1)


# CSV


def test_a_csv(store: MemoryPredictions) -> None:
    text = (
        '\ufeffprediction_id, y,ts,source\r\na,yes,2026-11-01T00:00Z,"ann, ""the boss"""\r\n\r\nb,0,,\r\nnone,1,,\r\n'
        "b,x,,\r\nb,1\r\n"
    )
    report = take(store, text, "text/csv; charset=utf-8")
    assert (report.accepted, report.unknown, report.failed) == (2, 1, 2)
    assert [error.row for error in report.errors] == [4, 5]
    assert "2 fields" in report.errors[1].message
    found = newest(store, "a")
    assert found is not None
    assert found.source == 'ann, "the boss"'
    assert newest(store, "b") == label(0, name="b")


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_separators(store: MemoryPredictions, mark: str) -> None:
    rows = [["endpoint", "user", "day", "y"], ["rank", "7", "mon", "no"]]
    report = take(store, "\n".join(mark.join(row) for row in rows), "text/csv")
    assert report.accepted == 1
    assert newest(store, "b") == label(0, name="b")


@given(st.integers(1, 40), st.integers(0, 20))
@example(1, 0)
def test_a_csv_may_come_in_pieces_of_any_size(size: int, rows: int) -> None:
    store = MemoryPredictions()
    text = ("prediction_id,y,source\n" + "".join(f'p{row},{row},"é\n{row}"\n' for row in range(rows))).encode()
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    report = take_labels(store, "text/csv", pieces, NOW)
    assert report.unknown == rows
    store.write([Prediction(f"p{row}", 1, "rank", "v") for row in range(rows)])
    assert [newest(store, f"p{row}") for row in range(rows)] == [
        label(row, name=f"p{row}", source=f"é\n{row}") for row in range(rows)
    ]


def test_a_long_csv_is_taken_batch_by_batch(store: MemoryPredictions) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"prediction_id,y\n"
        for number in range(3000):
            yield b"a,%d\nnone%d,1\nx,?\n" % (number % 2, number)
        yield b"\xff"

    with pytest.raises(LabelsRefused, match="after line 9001"):
        take_labels(store, "text/csv", pieces(), NOW)
    assert newest(store, "a") is not None


def test_only_the_first_errors_are_told(store: MemoryPredictions) -> None:
    report = take(store, "prediction_id,y\n" + "a,?\n" * 5000, "text/csv")
    assert (report.failed, len(report.errors)) == (5000, 1000)
    assert report.as_json()["failed"] == 5000


# Limits


def test_limits(store: MemoryPredictions, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, limit in (("MAX_JSON", 1000), ("MAX_CSV", 5000), ("MAX_LINE", 1000)):
        monkeypatch.setattr(labels_read, name, limit)
    for body, kind, words in (
        (b"[" + b" " * 1000, "application/json", "larger than 1000 B"),
        (b"prediction_id,y\n" + b"a,1\n" * 2000, "text/csv", "larger than"),
    ):
        with pytest.raises(LabelsRefused, match=words) as caught:
            take(store, body, kind)
        assert caught.value.status == 413
    with pytest.raises(LabelsRefused, match="line 2 is longer"):
        take(store, b"prediction_id,y\n" + b"a" * 1100, "text/csv")


def test_on_a_real_store(tmp_path: Path) -> None:
    with contextlib.closing(SqlPredictions(f"sqlite:///{tmp_path}/state.sqlite")) as store:
        store.write([Prediction(f"{number}", number, "rank", "v", matched=f"user={number}") for number in range(2000)])
        text = "endpoint,user,y\n" + "".join(f"rank,{number},{number % 2}\n" for number in range(2000))
        for _ in range(2):
            assert take(store, text, "text/csv").accepted == 2000
        found = list(store.labelled("rank"))
        assert [(prediction.id, truth.y) for prediction, truth in found] == [(f"{n}", n % 2) for n in range(2000)]
