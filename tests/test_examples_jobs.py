"""The examples that are jobs, run as their pages say: on real workers, and what they give checked by other means."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest
from elasticsearch import Elasticsearch, helpers
from sqlalchemy import create_engine, text

from bursty import InputsInvalid, Run, RunRecord, RunStatus, Settings, Stage
from bursty.demo import model as demo_model
from bursty.jobs.compare import compare_runs
from bursty.jobs.worker import WorkerPlan
from bursty.stores.sql import SqlState
from bursty.testing import FakeClock
from listeners import web
from servers import BUCKET, moto

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NAMES = ("revenue", "planner", "scorer")


class Shown:
    """A copy of an example, its app's current version on a stage of its own."""

    def __init__(self, name: str, folder: Path, **settings: str) -> None:
        self.name = name
        self.folder = folder
        self.source = folder / "examples" / name
        shutil.copytree(EXAMPLES / name, self.source, ignore=shutil.ignore_patterns("__pycache__"))
        self.settings = {"state": f"sqlite:///{folder / 'state.sqlite'}", "blobs": str(folder / "blobs"), **settings}
        self.stage = self.open("home")

    def open(self, home: str) -> Stage:
        """A stage on the same stores, as another machine would have: it has seen nothing yet."""
        place = self.folder / home
        return Stage(Settings(home=str(place), cache=str(place / "cache"), user="tester", **self.settings), slots=2)

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.source / file).read_text(encoding="utf-8")
        assert old in text
        (self.source / file).write_text(text.replace(old, new), encoding="utf-8")

    def take(self, *, promote: bool = False) -> int:
        return self.stage.versions.take(self.source / "app.py", promote=promote or None)[0].number

    def finished(self, job: str, **inputs: Any) -> RunRecord:
        run = self.stage.runs.submit(self.name, job, inputs, allow_paths=True)
        drain(self.stage)
        return self.stage.runs.get(run.id)

    def good(self, job: str, **inputs: Any) -> RunRecord:
        run = self.finished(job, **inputs)
        assert run.status == RunStatus.SUCCEEDED, run.error
        return run

    def table(self, run: RunRecord, name: str) -> pl.DataFrame:
        found = self.stage.runs.artefact(run.id, name)
        read = pl.read_csv if found.meta["format"] == "csv" else pl.read_parquet
        return read(io.BytesIO(self.stage.blobs.get(found.key)))


def drain(stage: Stage) -> None:
    stage.worker(WorkerPlan(slots=2)).run()


def metrics(run: RunRecord) -> dict[str, float]:
    return json.loads(run.metrics or "{}")


def digests(stage: Stage, run: RunRecord) -> dict[str, str]:
    return {artefact.name: artefact.digest for artefact in stage.runs.manifest(run.id).artefacts}


def load(name: str, file: str) -> ModuleType:
    """An example's module, for its functions here and now."""
    path = EXAMPLES / name / f"{file}.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}_{file}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(shown: Shown, line: str) -> subprocess.CompletedProcess[str]:
    """Type it, in the folder that ``examples/`` is in."""
    settings = {**shown.settings, "cache": str(shown.folder / "cache")}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, **{f"BURSTY_{name.upper()}": value for name, value in settings.items()}, "PATH": programs}
    words = shlex.split(line)
    return subprocess.run(
        words, cwd=shown.folder, env=environ, capture_output=True, text=True, timeout=240, check=False
    )


def first_commands(name: str) -> list[str]:
    """What the page of an example begins with."""
    page = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    return re.search(r"\n\n((?:    .+\n)+)", page)[1].split("\n")[:-1]


def test_every_example_has_a_page_that_tells_its_story() -> None:
    for name in NAMES:  # that there are no others is seen to by the test of those that are served
        page = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
        said = (f"bursty run examples/{name}/app.py::", "story it serves", "By hand", "Now", "BURSTY_STATE", "s3://")
        assert all(words in page for words in said)
        assert f"({name}/README.md)" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


# The revenue forecast


@pytest.fixture(params=["sqlite", "postgresql"])
def company(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shown]:
    """The company's database; and the stage on SQLite and a folder, or on PostgreSQL and S3."""
    if request.param == "sqlite":
        monkeypatch.setenv("REVENUE_DATABASE", f"sqlite:///{tmp_path / 'company.sqlite'}")
        yield Shown("revenue", tmp_path)
        return
    postgres = request.getfixturevalue("postgres")
    monkeypatch.setenv("REVENUE_DATABASE", postgres.database())
    with moto(tmp_path) as s3:
        for name, value in s3.environ.items():
            monkeypatch.setenv(name, value)
        yield Shown("revenue", tmp_path, state=postgres.database(), blobs=f"s3://{BUCKET}/revenue")


def test_two_versions_of_the_forecast_live_side_by_side(company: Shown) -> None:
    url = os.environ["REVENUE_DATABASE"]
    subprocess.run([sys.executable, company.source / "database.py", url], check=True, timeout=60)
    with company.stage as stage:
        assert company.take() == 1
        first = company.good("forecast", growth=0.06, scenario="bear", futures=300)
        history = company.table(first, "history")
        assert history["sales_musd"].to_list() == demo_model.sales().tolist()

        with create_engine(url).begin() as connection:
            connection.execute(text("DROP TABLE sales"))  # whoever asks the database again fails
        subprocess.run(["git", "apply", "examples/revenue/seasons.patch"], cwd=company.folder, check=True, timeout=60)
        assert company.take(promote=True) == 2
        second = stage.runs.rerun(first.id, version=2)
        drain(stage)

        found = compare_runs(stage.runs, first.id, second.id)
        assert (found["a"]["version"], found["b"]["version"]) == (1, 2)
        assert all(item["same"] for item in found["inputs"])
        same = {item["name"]: item["same"] for item in found["outputs"]}
        assert same == {"history": True, "forecast": False, "fan.png": False, "fan.svg": False}
        delta = {item["name"]: item["delta"] for item in found["metrics"]}
        assert delta["last year off by (percent)"] < -2, "knowing the seasons, the model is better"
        assert delta["next 12 months (low)"] > 0 > delta["next 12 months (high)"], "and surer"
        december = company.table(stage.runs.get(second.id), "forecast").filter(pl.col("month") == "2026-12")
        assert december["low"].item() > history["sales_musd"][-12:-1].max()
        before = digests(stage, first)

    shutil.rmtree(company.folder / "examples")
    with company.open("elsewhere") as elsewhere:
        again = elsewhere.runs.rerun(first.id)
        drain(elsewhere)
        again = elsewhere.runs.get(again.id)
        assert (again.version, again.metrics) == (first.version, first.metrics), again.error
        assert digests(elsewhere, again) == before
        assert digests(elsewhere, elsewhere.runs.get(second.id))["forecast"] != before["forecast"]


def test_the_forecasts_page_begins_with_commands_that_run(tmp_path: Path) -> None:
    shown = Shown("revenue", tmp_path)
    for line in first_commands("revenue"):
        done = command(shown, line)
        assert done.returncode == 0, done.stderr
    with shown.stage as stage:
        assert [stage.versions.get("revenue", run.version).number for run in stage.runs.list()] == [2, 1]
        compared = command(shown, f"bursty runs compare {' '.join(run.id for run in stage.runs.list())}")
    assert compared.returncode == 0, compared.stderr
    assert re.search(r"last year off by \(percent\) +6\.93\d+ +10\.0\d+", compared.stdout)


@pytest.fixture(scope="module")
def revenue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    shown = Shown("revenue", tmp_path_factory.mktemp("revenue"))
    with shown.stage:
        shown.take()
        yield shown


def test_the_forecast_grows_as_assumed(revenue: Shown) -> None:
    run = revenue.good("forecast", growth=0.05, months=18, futures=400)
    table = revenue.table(run, "forecast")
    assert table["month"].to_list() == [f"2026-{n:02}" for n in range(1, 13)] + [f"2027-{n:02}" for n in range(1, 7)]
    assert (table["low"] < table["middle"]).all()
    assert (table["middle"] < table["high"]).all()
    last_year = demo_model.sales()[-12:].sum()
    assert metrics(run)["next 12 months (middle)"] / last_year == pytest.approx(1.05, abs=0.03)
    bull = revenue.good("forecast", growth=0.05, months=18, futures=400, scenario="bull")
    assert metrics(bull)["next 12 months (middle)"] > metrics(run)["next 12 months (middle)"] * 1.01


def test_the_forecast_adds_one_offs_to_a_history_of_ones_own(revenue: Shown, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    rows = [f"{2015 + n // 12}-{n % 12 + 1:02},{100 + n}" for n in range(99)]
    file.write_text("\n".join(["month,sales_musd", *rows]), encoding="utf-8")
    plain = revenue.good("forecast", history=str(file), futures=100)
    one_offs = [{"month": "2023-06", "amount": 1000}, {"month": "2031-01", "amount": 5}]
    more = revenue.good("forecast", history=str(file), futures=100, one_offs=one_offs)
    added = revenue.table(more, "forecast")["middle"] - revenue.table(plain, "forecast")["middle"]
    assert revenue.table(plain, "forecast")["month"][0] == "2023-04"
    np.testing.assert_allclose(added, [0, 0, 1000] + [0] * 21, atol=0.01)
    [warning] = revenue.stage.runs.log(more.id)
    assert "2031-01 is left out" in warning.text
    file.write_text("\n".join(["month,sales_musd", *rows[:71]]), encoding="utf-8")
    assert "has 71 months, and the model needs 72" in (revenue.finished("forecast", history=str(file)).error or "")


def test_the_forecast_refuses_what_makes_no_sense(revenue: Shown) -> None:
    with pytest.raises(InputsInvalid) as caught:
        revenue.finished("forecast", growth=2, scenario="boom", one_offs="month,amount\n2027-13,1", futures=10)
    assert [problem["field"] for problem in caught.value.problems] == ["growth", "scenario", "one_offs", "futures"]


# The planner


def test_a_worker_drains_the_plans_and_ends(tmp_path: Path) -> None:
    planner = Shown("planner", tmp_path)
    *asked, worker = first_commands("planner")
    ranges = [("2026-12-01", "2026-12-31"), ("2027-01-01", "2027-12-31"), ("2026-12-27", "2027-01-02")]
    asked.append(asked[0].replace(ranges[0][0], ranges[2][0]).replace(ranges[0][1], ranges[2][1]))
    with planner.stage as stage:
        for line in asked:
            done = command(planner, line)
            assert done.returncode == 0, done.stderr
        wrong = command(planner, asked[0].replace("2026-12-31", "2026-11-30"))
        assert wrong.returncode == 2
        assert "last: must not be before the first day, 2026-12-01" in wrong.stderr
        assert [run.status for run in stage.runs.list()] == [RunStatus.QUEUED] * 3
        done = command(planner, worker)
        assert done.returncode == 0, done.stderr
        runs = stage.runs.list()[::-1]
        assert [run.status for run in runs] == [RunStatus.SUCCEEDED] * 3
        plans = [planner.table(run, "plan") for run in runs]

    example = load("planner", "app")
    for (first, last), plan in zip(ranges, plans, strict=True):
        days = pl.date_range(date.fromisoformat(first), date.fromisoformat(last), eager=True)
        assert plan["day"].cast(pl.String).to_list() == days.cast(pl.String).to_list()
        for day, weekday, activity in plan.rows():
            day = date.fromisoformat(str(day))
            assert weekday == f"{day:%A}"
            counts = {"reading": 14, "swimming": 9, "cooking": 7}
            counts |= {"hiking": 11, "museum": 4} if weekday in ("Saturday", "Sunday") else {}
            assert activity == example.recommend(counts, day)
    week = plans[2]["activity"].to_list()
    assert week == plans[0]["activity"][-5:].to_list() + plans[1]["activity"][:2].to_list()


def test_what_was_done_often_is_recommended_often() -> None:
    recommend = load("planner", "app").recommend
    days = [date(2026, 1, 1) + timedelta(n) for n in range(2000)]
    chosen = [recommend({"reading": 8, "never done": 0}, day) for day in days]
    assert chosen.count("never done") / len(days) == pytest.approx(0.1, abs=0.03)


# The scorer


class Fires:
    """The scorer's stage, its clock in the test's hands."""

    def __init__(self, shown: Shown, clock: FakeClock) -> None:
        self.shown, self.stage, self.clock = shown, shown.stage, clock
        self.schedulers = [self.stage.scheduler(), self.stage.scheduler()]

    def fire(self) -> RunRecord:
        """Five minutes later: one run, however many schedulers there are."""
        self.clock.advance(300)
        [run] = [run for scheduler in self.schedulers for run in scheduler.tick()]
        drain(self.stage)
        return self.stage.runs.get(run.id)

    def published(self) -> bytes:
        return self.stage.blobs.get("published/scorer/refresh/items.json")

    def items(self) -> dict[str, dict[str, Any]]:
        return {item["id"]: item for item in json.loads(self.published())}


def test_the_scorer_keeps_its_last_good_output_and_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin, training = load("scorer", "search_standin"), load("scorer", "training")
    bottles = standin.bottles()
    clock = FakeClock(datetime(2026, 11, 21, 12, 3, tzinfo=UTC).timestamp())
    with standin.open_search() as search, web() as chat, Elasticsearch(search.url) as client:
        monkeypatch.setenv("SEARCH_URL", search.url)
        shown = Shown("scorer", tmp_path, notify=f"json://127.0.0.1:{chat.port}")
        shown.edit("app.py", "PAGE = 500", "PAGE = 10")
        shown.edit("app.py", "TIMEOUT = 10", "TIMEOUT = 2")
        shown.stage.__dict__["state"] = SqlState(shown.settings["state"], clock=clock)

        def arrive(count: int, **changes: Any) -> list[dict[str, Any]]:
            now = datetime.now(UTC).isoformat()
            items = [{**bottle, "arrived_at": now, **changes} for bottle in islice(bottles, count)]
            helpers.bulk(client, [{"_index": "items", "_id": item["id"], "_source": item} for item in items])
            return items

        with shown.stage as stage:
            shown.take()
            fires = Fires(shown, clock)
            assert fires.schedulers[0].tick() == []
            assert metrics(shown.good("train"))["accuracy"] > 0.95
            items = arrive(25)
            assert metrics(fires.fire()) == {"new": 25, "left out": 0}
            assert search.requests.count("POST /items/_search") == 3, "page by page"
            model, _ = training.train(1.0)
            rows = [[item["features"][name] for name in model["features"]] for item in items]
            scores = [fires.items()[item["id"]]["score"] for item in items]
            np.testing.assert_allclose(scores, model["classifier"].predict_proba(rows)[:, 1], atol=1e-5)
            assert not chat.bodies

            # New items alone are scored; a bad one breaks none of its neighbours.
            arrive(1, features={"alcohol": None})
            arrive(1, features={**items[0]["features"], "hue": "NaN"})
            arrive(4)
            second = fires.fire()
            assert metrics(second) == {"new": 4, "left out": 2}
            assert len(fires.items()) == 29
            assert len(list(stage.runs.log(second.id))) == 2

            # The search service breaks, in two ways: the output stays, and people hear of it.
            arrive(2)
            before = fires.published()
            for fault, words in (("error", "stand_in_fault"), ("silence", "ConnectionTimeout")):
                search.fault = fault
                failed = fires.fire()
                assert failed.status == RunStatus.FAILED
                assert fires.published() == before
                notice = chat.bodies[-1]
                assert re.search("refresh failed", notice["title"])
                assert words in notice["message"]
                assert f"Still published: the outputs of run {second.id}" in notice["message"]
            assert len(chat.bodies) == 2
            search.fault = "none"

            # It is well again: what came meanwhile is scored, by the model that was promoted meanwhile.
            assert metrics(shown.good("train", strength=0.01))["version"] == 2
            assert metrics(fires.fire()) == {"new": 2, "left out": 2}
            assert [item["model"] for item in fires.items().values()] == [1] * 29 + [2] * 2

            # A model that is damaged is not opened; going back to the one before mends it.
            shown.good("train")
            stage.blobs.put(stage.models.find("scorer", 3).blob, b"cos\nsystem\n(S'true'\ntR.")
            arrive(1)
            before = fires.published()
            assert fires.fire().status == RunStatus.FAILED
            assert fires.published() == before
            assert "damaged" in chat.bodies[2]["message"]
            stage.models.promote("scorer", 2)
            assert fires.fire().status == RunStatus.SUCCEEDED
            assert len(fires.items()) == 32
            assert len(chat.bodies) == 3


def test_the_scorer_runs_without_a_worker_for_whoever_writes_it(tmp_path: Path) -> None:
    run = Run.local(tmp_path / "out")
    assert run.last_good("items.json") is None
    run.publish("items.json", b"[]")
    found = Run.local(tmp_path / "out").last_good("items.json")
    assert found is not None
    assert found.read_bytes() == b"[]"


def test_the_stand_in_refuses_what_it_can_not_do() -> None:
    standin = load("scorer", "search_standin")
    with standin.open_search() as search, Elasticsearch(search.url) as client:
        client.index(index="items", id="1", document={"n": 1})
        with pytest.raises(Exception, match="index_not_found"):
            client.search(index="others", query={"range": {"n": {"gt": 0}}})
        with pytest.raises(Exception, match="parsing_exception"):
            client.search(index="items", query={"match": {"n": 1}})
        with pytest.raises(Exception, match="stand_in"):
            client.count(index="items")
        assert client.search(index="items", query={"range": {"n": {"gt": 1}}})["hits"]["hits"] == []
