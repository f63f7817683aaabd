"""Calls, jobs and models from inside of mounted apps."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest

from bursty import RunStatus, Settings, Stage
from bursty.endpoints import MountSpec
from bursty.jobs.worker import WorkerPlan
from bursty.serving.mounts import Mount
from bursty.serving.mounts_launch import engine_launch
from mounting import APPS, Front, served


class Working:
    def __init__(self, stage: Stage, front: Front, version: str) -> None:
        self.stage = stage
        self.front = front
        self.version = version


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Working]:
    folder = tmp_path_factory.mktemp("working")
    settings = Settings(home=str(folder / "home"), cache=str(folder / "cache"), user="tester")
    with pytest.MonkeyPatch.context() as patch, Stage(settings, slots=2) as stage:
        patch.setenv("BURSTY_TEST_FOLDER", str(folder))
        source = folder / "project" / "working_app.py"
        source.parent.mkdir()
        source.write_bytes((APPS / "working_app.py").read_bytes())
        version, _ = stage.versions.take(source)
        manifest = stage.builder.manifest(version.digest)
        [app] = manifest["describe"]["apps"]
        said: list[str] = []
        mounts = [
            Mount(
                spec := msgspec.convert(data, MountSpec),
                engine_launch(stage.session, spec, target=manifest["target"], app=app["name"], version=version.digest),
                say=said.append,
            )
            for data in app["mounts"]
        ]
        with served(Front(mounts, said, [])) as front:
            yield Working(stage, front, version.digest)


@pytest.fixture
def client(working: Working) -> Iterator[httpx.Client]:
    with working.front.client() as client:
        yield client


@pytest.mark.parametrize("kind", ["flask", "fast"])
def test_calls_run_on_workers(client: httpx.Client, kind: str) -> None:
    assert client.get(f"/{kind}/simulate/12").json() == {"value": 144, "elsewhere": True}


@pytest.mark.parametrize("kind", ["flask", "fast"])
def test_calls_from_many_requests_at_once(client: httpx.Client, kind: str) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = threads.map(lambda seed: client.get(f"/{kind}/simulate/{seed}").json()["value"], range(48))
        assert list(answers) == [seed * seed for seed in range(48)]


def test_a_map_in_a_view(client: httpx.Client) -> None:
    assert client.get("/flask/many").json() == sum(n * n for n in range(50))


def test_a_view_starts_a_job_of_its_own_version(working: Working, client: httpx.Client) -> None:
    started = client.post("/flask/start", json={"growth": 0.25}).json()
    assert started == {
        "id": started["id"],
        "job": "forecast",
        "app": "working",
        "status": "queued",
        "by": "mount flask",
        "version": working.version,
    }
    working.stage.worker(WorkerPlan()).run()
    run = working.stage.runs.get(started["id"])
    assert (run.status, run.inputs) == (RunStatus.SUCCEEDED, '{"growth": 0.25, "since": null, "history": null}')


def test_fastapi_starts_a_job(working: Working, client: httpx.Client) -> None:
    run = working.stage.runs.get(client.post("/fast/start").json())
    assert run.created_by == "mount fast"
    assert json.loads(run.inputs)["since"] == "2026-01-02"


def test_wrong_inputs_are_told(client: httpx.Client) -> None:
    answer = client.post("/flask/start", json={"growth": -1})
    assert (answer.status_code, answer.json()["type"]) == (400, "DeskError")
    assert "growth" in answer.json()["message"]


def test_a_clients_text_is_no_path(client: httpx.Client, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for given in (str(secret), {"path": str(secret)}, {"path": str(secret), "name": "history.csv"}):
        assert client.post("/flask/start", json={"history": given}).status_code == 400


def test_a_file_of_the_apps_goes_to_the_job(working: Working, client: httpx.Client) -> None:
    run = client.post("/flask/upload", files={"history": b"1,2\n" * 1000}).json()["id"]
    working.stage.worker(WorkerPlan()).run()
    done = working.stage.runs.get(run)
    assert done.error is None
    assert (done.status, done.metrics) == (RunStatus.SUCCEEDED, '{"size": 4000}')


def test_models(client: httpx.Client) -> None:
    assert client.post("/fast/models/line").json() == 1
    assert client.get("/fast/models/line").json() == {"slope": 2}
