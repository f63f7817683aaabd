"""The examples that are endpoints, served as their pages say: by ``bursty serve``, a process of its own, over HTTP."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sklearn.datasets import load_wine, make_blobs
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

import test_examples_jobs as jobs
from bursty import Stage
from bursty.endpoints import AnswerKind
from bursty.ports.serving import Judged
from redis_server import Redis, run_redis
from servers import stop, wait_until
from test_examples_jobs import EXAMPLES, Shown, first_commands

NAMES = ("blobs", "expenses", "ranker", "activities")
MOUNTED = ("timezones",)
README = "http://127.0.0.1:8000"
"""Where the pages say that the server is."""


@pytest.fixture(scope="module")
def redis() -> Generator[Redis]:
    yield from run_redis()


class Served:
    """A running ``bursty serve`` of an example. ``said``: what it has printed so far."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log
        self.client = httpx.Client(base_url=url, timeout=60)

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def curl(self, line: str, folder: Path) -> httpx.Response:
        """Do what a ``curl`` command of a page does: of its options those that the pages have."""
        words = iter(shlex.split(line.replace(README, self.url))[1:])
        url, body, headers = "", None, dict[str, str]()
        for word in words:
            match word:
                case "-i":
                    continue
                case "-H":
                    name, _, value = next(words).partition(": ")
                    headers[name] = value
                case "--json" | "--data-binary":
                    given = next(words)
                    body = (folder / given[1:]).read_bytes() if given.startswith("@") else given.encode()
                    if word == "--json":
                        headers["Content-Type"] = "application/json"
                case _:
                    assert word.startswith(self.url), f"the page has another curl than this test knows: {line}"
                    url = word
        return self.client.request("GET" if body is None else "POST", url, content=body, headers=headers)


def environ(shown: Shown, **more: str) -> dict[str, str]:
    """What a shell of the page's reader has."""
    settings = {**shown.settings, "cache": str(shown.folder / "cache")}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    named = {f"BURSTY_{name.upper()}": value for name, value in settings.items()}
    return {**os.environ, **named, "PATH": programs, "COLUMNS": "200", **more}


@contextmanager
def served(shown: Shown, command: str = "", **more: str) -> Iterator[Served]:
    """``bursty serve`` of the example on a free port, from when it is ready until the block ends."""
    words = [*shlex.split(command or f"bursty serve examples/{shown.name}/app.py"), "--port", "0"]
    log = shown.folder / f"served-{os.urandom(4).hex()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(words, cwd=shown.folder, env=environ(shown, **more), stdout=output, stderr=output)
    try:
        told = wait_until(lambda: "ready after" in log.read_text(encoding="utf-8") or process.poll() is not None, 120)
        assert told, log.read_text(encoding="utf-8")
        assert process.poll() is None, log.read_text(encoding="utf-8")
        found = re.search(r"at (http://127\.0\.0\.1:\d+)", log.read_text(encoding="utf-8"))
        assert found is not None
        server = Served(found[1], log)
        with server.client:
            yield server
    finally:
        stop(process)
    assert process.returncode == 0, log.read_text(encoding="utf-8")


def run(shown: Shown, line: str) -> str:
    """A command of a page that ends by itself; what it printed."""
    words = shlex.split(line)
    done = subprocess.run(
        words, cwd=shown.folder, env=environ(shown), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def logged(stage: Stage, endpoint: str, count: int, **query: Any) -> list[Judged]:
    """What the log has of an endpoint once it is so many predictions, the newest first."""
    assert wait_until(lambda: stage.predictions.count(endpoint).predictions >= count)
    return list(stage.predictions.list(endpoint, limit=10_000, **query).items)


def test_every_example_has_a_page_that_tells_its_story() -> None:
    assert {path.parent.name for path in EXAMPLES.glob("*/app.py")} == {*jobs.NAMES, *NAMES, *MOUNTED}
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name in NAMES:
        page = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
        said = (f"    bursty serve examples/{name}/app.py\n", f"{README}/", "story it serves", "By hand", "Now")
        assert all(words in page for words in said), name
        assert f"({name}/README.md)" in listed


# The blobs


def classifiers(points: int, most: int) -> list[KNeighborsClassifier]:
    """The search here, the best first."""
    x, y = make_blobs(points, centers=3, n_features=2, cluster_std=2.5, random_state=7)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    fitted = [KNeighborsClassifier(n).fit(x_train, y_train) for n in range(1, most + 1)]
    return sorted(fitted, key=lambda model: -model.score(x_test, y_test))


def prediction(model: KNeighborsClassifier, feature_1: float, feature_2: float) -> dict[str, Any]:
    [shares] = model.predict_proba([[feature_1, feature_2]])
    return {"label": int(shares.argmax()), "sure": pytest.approx(shares.max(), abs=1e-3)}


class Hammer:
    """Asks for predictions without a pause, on a thread."""

    def __init__(self, url: str, points: list[tuple[float, float]]) -> None:
        self.answers: list[tuple[tuple[float, float], int, Any]] = []
        self._url, self._points = url, points
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._stop.is_set():
                for point in self._points:
                    answer = client.get("/predict", params=dict(zip(("feature_1", "feature_2"), point, strict=True)))
                    self.answers.append((point, answer.status_code, answer.json()))

    def __enter__(self) -> Hammer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_the_best_classifier_is_served_and_a_newer_one_takes_over(tmp_path: Path) -> None:
    shown = Shown("blobs", tmp_path)
    # A deadline that a busy machine keeps, too: this test is about the model.
    shown.edit("app.py", 'deadline="200 ms"', 'deadline="30 s"')
    search, serve, curl = first_commands("blobs")
    assert "n_neighbors  " in run(shown, search)
    old, new = classifiers(1000, 8)[0], classifiers(150, 1)[0]
    points = [(float(x), float(y)) for x in (-8, -2.5, 1, 4) for y in (-6, 0, 3, 9)]
    assert any(prediction(old, *point) != prediction(new, *point) for point in points), "they can be told apart"

    with shown.stage as stage, served(shown, serve) as server:
        answer = server.curl(curl, tmp_path)
        assert answer.headers["Bursty-Answer"] == "fresh"
        assert answer.text in (EXAMPLES / "blobs" / "README.md").read_text(encoding="utf-8")
        for x, y in points:
            asked = server.client.get("/predict", params={"feature_1": x, "feature_2": y})
            assert asked.json() == prediction(old, x, y)
        refused = server.client.get("/predict?feature_1=warm&feature_2=1")
        assert refused.status_code == 422
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert [error["pointer"] for error in refused.json()["errors"]] == ["/feature_1"]

        with Hammer(server.url, points) as hammer:
            assert shown.good("search", points=150, most_neighbors=1).status == "succeeded"
            expected = [prediction(new, *point) for point in points]
            assert wait_until(lambda: [body for *_, body in hammer.answers[-len(points) :]] == expected, 120)
        for point, status, body in hammer.answers:
            assert status == 200, body
            assert body in (prediction(old, *point), prediction(new, *point))

        rows = logged(stage, "predict", len(hammer.answers) + len(points) + 2)
        assert {item.prediction.version.partition("+")[2] for item in rows} == {"classifier@1", "classifier@2"}
        [good] = stage.predictions.find([answer.headers["Bursty-Prediction"]])
        assert (good.prediction.score, good.prediction.decision) == (answer.json()["sure"], str(answer.json()["label"]))
        [bad] = stage.predictions.find([refused.headers["Bursty-Prediction"]])
        assert (bad.prediction.answer, bad.prediction.score) == (AnswerKind.NONE, None)
        assert "feature_1" in str(bad.prediction.error)


# The expenses


def holes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything inside a request that null may stand for."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        if path:
            yield (*path, key)
        yield from holes(one, (*path, key))


def with_null(request: Any, path: tuple[Any, ...]) -> Any:
    copy = json.loads(json.dumps(request))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = None
    return copy


def matches(answer: httpx.Response) -> dict[tuple[str, str], float]:
    """The pairs of an answer, and their scores."""
    assert answer.status_code == 200, answer.text
    found = [one for one in answer.json() if "error" not in one]
    scores = {(one["budget_id"], one["itemization_id"]): one["score"] for one in found}
    assert len(scores) == len(found)
    assert all(set(one) == {"score", "budget_id", "itemization_id"} for one in found)
    assert all(0 <= score <= 1 for score in scores.values())
    return scores


@pytest.fixture(scope="module")
def matcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shown, Served]]:
    """The expense matcher, served; what its page says has been done but for judging."""
    shown = Shown("expenses", tmp_path_factory.mktemp("expenses"))
    train, serve, trip, match, label, _ = first_commands("expenses")
    assert "recall" in run(shown, train)
    with shown.stage, served(shown, serve) as server:
        run(shown, trip)
        answer = server.curl(match, shown.folder)
        logged(shown.stage, "match", len(matches(answer)))
        report = server.curl(label, shown.folder).json()
        with (shown.folder / "truth.csv").open(encoding="utf-8") as file:
            truth = list(csv.DictReader(file))
        assert report == {"accepted": len(truth), "unknown": 0, "failed": 0, "errors": []}
        assert [(row["budget_id"], row["itemization_id"]) for row in truth] == list(matches(answer))
        yield shown, server


def test_the_matcher_scores_every_pair_and_keeps_what_it_said(matcher: tuple[Shown, Served]) -> None:
    shown, server = matcher
    trip = jobs.load("expenses", "trips").trip(1001)
    answer = server.client.post("/match", json=trip.request())
    assert list(matches(answer)) == trip.pairs()
    name = answer.headers["Bursty-Prediction"]
    ids = [f"{name}/{number}" for number in range(len(trip.pairs()))]
    assert wait_until(lambda: len(shown.stage.predictions.find(ids)) == len(ids))
    rows = {found.prediction.id: found.prediction for found in shown.stage.predictions.find(ids)}
    for number, (pair, score) in enumerate(matches(answer).items()):
        row = rows[ids[number]]
        assert (row.score, row.threshold, row.answer) == (score, 0.5, AnswerKind.FRESH)
        assert row.matched == f"budget_id={pair[0]}&itemization_id={pair[1]}"
        assert row.version.endswith("+matcher@1")
    asked = json.loads(str(rows[ids[0]].input))
    for item in trip.items:
        del item["employee_email_expense"]
    assert asked == trip.request()


def test_nobodys_address_is_on_the_disk(matcher: tuple[Shown, Served]) -> None:
    shown, server = matcher
    item = {"itemization_id": "1", "vendor_name_expense": "marker of this test"}
    people = ["who.knows@example.com", 7]  # the second is refused: the error must not tell it either
    items = [{**item, "employee_email_expense": person} for person in people]
    answer = server.client.post("/match", json={"budgets": [{"budget_id": "1"}], "all_user_expense_lineitems": items})
    assert [set(one) for one in answer.json()] == [{"score", "budget_id", "itemization_id"}, {"error"}]
    file = shown.folder / "state.sqlite"

    def disk() -> bytes:
        return b"".join(path.read_bytes() for path in shown.folder.glob(f"{file.name}*"))

    assert wait_until(lambda: b"marker of this test" in disk())
    assert b"who.knows" not in disk()
    assert b"@example.com" not in disk()


def test_a_null_anywhere_breaks_none_of_its_neighbours(matcher: tuple[Shown, Served]) -> None:
    _, server = matcher
    trip = jobs.load("expenses", "trips").trip(1002)
    request = trip.request()
    whole = matches(server.client.post("/match", json=request))
    tried = 0
    for path in holes(request):
        answer = server.client.post("/match", json=with_null(request, path))
        found = matches(answer)
        names, position, *field = path
        row = request[names][position]
        hit = row.get("budget_id") or row["itemization_id"]
        untouched = {pair: score for pair, score in whole.items() if hit not in pair}
        assert {pair: score for pair, score in found.items() if hit not in pair} == untouched
        is_gone = not field or field[0] in ("budget_id", "itemization_id")
        assert (set(whole) - set(found) != set()) == is_gone
        failed = [one["error"] for one in answer.json() if "error" in one]
        assert [error["at"] for error in failed] == ([f"/{names}/{position}"] if is_gone else [])
        tried += 1
    assert tried >= 30


def test_what_cannot_be_used_is_said_where_it_stands(matcher: tuple[Shown, Served]) -> None:
    _, server = matcher
    budgets = [{"budget_id": "7", "actual_cost_budget": "140.0", "currency": "EUR"}, {"budget_id": 8}, "x"]
    items: list[Any] = [{"itemization_id": "1", "expensed_amount_itemization": amount} for amount in ("140.0", "n/a")]
    answer = server.client.post("/match", json={"budgets": budgets, "all_user_expense_lineitems": items})
    assert list(matches(answer)) == [("7", "1")]
    failed = [one["error"] for one in answer.json() if "error" in one]
    assert [(error["at"], error.get("field")) for error in failed] == [
        ("/budgets/1", "/budget_id"),
        ("/budgets/2", None),
        ("/all_user_expense_lineitems/1", "/expensed_amount_itemization"),
    ]
    empty = server.client.post("/match", json={"budgets": [], "all_user_expense_lineitems": items[:1]})
    assert (empty.status_code, empty.json()) == (200, [])
    missing = server.client.post("/match", json={"budgets": budgets})
    assert missing.status_code == 422
    assert [error["pointer"] for error in missing.json()["errors"]] == ["/all_user_expense_lineitems"]


def test_the_truth_comes_later_and_the_log_says_how_good_the_matches_were(matcher: tuple[Shown, Served]) -> None:
    shown, server = matcher
    trips, judge = jobs.load("expenses", "trips"), jobs.load("expenses", "judge")
    pairs = list(judge_on(shown, judge))
    labels: list[dict[str, Any]] = []
    for number in range(2000, 2025):
        trip = trips.trip(number)
        answer = server.client.post("/match", json=trip.request())
        scores = matches(answer)
        for pair, truth in zip(trip.pairs(), trip.labels(), strict=True):
            pairs.append((scores[pair], truth))
            named = dict(zip(("budget_id", "itemization_id"), pair, strict=True))
            labels.append({"endpoint": "match", **named, "y": truth})
        last = f"{answer.headers['Bursty-Prediction']}/{len(scores) - 1}"
    assert wait_until(lambda: bool(shown.stage.predictions.find([last])))

    wrong = [{**label, "y": not label["y"]} for label in labels]
    for body in (wrong, labels, labels):  # corrected later, and sent twice
        report = server.client.post("/labels", json=body).json()
        assert (report["accepted"], report["failed"]) == (len(labels), 0), report
    assert sorted(judge_on(shown, judge)) == sorted(pairs)

    for threshold in judge.THRESHOLDS:
        matched = [truth for score, truth in pairs if score >= threshold]
        precision, recall = sum(matched) / len(matched), sum(matched) / sum(truth for _, truth in pairs)
        assert judge.at(threshold, judge_on(shown, judge)) == (precision, recall)
        assert f"threshold {threshold:.1f}: precision {precision:.2f}, recall {recall:.2f}\n" in judged(shown)
    assert min(judge.at(0.5, pairs)) > 0.75
    assert all(math.isnan(value) for value in judge.at(0.5, []))


def judge_on(shown: Shown, judge: Any) -> list[tuple[float, bool]]:
    found = shown.stage.predictions.labelled("match")
    return [(said.score, label.y > 0) for said, label in found if said.score is not None]


def judged(shown: Shown) -> str:
    return run(shown, first_commands("expenses")[-1].replace("python", sys.executable, 1))


# The ranker


def pool(numbers: list[int]) -> list[dict[str, Any]]:
    wine = load_wine()
    names = ("alcohol", "color_intensity", "flavanoids", "hue", "proline")
    columns = [wine.feature_names.index(name) for name in names]
    rows = wine.data[:, columns].tolist()
    return [{"id": f"bottle-{n}", **dict(zip(names, rows[n], strict=True))} for n in numbers]


def asked_until(server: Served, items: list[dict[str, Any]], kind: str) -> httpx.Response:
    """The first answer of this kind; on a busy machine the model may be late now and then."""
    found: list[httpx.Response] = []

    def ask() -> bool:
        found.append(server.client.post("/rank", json=items))
        assert found[-1].status_code == 200, found[-1].text
        return found[-1].headers["Bursty-Answer"] == kind

    assert wait_until(ask), f"never {kind}: {found[-1].headers}"
    return found[-1]


def test_the_ranker_falls_back_to_what_it_said_before_and_redis_shares_it(tmp_path: Path, redis: Redis) -> None:
    shown = Shown("ranker", tmp_path)
    train, serve, curl = first_commands("ranker")
    assert "accuracy" in run(shown, train)
    slow = tmp_path / "slow"
    settings = {"RANKER_SLOW": str(slow), "BURSTY_ANSWERS": redis.url}
    items, others = pool([0, 70, 150, 5, 100]), pool([1, 71, 151])
    nothing = {"result": {"ranking": [], "best": None}, "errors": []}
    with shown.stage as stage:
        with served(shown, serve, **settings) as server:
            assert server.curl(curl, tmp_path).status_code == 200
            fresh = asked_until(server, items, "fresh").json()
            ranking = fresh["result"]["ranking"]
            assert sorted(ranking) == sorted(item["id"] for item in items)
            assert set(ranking[:2]) == {"bottle-0", "bottle-5"}, "the two of the first grower"
            assert 0.9 < fresh["result"]["best"] <= 1

            slow.touch()
            cached = server.client.post("/rank", json=items)
            assert (cached.headers["Bursty-Answer"], cached.json()) == ("cached", fresh)
            default = server.client.post("/rank", json=others)
            assert (default.headers["Bursty-Answer"], default.json()) == ("default", nothing)
            late = asked_until(server, others, "cached").json()
            assert sorted(late["result"]["ranking"]) == sorted(item["id"] for item in others)

            slow.unlink()
            broken: list[Any] = [*items, {**items[0], "id": "bottle-x", "hue": None}]
            partly = asked_until(server, broken, "fresh").json()
            assert partly["result"] == fresh["result"]
            assert [(one["error"]["at"], one["error"]["field"]) for one in partly["errors"]] == [("/5", "/hue")]

        # A server that has just started, slow from its first request on: it knows what the other said.
        slow.touch()
        with served(shown, serve, **settings) as server:
            cached = asked_until(server, items, "cached")
            assert cached.json() == fresh
            with redis.hanging():
                again = asked_until(server, items, "cached")  # by now it has said it late, and remembers by itself
                assert again.json() == fresh
                unknown = server.client.post("/rank", json=pool([2, 72]))
                assert (unknown.headers["Bursty-Answer"], unknown.json()) == ("default", nothing)

        rows = {item.prediction.id: item.prediction for item in logged(stage, "rank", 8, inputs=True)}
        said = rows[cached.headers["Bursty-Prediction"]]
        assert said.answer is AnswerKind.CACHED
        assert json.loads(str(said.decision)) == ranking
        assert said.score == fresh["result"]["best"]
        assert rows[unknown.headers["Bursty-Prediction"]].answer is AnswerKind.DEFAULT
        assert json.loads(str(rows[unknown.headers["Bursty-Prediction"]].input)) == pool([2, 72])


# The activities


def test_what_was_done_often_is_recommended_often_and_a_slow_database_does_not_show(tmp_path: Path) -> None:
    shown = Shown("activities", tmp_path)
    serve, done, recommend = first_commands("activities")
    database = tmp_path / "activities.sqlite"
    with shown.stage, served(shown, serve, ACTIVITIES_DATABASE=str(database)) as server:
        assert server.curl(done, tmp_path).json() == {"hiking": 1}
        assert server.curl(done, tmp_path).json() == {"hiking": 1}, "the same id counts once"
        assert server.client.get("/done").status_code == 405
        day = date(2026, 12, 5)
        told = {"user": "ada", "activity": "chess", "day": "2026-12-04"}
        for number in range(30):
            counted = server.client.post("/done", json={"id": f"c{number}", **told}).json()
        assert counted == {"hiking": 1, "chess": 30}

        days = [(day + timedelta(number)).isoformat() for number in range(80)]
        answers = [asked_until_fresh(server, {"user": "ada", "day": one}) for one in days]
        assert [answer["times"] for answer in answers if answer["activity"] == "chess"][:1] == [30]
        share = sum(answer["activity"] == "chess" for answer in answers) / len(answers)
        assert share == pytest.approx(31 / 38, abs=0.15)
        assert len({answer["activity"] for answer in answers}) >= 3
        assert server.curl(recommend, tmp_path).json() == answers[0]

        with closing(sqlite3.connect(database)) as holder:
            holder.execute("BEGIN EXCLUSIVE")  # whoever reads waits
            params = {"user": "ada", "day": days[1]}
            kept = server.client.get("/recommend", params=params)
            assert (kept.headers["Bursty-Answer"], kept.json()) == ("cached", answers[1])
            stranger = server.client.get("/recommend", params={"user": "emmy", "day": days[1]})
            assert stranger.headers["Bursty-Answer"] == "default"
            assert stranger.json() == {"activity": "reading", "times": 0}
            holder.rollback()


def asked_until_fresh(server: Served, params: dict[str, str]) -> Any:
    found: list[httpx.Response] = []

    def ask() -> bool:
        found.append(server.client.get("/recommend", params=params))
        return found[-1].headers["Bursty-Answer"] == "fresh"

    assert wait_until(ask)
    return found[-1].json()
