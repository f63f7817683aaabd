"""Runs in real children: what becomes of good ones, of bad ones, and of the worker around them."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from bursty.changes import Change, EventDraft
from bursty.core import runstate
from bursty.errors import BlobNotFound, ConfigError, InputsInvalid
from bursty.jobs.outbox import Outbox
from bursty.records import RunQuery, RunRecord, RunStatus
from bursty.stores.memory import MemoryState
from labs import Lab, eventually
from processes import is_alive


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    lab = Lab(folder, folder / "cache", MemoryState())
    yield lab
    lab.close()


@pytest.fixture
def lab(shared: Lab) -> Lab:
    assert shared.state.pending().idle, "an earlier test left runs behind"
    return shared


def test_a_good_run(lab: Lab) -> None:
    run = lab.finished("good", growth=0.1)
    assert (run.status, run.attempt, run.error) == (RunStatus.SUCCEEDED, 1, None)
    assert json.loads(run.metrics or "") == {"total": 38.0}
    assert json.loads(run.progress or "") == {"done": 20, "total": 20, "label": "doubling"}
    assert lab.log(run.id) == ["growing by 0.1", "a warning"]
    assert [event.kind for event in lab.runs.events(run.id)] == ["submitted", "started", "succeeded"]
    manifest = lab.runs.manifest(run.id)
    assert {artefact.name: artefact.kind for artefact in manifest.artefacts} == {"years": "table", "note.txt": "file"}
    note = lab.runs.artefact(run.id, "note.txt")
    assert lab.stage.blobs.get(note.key) == b"hello"
    assert not list((lab.folder / "home" / "scratch").glob("*/*")), "scratch folders stay"


def test_what_a_job_returns_is_kept(lab: Lab) -> None:
    run = lab.finished("returns")
    assert json.loads(lab.stage.blobs.get(lab.runs.artefact(run.id, "result").key)) == {"answer": 42.0}


def test_wrong_inputs_queue_nothing(lab: Lab) -> None:
    before = len(lab.runs.list())
    with pytest.raises(InputsInvalid, match="growth"):
        lab.submit("good", growth=7)
    with pytest.raises(InputsInvalid, match=r"grwth.*growth"):
        lab.submit("good", grwth=0.1)
    with pytest.raises(ConfigError, match=r"no job 'god'(.|\n)*'good'"):
        lab.submit("god")
    with pytest.raises(ConfigError, match="no version 77"):
        lab.runs.submit("lab", "good", version=77)
    with pytest.raises(InputsInvalid, match="nowhere"):
        lab.runs.submit("lab", "big_input", {"data": "/nowhere/file"}, allow_paths=True)
    with pytest.raises(InputsInvalid):
        lab.submit("patient", path="x" * (1 << 20))
    assert len(lab.runs.list()) == before


def test_failures_are_tried_again_and_told(lab: Lab) -> None:
    run = lab.finished("failing")
    assert (run.status, run.attempt, run.failures) == (RunStatus.FAILED, 3, 3)
    assert run.error is not None
    assert run.error.startswith("ValueError: attempt 3 failed")
    assert 'File "app.py", line' in run.error
    assert 'raise ValueError(f"attempt {run.attempt} failed")' in run.error
    kinds = [event.kind for event in lab.runs.events(run.id)]
    assert kinds == ["submitted", "started", "retry", "started", "retry", "started", "failed"]
    lucky = lab.finished("second_time_lucky")
    assert (lucky.status, lucky.attempt) == (RunStatus.SUCCEEDED, 2)


def test_the_users_own_line_is_in_the_error(lab: Lab) -> None:
    error = lab.finished("fails_deep").error or ""
    assert error.startswith("ZeroDivisionError")
    assert 'File "app.py"' in error
    assert len(error.splitlines()) < 20


def test_a_run_that_takes_too_long_is_killed(lab: Lab, tmp_path: Path) -> None:
    run = lab.finished("slow", path=str(tmp_path / "pid"))
    assert run.status == RunStatus.TIMED_OUT
    assert run.error == "it took longer than 0.5 s"
    eventually(lambda: not is_alive(int((tmp_path / "pid").read_text())))


@pytest.mark.parametrize(("how", "words"), [("exit", "exit"), ("hard", "4"), ("segfault", "SIGSEGV")])
def test_a_child_that_dies_fails_its_run_alone(lab: Lab, how: str, words: str) -> None:
    beside = lab.submit("good")
    run = lab.finished("ends", how=how)
    assert run.status == RunStatus.FAILED
    assert words in (run.error or "")
    assert lab.runs.get(beside.id).status == RunStatus.SUCCEEDED


def test_cancel(lab: Lab, tmp_path: Path) -> None:
    queued = lab.submit("good")
    assert lab.runs.cancel(queued.id).status == RunStatus.CANCELLED
    plain = lab.submit("patient", path=str(tmp_path / "plain"))
    kind = lab.submit("cooperative", path=str(tmp_path / "kind"))
    worker, thread = lab.in_background()
    for name in ("plain", "kind"):
        eventually(lambda name=name: (tmp_path / name).exists() and (tmp_path / name).read_text())
    for run in (plain, kind):
        lab.runs.cancel(run.id)
    ended = [lab.runs.wait(run.id, 30) for run in (plain, kind)]
    worker.stop()
    thread.join(30)
    assert [run.status for run in ended] == [RunStatus.CANCELLED, RunStatus.CANCELLED]
    with pytest.raises(BlobNotFound):
        lab.stage.blobs.get("published/lab/cooperative/half.txt")
    assert lab.runs.artefact(kind.id, "half.txt"), "what it handed in is kept with the run"
    assert lab.log(kind.id) == ["tidied up"]
    assert not is_alive(int((tmp_path / "plain").read_text()))
    assert lab.runs.cancel(plain.id).status == RunStatus.CANCELLED, "cancelling again changes nothing"


def test_a_stopped_worker_gives_its_runs_back(lab: Lab, tmp_path: Path) -> None:
    run = lab.submit("patient", path=str(tmp_path / "pid"))
    worker, thread = lab.in_background()
    pid = int(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    worker.stop()
    thread.join(30)
    seen = lab.runs.get(run.id)
    assert (seen.status, seen.owner, seen.max_attempts - seen.attempt) == (RunStatus.QUEUED, None, run.max_attempts)
    eventually(lambda: not is_alive(pid))
    lab.runs.cancel(run.id)


def test_a_lost_lease_kills_the_child_and_its_result_is_refused(lab: Lab, tmp_path: Path) -> None:
    run = lab.submit("patient", path=str(tmp_path / "pid"))
    worker, thread = lab.in_background(lease=1.0)
    pid = int(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    mine = lab.runs.get(run.id)
    stolen = dataclasses.replace(mine, owner=worker.owner)
    [taken] = lab.state.change(runstate.release(stolen, "test"))
    assert taken is not None
    [theirs] = lab.state.change(runstate.claim("another", 60, seen=taken))
    assert theirs is not None
    eventually(lambda: not is_alive(pid))
    eventually(lambda: worker.tally.stale or not worker.attempts)
    [done] = lab.state.change(runstate.finish(theirs, runstate.Ending("succeeded")))
    assert done is not None
    worker.stop()
    thread.join(30)
    assert lab.runs.get(run.id).status == RunStatus.SUCCEEDED


def test_a_run_whose_workers_died_is_lost_in_the_end(lab: Lab) -> None:
    run = lab.submit("good")
    for attempt in range(run.max_attempts):
        [claimed] = lab.state.claim(f"dead {attempt}", lease=-1, limit=1)
        assert claimed.id == run.id
    lab.drain()
    ended = lab.runs.get(run.id)
    assert ended.status == RunStatus.LOST
    assert "its worker died" in (ended.error or "")


def test_what_may_run_once_is_lost_at_once(lab: Lab) -> None:
    run = lab.submit("once", path="unused")
    assert run.max_attempts == 1
    lab.state.claim("dead", lease=-1, limit=1)
    lab.drain()
    assert lab.runs.get(run.id).status == RunStatus.LOST


def test_binary_garbage_in_the_log(lab: Lab) -> None:
    run = lab.finished("garbage")
    assert run.status == RunStatus.SUCCEEDED
    lines = lab.log(run.id)
    assert any("past Python" in line for line in lines)
    assert "\x1b[31mred\x00 text" in lines


@pytest.mark.parametrize("job", ["loud", "loud_in_c"])
def test_a_gigabyte_of_output(lab: Lab, job: str) -> None:
    run = lab.finished(job, megabytes=1024)
    assert run.status == RunStatus.SUCCEEDED
    lines = lab.log(run.id)
    assert [line for line in lines if line][-1] == "the end"
    assert any("left out" in line or "a log holds" in line for line in lines)
    assert sum(map(len, lines)) < 70 << 20


def test_children_that_a_job_leaves_end_with_it(lab: Lab, tmp_path: Path) -> None:
    run = lab.finished("leaves_children", path=str(tmp_path / "pid"))
    assert run.status == RunStatus.SUCCEEDED
    for name in ("pid", "pid.daemon"):
        assert not is_alive(int((tmp_path / name).read_text()))


def test_secrets_reach_neither_log_nor_error(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2-hunter2")
    other = Lab(tmp_path, lab.folder / "cache", MemoryState())
    try:
        run = other.finished("secretive")
    finally:
        other.close()
    assert run.status == RunStatus.FAILED
    assert other.log(run.id) == ["connecting with ***"]
    assert "no connection with ***" in (run.error or "")
    assert "hunter2" not in repr([run, other.runs.events(run.id), other.said])


def test_published_outputs_stay_when_later_runs_fail(lab: Lab) -> None:
    key = "published/lab/publishes/items.txt"
    assert lab.finished("publishes", items="first").status == RunStatus.SUCCEEDED
    assert lab.stage.blobs.get(key) == b"first"
    assert lab.finished("publishes", items="bad", fail=True).status == RunStatus.FAILED
    assert lab.stage.blobs.get(key) == b"first"
    second = lab.finished("publishes", items="second")
    assert lab.stage.blobs.get(key) == b"second"
    good = lab.runs.latest_good("publishes")
    assert good is not None
    assert good.id == second.id


def test_a_run_sees_what_the_last_good_one_saved(lab: Lab) -> None:
    runs = [lab.finished("remembers", fail=fail) for fail in (True, False, True, False)]
    assert [run.status == RunStatus.SUCCEEDED for run in runs] == [False, True, False, True]
    assert [json.loads(run.metrics or "")["count"] for run in runs] == [1, 1, 2, 2]
    newest = lab.runs.artefact(runs[-1].id, "count.json")
    lab.stage.blobs.put(newest.key, b"3")
    damaged = lab.finished("remembers")
    assert damaged.status == RunStatus.FAILED
    assert "damaged" in (damaged.error or "")


def test_slow_data_is_fetched_once(lab: Lab, tmp_path: Path) -> None:
    for _ in range(2):
        run = lab.finished("caches", log=str(tmp_path / "log"))
        assert json.loads(run.metrics or "") == {"sum": 6}
    assert (tmp_path / "log").read_text() == "fetched\n"


def test_a_damaged_cache_is_not_opened(lab: Lab, tmp_path: Path) -> None:
    lab.finished("caches", log=str(tmp_path / "log"))
    for info in list(lab.stage.blobs.list("cache")):
        lab.stage.blobs.put(info.key, b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    run = lab.finished("caches", log=str(tmp_path / "log"))
    assert run.status == RunStatus.FAILED
    assert "damaged" in (run.error or "")
    for info in list(lab.stage.blobs.list("cache")):
        lab.stage.blobs.delete(info.key)
    assert lab.finished("caches", log=str(tmp_path / "log")).status == RunStatus.SUCCEEDED


def test_cached_data_of_another_version_is_fetched_again(lab: Lab, tmp_path: Path) -> None:
    for count in (1, 2):
        run = lab.finished("caches_strange", log=str(tmp_path / "log"))
        assert run.status == RunStatus.SUCCEEDED
        assert (tmp_path / "log").read_text() == count * "fetched\n"
    assert "computed anew" in lab.log(run.id)[0]


def test_models(lab: Lab) -> None:
    assert json.loads(lab.finished("trains").metrics or "") == {"version": 1, "weight": 2.0}
    assert json.loads(lab.finished("predicts").metrics or "") == {"weight": 1.0, "model": 1}
    found = lab.stage.models.find("classifier")
    assert found.metadata["metrics"] == {"accuracy": 0.9}
    lab.finished("trains")
    assert lab.stage.models.find("classifier").version == 2
    lab.stage.models.promote("classifier", 1)
    assert json.loads(lab.finished("predicts").metrics or "") == {"weight": 1.0, "model": 1}
    lab.stage.blobs.put(found.blob, b"cos\nsystem\n(S'true'\ntR.")
    lab.stage.session.close()  # workers have it open
    lab.stage.__dict__.pop("session")
    run = lab.finished("predicts")
    assert run.status == RunStatus.FAILED
    assert "damaged" in (run.error or "")


def test_a_run_starts_another_once(lab: Lab) -> None:
    parent = lab.finished("starts_another")
    assert (parent.status, parent.attempt) == (RunStatus.SUCCEEDED, 2)
    started = [run for run in lab.runs.list() if run.created_by == f"run {parent.id}"]
    assert [(run.job, run.status, json.loads(run.inputs)) for run in started] == [
        ("good", RunStatus.SUCCEEDED, {"growth": 0.25})
    ]


def test_the_same_key_is_the_same_run(lab: Lab) -> None:
    first = lab.runs.submit("lab", "good", key="order 7")
    assert lab.runs.submit("lab", "good", key="order 7") == first
    with pytest.raises(ConfigError, match=rf"'order 7' belongs to run {first.id} with other inputs"):
        lab.runs.submit("lab", "good", {"growth": 0.9}, key="order 7")
    with pytest.raises(ConfigError, match="with another job, 'good'"):
        lab.runs.submit("lab", "noop", key="order 7")
    assert lab.runs.submit("lab", "good", {"growth": 0.9}, key="order 7", strict_key=False) == first
    assert [run.id for run in lab.runs.list() if run.idempotency_key == "order 7"] == [first.id]
    assert lab.runs.rerun(first.id, {"growth": 0.3}).inputs == '{"growth": 0.3}'
    lab.drain()
    assert lab.runs.submit("lab", "good", key="order 7").status == RunStatus.SUCCEEDED


def test_higher_priority_goes_first(lab: Lab) -> None:
    low, high = lab.submit("noop"), lab.runs.submit("lab", "noop", priority=5)
    lab.drain(slots=1)
    started = {run.id: run.started_at or 0.0 for run in lab.runs.list(RunQuery(job="noop"))}
    assert started[high.id] < started[low.id]


def test_notes_and_feedback(lab: Lab) -> None:
    run = lab.finished("good")
    lab.runs.note(run.id, "looks right")
    lab.runs.feedback(run.id, 4, "good enough")
    with pytest.raises(ConfigError):
        lab.runs.feedback(run.id, 6)
    trail = [(event.kind, dict(event.data)) for event in lab.runs.events(run.id)][-2:]
    assert trail == [("note", {"text": "looks right"}), ("feedback", {"rating": 4, "comment": "good enough"})]


@pytest.mark.parametrize("job", ["big_output", "big_input"])
def test_a_gigabyte_file_passes_in_little_memory(lab: Lab, tmp_path: Path, job: str) -> None:
    """What this process holds is measured beside what it held before: other tests ran in it."""
    before = psutil.Process().memory_info().rss
    high = _high_water()
    if job == "big_output":
        run = lab.finished(job, megabytes=1024)
    else:
        with (tmp_path / "data.bin").open("wb") as file:
            file.truncate(1 << 30)
        queued = lab.runs.submit("lab", job, {"data": str(tmp_path / "data.bin")}, allow_paths=True)
        lab.drain()
        run = lab.runs.get(queued.id)
    assert run.status == RunStatus.SUCCEEDED, run.error
    metrics = json.loads(run.metrics or "")
    assert metrics["peak"] < 200 << 20
    assert metrics.get("size", 1 << 30) == 1 << 30
    assert max(_high_water() - max(high, before), 0) < 200 << 20
    for prefix in ("runs", "uploads"):
        for info in list(lab.stage.blobs.list(prefix)):
            if info.size == 1 << 30:
                lab.stage.blobs.delete(info.key)


def _high_water() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError


def test_a_job_that_fills_the_disk_fails_alone(lab: Lab, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "mode=0700,size=24m", "tmpfs", str(home)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        other = Lab(tmp_path, lab.folder / "cache", MemoryState())
        try:
            beside = other.submit("good")
            run = other.finished("fills_the_disk")
            assert run.status == RunStatus.FAILED
            assert "No space left" in (run.error or "")
            assert other.runs.get(beside.id).status == RunStatus.SUCCEEDED
            assert other.finished("good").status == RunStatus.SUCCEEDED
        finally:
            other.close()
    finally:
        subprocess.run(["umount", str(home)], check=True)


def test_a_version_that_is_gone_fails_its_run_with_words(lab: Lab, tmp_path: Path) -> None:
    other = Lab(tmp_path, tmp_path / "cache", MemoryState())
    try:
        run = other.submit("good")
        for info in list(other.stage.blobs.list("versions")):
            other.stage.blobs.delete(info.key)
        for path in (tmp_path / "cache" / "versions").glob("*.json"):
            path.unlink()
        other.stage.__dict__.pop("catalog")
        other.drain()
        ended = other.runs.get(run.id)
    finally:
        other.close()
    assert ended.status == RunStatus.FAILED
    assert "no version" in (ended.error or "")


def test_files_in_the_scratch_folder_belong_to_this_user(lab: Lab) -> None:
    lab.finished("good")
    assert os.stat(lab.folder / "home").st_mode & 0o777 == 0o700


class LosesAnswers(MemoryState):
    """A store whose answer to the first finish is lost on the way: the write was made, and is made again."""

    lost = 0

    def change(self, *changes: Change) -> Sequence[RunRecord | None]:
        ends = [change for change in changes if change.event is not None and change.event.kind != "started"]
        if ends and not self.lost:
            self.lost += 1
            super().change(*changes)
        return super().change(*changes)


@pytest.mark.parametrize(("job", "status"), [("noop", RunStatus.SUCCEEDED), ("second_time_lucky", RunStatus.SUCCEEDED)])
def test_an_answer_that_was_lost(lab: Lab, tmp_path: Path, job: str, status: RunStatus) -> None:
    other = Lab(tmp_path, lab.folder / "cache", LosesAnswers())
    try:
        run = other.submit(job)
        tally = other.drain()
        ended = other.runs.get(run.id)
    finally:
        other.close()
    assert (ended.status, tally.ended, tally.stale) == (status, 1, 0)


def test_cancelled_while_it_fails(lab: Lab, tmp_path: Path) -> None:
    """A run that fails after somebody asked to cancel it is cancelled, not tried again."""
    run = lab.submit("failing")
    [claimed] = lab.state.claim("me", 60, 1)
    lab.runs.cancel(run.id)
    [refused] = lab.state.change(runstate.finish(claimed, runstate.Ending("failed", "no luck")))
    assert refused is None
    [ended] = lab.state.change(runstate.finish(claimed, runstate.Ending("cancelled")))
    assert ended is not None
    assert ended.status == RunStatus.CANCELLED


def test_notices_wait_for_a_process_that_can_send_them(lab: Lab) -> None:
    """One without BURSTY_NOTIFY writes none, and leaves those of others to them."""
    told: list[str] = []
    lab.state.submit(RunRecord("1", "lab", "failing", lab.version.digest), EventDraft("submitted", "me"))
    [run] = lab.state.claim("me", 60, 1)
    mute = Outbox(lab.state, lab.stage.blobs, None)
    assert mute.drafts(run, None, "failed", False) == ()
    able = Outbox(lab.state, lab.stage.blobs, lambda run, _: told.append(run.id))
    lab.state.change(runstate.finish(run, runstate.Ending("failed"), able.drafts(run, None, "failed", False)))
    assert mute.deliver() == 1
    [left] = lab.state.outbox("1")
    assert "BURSTY_NOTIFY" in (left.error or "")
    lab.state.outbox_later(dataclasses.replace(left), 0, "now")
    able.deliver()
    assert (told, lab.state.outbox("1")) == (["1"], [])
    lab.state.delete_runs(["1"])


def test_secret_inputs_are_in_no_log(lab: Lab) -> None:
    run = lab.finished("tells", password="hunter2-hunter2")
    assert lab.log(run.id) == ["connecting with ***"]
    assert (run.error or "").startswith("RuntimeError: no connection with ***")


def test_too_many_metrics_are_an_error(lab: Lab) -> None:
    run = lab.finished("measures", count=2000)
    assert run.status == RunStatus.FAILED
    assert "too many metrics" in (run.error or "")


@pytest.mark.parametrize(
    ("what", "words"), [("timeout", "CallTimeout"), ("cancelled", "CancelledError"), ("pickle", "Poison")]
)
def test_whatever_a_job_raises_fails_its_run_and_is_not_opened(lab: Lab, what: str, words: str) -> None:
    beside = lab.submit("noop")
    run = lab.finished("raises", what=what)
    assert (run.status, lab.runs.get(beside.id).status) == (RunStatus.FAILED, RunStatus.SUCCEEDED)
    assert words in (run.error or "") or "time limit" in (run.error or "")
    assert "OPENED" not in os.environ
    assert "bursty/runtime" not in (run.error or "")


def test_a_lease_lost_before_the_child_was_there(lab: Lab, tmp_path: Path) -> None:
    other = Lab(tmp_path, lab.folder / "cache", MemoryState())
    try:
        run = other.submit("good")
        worker = other.worker()
        prepare = worker._launcher.prepare
        stolen: list[int] = []

        def slow(job: Any) -> None:
            if not stolen:
                stolen.append(1)
                next(iter(worker.attempts.values())).is_stale = True
            prepare(job)

        worker._launcher.prepare = slow
        mine = threading.Thread(target=worker.run)
        mine.start()
        eventually(lambda: stolen and not worker.attempts)
        worker.stop()
        mine.join(30)
        assert not mine.is_alive()
        assert other.runs.get(run.id).status == RunStatus.RUNNING, "another has it now"
    finally:
        other.close()


def test_what_may_run_once_is_lost_when_its_worker_is_stopped(lab: Lab, tmp_path: Path) -> None:
    run = lab.submit("once", path=str(tmp_path / "pid"))
    worker, thread = lab.in_background()
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    worker.stop()
    thread.join(30)
    ended = lab.runs.get(run.id)
    assert (ended.status, ended.attempt) == (RunStatus.LOST, 1)
    assert "idempotent=False" in (ended.error or "")


def test_a_log_that_is_full_keeps_its_end(lab: Lab, tmp_path: Path) -> None:
    run = lab.finished("talks", lines=8000)  # 80 MB
    assert run.status == RunStatus.SUCCEEDED, run.error
    lines = lab.log(run.id)
    assert sum(map(len, lines)) < 70 << 20
    assert any("a log holds" in line for line in lines)
    assert any("is no text" in line for line in lines[-3:])
    assert max(info.size for info in lab.stage.blobs.list(f"runs/{run.id}")) < 2 << 20, "chunks stay small"


def test_two_stages_share_a_home(lab: Lab) -> None:
    """A worker sweeps what its own stage's killed workers left, and no other's."""
    theirs = lab.folder / "home" / "scratch" / "ffffffff" / "0190-1"
    theirs.mkdir(parents=True)
    lab.finished("noop")
    assert theirs.is_dir()
    theirs.rmdir()
    theirs.parent.rmdir()


def test_a_forkserver_ends_with_its_run_and_the_next_one_gets_its_own(lab: Lab) -> None:
    ended = [lab.finished("uses_a_forkserver") for _ in range(2)]
    assert [(run.status, run.error) for run in ended] == [(RunStatus.SUCCEEDED, None)] * 2
    metrics = [json.loads(run.metrics or "") for run in ended]
    assert metrics[0] == metrics[1], "the same child ran both"
    for run in ended:
        for pid in json.loads(lab.stage.blobs.get(lab.runs.artefact(run.id, "workers.json").key)):
            eventually(lambda pid=pid: not is_alive(pid))
