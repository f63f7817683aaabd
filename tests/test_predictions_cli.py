"""``bursty predictions``, and how long predictions are kept."""

import contextlib
import csv
import io
import json
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bursty import wiring
from bursty.cli.main import app as commands
from bursty.cli.predictionviews import ROW, moment
from bursty.config import Settings, load_settings
from bursty.endpoints import AnswerKind, Label, Prediction
from bursty.errors import BlobNotFound, ConfigError
from bursty.jobs.prune import Pruned
from bursty.jobs.retention import KEEP, declared_keeps, prune_predictions
from bursty.ports.serving import CacheItem
from bursty.stage import Stage
from bursty.stores.predictions import MemoryPredictions
from conformance.cache import await_that
from test_cli_jobs import Done

DAY = 86_400
NOW_MS = int(time.time() * 1000)
APP = """
from bursty import App, Log

app = App("shop")


@app.endpoint("/rank", log=Log(key=("user", "day"), keep=KEEP))
def rank(items: list[int]) -> list[float]:
    return [1.0 for _ in items]


@app.endpoint("/quiet", log=False)
def quiet(x: int) -> int:
    return x
"""

Call = Callable[..., Done]


def made(name: str, age: float = 0.0, **more: Any) -> Prediction:
    """``age``: seconds."""
    return Prediction(name, NOW_MS - int(age * 1000), more.pop("endpoint", "rank"), "v1", **more)


ROWS = [
    made(
        "0" * 24 + "deadbeef/0", 100, score=0.25, threshold=0.5, decision='"no [b]\\n"', matched="day=mon&user=7",
        latency_ms=4.5, input='{"user":7}',
    ),
    made("0" * 24 + "deadbeef/1", 100, answer=AnswerKind.NONE, error="too \x1b old"),
    made("1" * 32, 2 * DAY, matched="day=tue&user=7"),
    made("2" * 32, 0, endpoint="other"),
]  # fmt: skip


@pytest.fixture
def settings(folder: Path) -> Settings:
    (folder / "bursty.toml").write_text(f'home = "{folder}/home"\ncache = "{folder.parent}/cache"\nuser = "ann"\n')
    return load_settings()


@pytest.fixture
def stage(settings: Settings) -> Iterator[Stage]:
    with Stage(settings) as stage:
        yield stage


@pytest.fixture
def call(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Call:
    """A command in this process. Raises its ``BurstyError``."""

    def run(line: str) -> Done:
        capsys.readouterr()
        try:
            code = commands(shlex.split(line), standalone_mode=False)
        except SystemExit as ending:
            code = ending.code
        captured = capsys.readouterr()
        return Done(int(code or 0), captured.out, captured.err)

    return run


def take_version(stage: Stage, keep: str = '"90 days"', *, promote: bool | None = None) -> str:
    Path("app.py").write_text(APP.replace("KEEP", keep))
    version, _ = stage.versions.take("app.py", promote=promote)
    return version.digest


# list


def test_nothing_is_there_yet(call: Call) -> None:
    assert "no predictions yet" in call("predictions list").err
    assert call("predictions list --json").json == []
    with pytest.raises(ConfigError, match="no predictions of 'rank'"):
        call("predictions list rank")


def test_lists(stage: Stage, call: Call) -> None:
    stage.predictions.write(ROWS)
    stage.predictions.label([Label("1" * 32, NOW_MS, 1.0, "ann")])
    assert call("predictions list --json").json == [
        {"endpoint": "other", "predictions": 1, "errors": 0, "labelled": 0},
        {"endpoint": "rank", "predictions": 3, "errors": 1, "labelled": 1},
    ]
    assert "rank" in call("predictions list").out
    lines = call("predictions list rank").out.splitlines()
    assert len(lines) == 4
    assert "deadbeef/1" in lines[1]
    assert "too \\x1b old" in lines[1]
    assert "\x1b" not in "".join(lines)
    assert lines[2].split()[0] == "deadbeef/0"
    for word in ("fresh", "0.25", '"no [b]\\n"', "day=mon&user=7", "4.5 ms"):
        assert word in lines[2]
    assert lines[3].split()[-1] == "1"
    assert len(call("predictions list rank --limit 1").out.splitlines()) == 2
    assert len(call("predictions list rank --since '1 day' --json").json) == 2
    assert len(call("predictions list rank --until '1 day' --json").json) == 1
    assert "no predictions then" in call("predictions list rank --since '1 s'").err
    with pytest.raises(ConfigError, match="nothing") as caught:
        call("predictions list nothing")
    assert "other, rank" in caught.value.hint


def test_json_tells_all(stage: Stage, call: Call) -> None:
    stage.predictions.write(ROWS)
    stage.predictions.label([Label(ROWS[0].id, NOW_MS, 1.0, "ann")])
    found = {item["id"]: item for item in call("predictions list rank --json").json}
    first = found[ROWS[0].id]
    assert first["input"] == {"user": 7}
    assert first["decision"] == "no [b]\n"
    assert first["label"]["y"] == 1.0
    assert found[ROWS[1].id]["label"] is None
    assert found[ROWS[1].id]["answer"] == "none"


def test_a_csv_can_be_filled_in_and_taken_back(stage: Stage, call: Call) -> None:
    stage.predictions.write([made(f"{number:05}", number, input="{}") for number in range(2500)])
    stage.predictions.label([Label("00001", NOW_MS - 5, 1.0, "ann")])
    assert "2,500 predictions" in call("predictions list rank --csv all.csv").err
    rows = list(csv.DictReader(io.StringIO(Path("all.csv").read_text())))
    assert tuple(rows[0]) == ROW
    assert [row["prediction_id"] for row in rows] == [f"{number:05}" for number in range(2500)]
    assert (rows[1]["y"], rows[1]["ts"], rows[1]["source"]) == ("1.0", str(NOW_MS - 5), "ann")
    some = call("predictions list rank --limit 3 --csv -").out
    assert len(some.splitlines()) == 4
    filled = [{**row, "y": row["y"] or "0"} for row in csv.DictReader(io.StringIO(some))]
    with Path("truth.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ROW)
        writer.writeheader()
        writer.writerows(filled)
    assert "3 labels taken" in call("predictions label truth.csv").out
    assert stage.predictions.count("rank").labelled == 3
    assert [label.y for _, label in stage.predictions.labelled("rank")] == [0.0, 1.0, 0.0]


def test_a_csv_that_can_not_be_written(stage: Stage, call: Call) -> None:
    stage.predictions.write(ROWS)
    with pytest.raises(ConfigError, match="no folder"):
        call("predictions list rank --csv nowhere/all.csv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-03T12:00Z", 1_793_707_200_000),
        ("2026-11-03T12:00+02:00", 1_793_700_000_000),
        ("1 h", 6_400_000),
        ("90 s", 9_910_000),
        (None, 7),
    ],
)
def test_moments(text: str | None, expected: int) -> None:
    assert moment(text, 10_000.0, 7) == expected


@pytest.mark.parametrize("text", ["soon", "", "2026-13-01"])
def test_moments_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="is no time"):
        moment(text, 0.0, 0)


# label


def test_labels_by_the_declared_key(stage: Stage, call: Call) -> None:
    take_version(stage)
    stage.predictions.write(ROWS)
    Path("truth.csv").write_text("endpoint,user,day,note,y\nrank,7,mon,?,yes\nrank,8,mon,?,yes\nquiet,7,mon,?,1\n")
    done = call("predictions label truth.csv")
    assert done.code == 1
    assert "1 label taken, 2 refused" in done.out
    assert "row 2: no prediction of 'rank' has the key day=mon&user=8 (yet)" in done.err
    assert "row 3: 'quiet' declares no business key" in done.err
    report = call("predictions label truth.csv --json")
    assert (report.code, report.json["accepted"], report.json["failed"]) == (1, 1, 2)


def test_labels_from_json(stage: Stage, call: Call) -> None:
    stage.predictions.write(ROWS)
    Path("truth.json").write_text(json.dumps([{"prediction_id": "1" * 32, "y": 1}, {"prediction_id": "new", "y": 0}]))
    done = call("predictions label truth.json")
    assert (done.code, done.out) == (0, "✓ 1 label taken, 1 wait for their prediction\n")


def test_files_that_are_not_there(call: Call) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        call("predictions label nowhere.csv")


# Retention


def test_predictions_are_kept_as_their_endpoint_declares(stage: Stage, call: Call) -> None:
    take_version(stage, '"10 days"')
    stage.predictions.write([made(f"{age}", age * DAY, input="{}") for age in (1, 5, 9, 11, 100)])
    stage.predictions.write([made(f"gone/{age}", age * DAY, endpoint="gone") for age in (11, 89, 91)])
    stage.predictions.label([Label("nobody", NOW_MS - age * DAY * 1000, 1.0) for age in (89, 91)])
    for line in ("prune --dry-run --json", "prune --json"):
        counts = {item["what"]: item["count"] for item in call(line).json["removed"]}
        assert (counts["predictions"], counts["labels without prediction"]) == (3, 1)
    assert [stage.predictions.count(name).predictions for name in ("rank", "gone")] == [3, 2]
    counts = {item["what"]: item["count"] for item in call("prune --inputs-older-than '4 days' --json").json["removed"]}
    assert (counts["predictions"], counts["inputs of predictions"]) == (0, 2)
    assert "predictions" in call("prune").out


def test_prune_makes_no_store(call: Call, settings: Settings) -> None:
    counts = {item["what"]: item["count"] for item in call("prune --json").json["removed"]}
    assert counts["predictions"] == 0
    assert not Path(settings.home).exists()


def test_prune_forgets_cached_answers(stage: Stage, call: Call) -> None:
    _ = stage.home
    with contextlib.closing(wiring.open_cache(stage.settings.answers_url)) as cache:
        cache.put_many([CacheItem(b"a", b"1", 0.001), CacheItem(b"b", b"1", 1000)])
        await_that(lambda: cache.get(b"a") is None)
        for line in ("prune --dry-run --json", "prune --json"):
            counts = {item["what"]: item["count"] for item in call(line).json["removed"]}
            assert counts["cached answers"] == 1
        assert cache.get(b"b") == b"1"


def test_the_version_that_counts_says_how_long(stage: Stage) -> None:
    first = take_version(stage, '"10 days"')
    take_version(stage, '"20 days"')
    read = stage.builder.manifest
    assert declared_keeps(stage.versions, read) == {"rank": 10 * DAY}, "the current one"
    second = take_version(stage, '"20 days"', promote=True)
    assert declared_keeps(stage.versions, read) == {"rank": 20 * DAY}

    def read_some(digest: str) -> Any:
        if digest == second:
            raise BlobNotFound("lost")
        return read(digest)

    assert declared_keeps(stage.versions, read_some) == {"rank": 10 * DAY}
    assert first != second


def test_what_is_pruned_by_age() -> None:
    store = MemoryPredictions()
    now = NOW_MS / 1000
    for age in (0, 10, 100, 1000):
        store.write([replace(made(f"{name}/{age}", age, input="{}"), endpoint=name) for name in ("a", "b")])
    keeps = {"a": 50.0, "b": 500.0}
    removed = [Pruned("predictions", 3, 0), Pruned("labels without prediction", 0, 0)]
    assert prune_predictions(store, keeps, now=now, dry_run=True) == removed
    assert prune_predictions(store, keeps, now=now, inputs=5) == [*removed, Pruned("inputs of predictions", 3, 0)]
    assert [store.count(name).predictions for name in ("a", "b")] == [2, 3]
    assert prune_predictions(store, {}, now=now + KEEP - 5)[0].count == 3
