"""Asking for runs from Python: versions beside each other, models in scripts, many users at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bursty import App, ConfigError, Model, RunQuery, RunStatus, Settings, Stage
from bursty.jobs.worker import WorkerPlan
from bursty.runtime import model as models_module

APP = '''
from bursty import App, Run

app = App("prices")
FACTOR = 2


@app.job
def total(run: Run, numbers: list[int]) -> None:
    from helper import weight
    run.metric("total", sum(numbers) * FACTOR * weight())
    run.save_table("numbers", {"number": numbers})


@app.job
def picky(count: int) -> None:
    """Counts."""
'''


@pytest.fixture
def project(folder: Path) -> Path:
    (folder / "app.py").write_text(APP)
    (folder / "helper.py").write_text("def weight():\n    return 1\n")
    (folder / "requirements.txt").write_text("")
    return folder


@pytest.fixture
def stage(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    elsewhere = tmp_path_factory.mktemp("stage")
    with Stage(Settings(home=str(elsewhere / "home"), cache=str(elsewhere / "cache"), user="ada"), slots=2) as stage:
        yield stage


def drain(stage: Stage) -> None:
    stage.worker(WorkerPlan(slots=2)).run()


def metrics(stage: Stage, run: str) -> dict[str, float]:
    record = stage.runs.get(run)
    assert record.status == RunStatus.SUCCEEDED, record.error
    return json.loads(record.metrics or "{}")


def test_versions_are_numbered_promoted_and_audited(stage: Stage, project: Path) -> None:
    first, _ = stage.versions.take("app.py", "the first")
    again, snapshot = stage.versions.take("app.py", "the same")
    assert (again.digest, again.number, again.message, snapshot.is_new) == (first.digest, 1, "the first", False)
    (project / "helper.py").write_text("def weight():\n    return 10\n")
    second, _ = stage.versions.take("app.py", "ten times")
    assert (second.number, second.is_current, stage.versions.get("prices").number) == (2, False, 1)
    assert stage.versions.promote("prices", "v2").is_current
    assert stage.versions.promote("prices", first.digest[:8]).number == 1
    assert [event.data["version"] for event in stage.versions.history("prices")] == [
        first.digest, second.digest, first.digest
    ]  # fmt: skip
    assert {event.actor for event in stage.versions.history("prices")} == {"ada"}
    with pytest.raises(ConfigError, match=r"no version 9(.|\n)*v2, v1"):
        stage.versions.get("prices", 9)
    with pytest.raises(ConfigError, match=r"no app 'price'(.|\n)*prices"):
        stage.versions.promote("price", 1)


def test_an_old_version_gives_the_same_when_its_source_is_gone(stage: Stage, project: Path) -> None:
    inputs = {"numbers": [1, 2, 3]}
    first, _ = stage.versions.take("app.py")
    before = stage.runs.submit("prices", "total", inputs)
    drain(stage)
    (project / "app.py").write_text(APP.replace("FACTOR = 2", "FACTOR = 5"))
    second, _ = stage.versions.take("app.py", promote=True)
    for name in ("app.py", "helper.py", "requirements.txt"):
        (project / name).unlink()
    for name in ("versions", "sources", "envs"):  # a machine that never saw it
        shutil.rmtree(Path(stage.settings.cache) / name, ignore_errors=True)
    stage.session.close()
    with Stage(stage.settings, slots=2) as elsewhere:
        old = elsewhere.runs.rerun(before.id)
        new = elsewhere.runs.submit("prices", "total", inputs)
        drain(elsewhere)
        assert (old.version, new.version) == (first.digest, second.digest)
        assert metrics(elsewhere, old.id) == metrics(elsewhere, before.id) == {"total": 12}
        assert metrics(elsewhere, new.id) == {"total": 30}
        digests = [elsewhere.runs.artefact(run.id, "numbers").digest for run in (before, old)]
        assert digests[0] == digests[1]
        assert old.rerun_of == before.id


def test_a_job_is_started_from_a_script(stage: Stage, project: Path) -> None:
    script = "import app; run = app.total.start(numbers=[4, 5]); print(run.id)"
    variables = {"BURSTY_HOME": stage.settings.home, "BURSTY_CACHE": stage.settings.cache, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=project, env=variables, capture_output=True, text=True, check=True
    )
    run = done.stdout.strip()
    drain(stage)
    assert metrics(stage, run) == {"total": 18}


def test_a_version_whose_schedule_never_fires_is_refused(stage: Stage, project: Path) -> None:
    (project / "app.py").write_text(APP + '\n\n@app.schedule("0 0 30 2 *")\ndef never() -> None: ...\n')
    with pytest.raises(ConfigError, match="never"):
        stage.versions.take("app.py")
    assert stage.versions.apps() == []


def test_a_hundred_users_submit_at_once(stage: Stage) -> None:
    stage.versions.take("app.py")

    def submit(number: int) -> str:
        return stage.runs.submit("prices", "picky", {"count": number}, created_by=f"user {number}").id

    with ThreadPoolExecutor(100) as pool:
        ids = list(pool.map(submit, range(300)))
    assert len(set(ids)) == 300
    assert {run.id for run in stage.runs.list(RunQuery(limit=1000))} == set(ids)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"priority": 2**31}, "priority is a whole number"),
        ({"priority": True}, "not True"),
        ({"priority": 1.5}, "not 1.5"),
        ({"delay": -1}, "seconds from 0"),
        ({"delay": float("nan")}, "not nan"),
        ({"delay": float("inf")}, "not inf"),
        ({"delay": "1 min"}, "not '1 min'"),
        ({"key": ""}, "1 to 500 characters"),
        ({"key": "k" * 501}, "1 to 500 characters"),
        ({"key": "a\0b"}, "1 to 500 characters"),
        ({"key": 7}, "not 7"),
        ({"key": "bursty:schedule prices/picky/0@1.000"}, "bursty's own"),
        ({"inputs": [1]}, "names and values"),
        ({"inputs": {1: 2}}, "name of an input is text, not 1"),
    ],
)
def test_arguments_that_can_not_be_queue_nothing(stage: Stage, wrong: dict[str, Any], words: str) -> None:
    stage.versions.take("app.py")
    with pytest.raises(ConfigError, match=words):
        stage.runs.submit("prices", "picky", **{"inputs": {"count": 1}, **wrong})
    assert stage.runs.list() == []


def test_the_most_that_arguments_can_be(stage: Stage) -> None:
    stage.versions.take("app.py")
    run = stage.runs.submit("prices", "picky", {"count": 1}, priority=2**31 - 1, key="k" * 500)
    assert (run.priority, run.idempotency_key) == (2**31 - 1, "k" * 500)


@pytest.mark.parametrize("priority", [True, "high", 2**31])
def test_a_job_whose_priority_can_not_be(priority: Any) -> None:
    with pytest.raises(ConfigError, match="priority is a whole number"):
        App("shop").job(priority=priority)(lambda: None)


def test_queries_in_plain_words(stage: Stage) -> None:
    stage.versions.take("app.py")
    run = stage.runs.submit("prices", "picky", {"count": 1})
    word: Any = "queued"
    assert [found.id for found in stage.runs.list(RunQuery(status=word))] == [run.id]
    assert RunQuery(status=word).status is RunStatus.QUEUED
    word = "broken"
    with pytest.raises(ConfigError, match=r"no status 'broken'(.|\n)*queued, running, succeeded"):
        RunQuery(status=word)
    with pytest.raises(ConfigError, match="not -1"):
        RunQuery(limit=-1)
    for name in (None, 7):
        with pytest.raises(ConfigError, match=f"by its id, not by {name}"):
            stage.runs.get(name)  # type: ignore[arg-type]


def test_compare_by_hash_and_find_by_the_end_of_an_id(stage: Stage) -> None:
    stage.versions.take("app.py")
    run = stage.runs.submit("prices", "picky", {"count": 1})
    same = stage.runs.submit("prices", "picky", {"count": "1"})
    assert run.inputs_hash == same.inputs_hash
    assert stage.runs.get(run.id[-8:]).id == run.id
    with pytest.raises(ConfigError, match="no run"):
        stage.runs.get("ffffffff")


@pytest.fixture
def scripted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """This process asks the stage for models, as a user's script would ask the ambient one."""
    from bursty import slots

    before = list(slots.desk)
    slots.desk[:] = [stage.desk.answer]
    models_module._loaded.clear()
    yield stage
    slots.desk[:] = before
    models_module._loaded.clear()


def test_models_in_a_script(scripted: Stage) -> None:
    model = Model("classifier")
    assert model.save({"k": 1}, metrics={"accuracy": 0.8}, note="first") == 1
    first = model.load()
    assert model.load() is first, "opened once"
    assert model.save({"k": 2}, promote=False) == 2
    assert model.load() is first
    scripted.models.promote("classifier", 2)
    assert model.load() == {"k": 2}, "refreshed when another one is promoted"
    assert model.load(1) == {"k": 1}
    assert [version.version for version in scripted.models.versions("classifier")] == [2, 1]
    assert [event.kind for event in scripted.models.history("classifier")] == ["promoted", "promoted"]
    with pytest.raises(ConfigError, match=r"no version 7(.|\n)*2, 1"):
        model.load(7)
    with pytest.raises(ConfigError, match=r"no model 'clasifier'(.|\n)*classifier"):
        Model("clasifier").load()
    with pytest.raises(ConfigError, match="can't name a model"):
        Model("../up").save(1)


def test_a_model_that_was_swapped_is_not_opened(scripted: Stage, tmp_path: Path) -> None:
    Model("classifier").save({"k": 1})
    mark = tmp_path / "owned"
    [info] = scripted.blobs.list("models")
    scripted.blobs.put(info.key, f"cos\nsystem\n(S'touch {mark}'\ntR.".encode())
    models_module._loaded.clear()
    with pytest.raises(Exception, match="damaged"):
        Model("classifier").load()
    assert not mark.exists()


def test_two_who_save_at_once_get_two_versions(scripted: Stage) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda number: Model("race").save(number), range(16)))
    assert sorted(numbers) == list(range(1, 17))
    assert Model("race").load() in range(16)
