"""Schedules: one fire is one run, whatever dies and however many look; what is missed; pause, resume, overlap."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bursty.core import runstate
from bursty.errors import BlobNotFound, ConfigError, NoticeFailed, StoreError
from bursty.jobs.catalog import Catalog, check_schedules, jobs_of
from bursty.jobs.notices import Notices
from bursty.jobs.outbox import Outbox
from bursty.jobs.runs import Runs
from bursty.jobs.scheduler import KIND, Scheduler, Schedules
from bursty.jobs.versions import APP, VERSION, Versions
from bursty.records import RunQuery, RunStatus
from bursty.stores.blobs import MemoryBlobs
from bursty.stores.memory import MemoryState
from bursty.testing import FakeClock

DIGEST = "ab" * 32
FORM = {"fields": [{"name": "depth", "kind": "int", "required": False, "default": 1, "ge": 1}], "custom": False}


def manifest(*schedules: Mapping[str, Any], **job: Any) -> dict[str, Any]:
    """Of an app with one job that has these schedules."""
    function = {
        "name": "refresh",
        "module": "app",
        "qualname": "refresh",
        "memory": None,
        "cpu": None,
        "gpu": None,
        "timeout": None,
        "retries": None,
        "idempotent": None,
        "env": None,
    }
    defaults = {"cron": None, "every": None, "tz": "UTC", "missed": "once", "overlap": "skip", "inputs": {}}
    declared = {
        "name": "refresh",
        "title": "Refresh",
        "description": "",
        "priority": 0,
        "notify": ["failed"],
        "function": function,
        "form": FORM,
        "schedules": [{**defaults, **schedule} for schedule in schedules],
        **job,
    }
    return {"app": "scorer", "target": "app.py", "describe": {"apps": [{"name": "scorer", "jobs": [declared]}]}}


class House:
    """Everything a scheduler needs, in memory, with a clock that the test turns."""

    def __init__(self, *schedules: Mapping[str, Any], state: Any = None) -> None:
        self.clock = FakeClock(1_790_000_000.0 - 1_790_000_000.0 % 3600)
        self.state = state or MemoryState(clock=self.clock)
        self.blobs = MemoryBlobs()
        self.manifest = manifest(*schedules)
        labels = {"number": 1, "message": "", "created_at": 0.0, "created_by": "me", "commit": None, "python": "3.11"}
        self.state.put_document(APP, "scorer", {"newest": 1, "current": DIGEST}, rev=0)
        self.state.put_document(VERSION, f"scorer/{DIGEST}", {**labels, "jobs": ["refresh"]}, rev=0)
        self.runs = self.client()

    def client(self) -> Runs:
        def describe(*_: Any) -> Any:
            raise AssertionError("nothing is described here")

        versions = Versions(self.state, self.blobs, "", describe, "tester")
        return Runs(self.state, self.blobs, versions, Catalog(lambda _: self.manifest), actor="tester")

    def scheduler(self) -> Scheduler:
        runs = self.client()
        return Scheduler(runs, Outbox(self.state, self.blobs, None))

    def all_runs(self) -> list[Any]:
        return list(self.runs.list(RunQuery(limit=5000)))


def test_a_fire_is_one_run() -> None:
    house = House({"cron": "*/5 * * * *", "inputs": {"depth": 3}})
    scheduler = house.scheduler()
    assert scheduler.tick() == [], "a new schedule counts from now"
    house.clock.advance(299)
    assert scheduler.tick() == []
    house.clock.advance(1)
    [run] = scheduler.tick()
    assert (run.job, run.inputs, run.created_by) == ("refresh", '{"depth": 3}', "schedule scorer/refresh/0")
    assert scheduler.tick() == []
    assert house.scheduler().tick() == [], "another scheduler sees that it was done"


def test_a_scheduler_that_dies_after_queueing_loses_and_doubles_nothing() -> None:
    house = House({"every": 60.0})
    scheduler = house.scheduler()
    scheduler.tick()
    before = house.state.document(KIND, "scorer/refresh/0")
    house.clock.advance(60)
    [run] = scheduler.tick()
    after = house.state.document(KIND, "scorer/refresh/0")
    house.state.put_document(KIND, "scorer/refresh/0", before.data, rev=after.rev)  # as if it had died just before
    again = house.scheduler().tick()
    assert [item.id for item in again] == [run.id]
    assert len(house.all_runs()) == 1


@pytest.mark.parametrize(("policy", "count"), [("once", 1), ("skip", 0), ("all", 10)])
def test_missed_fires(policy: str, count: int) -> None:
    house = House({"cron": "0 * * * *", "missed": policy, "overlap": "queue"})
    house.scheduler().tick()
    house.clock.advance(10 * 3600 + 1800)
    assert len(house.scheduler().tick()) == count
    house.clock.advance(1800)
    assert len(house.scheduler().tick()) == 1, "the next one is on time"


def test_a_year_of_missed_seconds_is_one_run() -> None:
    house = House({"every": 1.0, "overlap": "queue"})
    house.scheduler().tick()
    house.clock.advance(365 * 86400)
    assert len(house.scheduler().tick()) == 1
    assert house.scheduler().tick() == []


@pytest.mark.parametrize(("policy", "statuses"), [("skip", 1), ("queue", 2), ("replace", 2)])
def test_overlap(policy: str, statuses: int) -> None:
    house = House({"every": 60.0, "overlap": policy})
    scheduler = house.scheduler()
    scheduler.tick()
    for _ in range(2):
        house.clock.advance(60)
        scheduler.tick()
    runs = house.all_runs()
    assert len(runs) == statuses
    first = runs[-1]
    assert first.status == (RunStatus.CANCELLED if policy == "replace" else RunStatus.QUEUED)
    [claimed] = house.state.claim("worker", 60, 1)
    house.state.change(runstate.finish(claimed, runstate.Ending("succeeded")))
    house.clock.advance(60)
    assert len(scheduler.tick()) == 1


def test_pause_resume_and_run_now() -> None:
    house = House({"every": 60.0})
    scheduler = house.scheduler()
    schedules = Schedules(house.runs, scheduler)
    scheduler.tick()
    schedules.pause("refresh")
    assert [info.paused for info in schedules.list()] == [True]
    house.clock.advance(600)
    assert scheduler.tick() == []
    schedules.resume("scorer/refresh/0")
    assert scheduler.tick() == [], "what passed meanwhile is left out"
    assert schedules.run_now("refresh").schedule == "scorer/refresh/0"
    kinds = [event.kind for event in house.state.events("schedule/scorer/refresh/0")]
    assert kinds == ["declared", "paused", "resumed"]
    [info] = schedules.list()
    assert info.next_at is not None
    assert 0 < info.next_at - house.clock.time() <= 60
    with pytest.raises(ConfigError, match=r"no schedule 'other'(.|\n)*scorer/refresh/0"):
        schedules.pause("other")


def test_a_changed_schedule_counts_from_now() -> None:
    house = House({"every": 60.0})
    scheduler = house.scheduler()
    scheduler.tick()
    house.clock.advance(3600)
    house.manifest = manifest({"every": 10.0})
    fresh = house.scheduler()
    assert fresh.tick() == []
    house.clock.advance(10)
    assert len(fresh.tick()) == 1


def test_a_schedule_that_fails_holds_up_no_other() -> None:
    house = House({"every": 60.0, "inputs": {"depth": -1}}, {"every": 60.0})
    said: list[str] = []
    scheduler = Scheduler(house.client(), Outbox(house.state, house.blobs, None), say=said.append)
    scheduler.tick()
    house.clock.advance(60)
    [run] = scheduler.tick()
    assert run.schedule == "scorer/refresh/1"
    assert any("scorer/refresh/0 can't fire" in line and "depth" in line for line in said)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({"cron": "0 0 30 2 *"}, "never"),
        ({"cron": "61 * * * *"}, "minute"),
        ({"cron": "* * * *"}, "five"),
        ({"cron": "* * * * *", "tz": "Mars/Olympus"}, "Mars/Olympus"),
        ({"every": 60.0, "inputs": {"depth": 0}}, "depth"),
    ],
)
def test_a_version_with_a_hopeless_schedule_is_refused(schedule: Mapping[str, Any], words: str) -> None:
    [job] = jobs_of(manifest(schedule), DIGEST).values()
    with pytest.raises(ConfigError, match=f"job 'refresh'(.|\n)*{words}"):
        check_schedules(job)


def test_a_thousand_fires_with_four_schedulers() -> None:
    house = House({"every": 60.0, "missed": "all", "overlap": "queue"})
    house.scheduler().tick()
    house.clock.advance(60 * 1000)
    gate = threading.Barrier(4)

    def look(_: int) -> None:
        gate.wait()
        house.scheduler().tick()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(look, range(4)))
    keys = [run.idempotency_key for run in house.all_runs()]
    assert len(keys) == len(set(keys)) == 1000


def test_an_app_that_cannot_be_read_holds_up_no_other() -> None:
    house = House({"every": 60.0})
    broken = "cd" * 32
    house.state.put_document(APP, "broken", {"newest": 1, "current": broken}, rev=0)  # before "scorer" in the alphabet
    labels = house.state.document(VERSION, f"scorer/{DIGEST}").data
    house.state.put_document(VERSION, f"broken/{broken}", labels, rev=0)

    def read(digest: str) -> Any:
        if digest == broken:
            raise BlobNotFound("manifests/cd")
        return house.manifest

    runs = house.client()
    runs.catalog = Catalog(read)
    said: list[str] = []
    scheduler = Scheduler(runs, Outbox(house.state, house.blobs, None), say=said.append)
    scheduler.tick()
    house.clock.advance(60)
    assert [run.app for run in scheduler.tick()] == ["scorer"]
    assert [line for line in said if "schedules of broken" in line] == said[:1], "said once"


class Moody(MemoryState):
    """A store whose documents of one kind can't be read for a while."""

    moods: list[Exception]

    def document(self, kind: str, key: str) -> Any:
        if kind == KIND and self.moods:
            raise self.moods.pop()
        return super().document(kind, key)


@pytest.mark.parametrize("error", [StoreError("a blob is gone"), KeyError("cursor")])
def test_an_error_of_one_schedule_holds_up_no_other(error: Exception) -> None:
    clock = FakeClock(1_790_000_000.0)
    state = Moody(clock=clock)
    state.moods = []
    house = House({"every": 60.0}, {"every": 60.0}, state=state)
    scheduler = house.scheduler()
    scheduler.tick()
    clock.advance(60)
    state.moods = [error]
    assert [run.schedule for run in scheduler.tick()] == ["scorer/refresh/1"]
    state.moods = [StoreError("away"), StoreError("away")]
    with pytest.raises(StoreError, match="away"):
        scheduler.tick()
    assert [run.schedule for run in scheduler.tick()] == ["scorer/refresh/0"]


def test_the_loop_survives_anything_and_waits_for_no_notice() -> None:
    house = House({"every": 60.0})
    house.scheduler().tick()
    sending, sent, ticked = threading.Event(), threading.Event(), threading.Event()

    def slow(*_: Any) -> None:
        sending.set()
        assert sent.wait(30)

    house.runs.submit("scorer", "refresh")
    [claimed] = house.state.claim("worker", 60, 1)
    outbox = Outbox(house.state, house.blobs, slow)
    house.state.change(
        runstate.finish(claimed, runstate.Ending("failed"), outbox.drafts(claimed, None, "failed", False))
    )
    troubles: list[Exception] = [ValueError("odd"), StoreError("away")]
    said: list[str] = []

    class Shaken(Scheduler):
        def tick(self) -> Any:
            if troubles:
                raise troubles.pop()
            if sending.is_set():
                house.clock.advance(60)
                if super().tick():
                    ticked.set()

    scheduler = Shaken(house.client(), outbox, say=said.append)
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    try:
        assert ticked.wait(30), "the schedule fires while a notice is under way"
    finally:
        sent.set()
        scheduler.stop()
        thread.join(30)
    assert not thread.is_alive()
    assert any("away" in line for line in said)
    assert any("ValueError: odd" in line for line in said)


def test_replace_leaves_a_fires_own_run_alone_after_a_scheduler_died() -> None:
    house = House({"every": 60.0, "overlap": "replace"})
    scheduler = house.scheduler()
    scheduler.tick()
    house.clock.advance(60)
    before = house.state.document(KIND, "scorer/refresh/0")
    scheduler.tick()
    house.clock.advance(60)
    scheduler.tick()
    after = house.state.document(KIND, "scorer/refresh/0")
    house.state.put_document(KIND, "scorer/refresh/0", before.data, rev=after.rev)  # as if it had died just before
    house.scheduler().tick()
    assert [run.status for run in house.all_runs()] == [RunStatus.QUEUED, RunStatus.CANCELLED]


def test_replace_by_a_scheduler_that_woke_late_cancels_no_later_run() -> None:
    house = House({"every": 60.0, "overlap": "replace"})
    late = house.scheduler()
    late.tick()
    [(key, job, spec)] = late.declared()
    fire = house.clock.time() + 60
    house.clock.advance(120)
    [newest] = house.scheduler().tick()[-1:]
    by_hand = Schedules(house.runs, late).run_now("refresh")
    late._fire(key, job, spec, fire - 7)  # a fire that nobody else dealt with
    assert {house.runs.get(run.id).status for run in (newest, by_hand)} == {RunStatus.QUEUED}


class Post:
    """A service that keeps what it is sent, and then fails."""

    def __init__(self) -> None:
        self.notices: list[Any] = []

    def send(self, notice: Any) -> None:
        self.notices.append(notice)
        raise NoticeFailed("no answer")


@pytest.mark.parametrize(
    ("notify", "title"), [(["missed"], ["scorer/refresh/0 missed 9 fires"]), (["failed"], []), ([], [])]
)
def test_people_are_told_of_missed_fires(notify: list[str], title: list[str]) -> None:
    house = House()
    house.manifest = manifest({"cron": "0 * * * *"}, notify=notify)
    post, said = Post(), list[str]()
    notices = Notices(post, house.runs, "", ())
    outbox = Outbox(house.state, house.blobs, None)
    scheduler = Scheduler(house.client(), outbox, say=said.append, tell=notices.missed)
    scheduler.tick()
    house.clock.advance(10 * 3600 + 1800)
    [run] = scheduler.tick()
    for thread in threading.enumerate():
        if thread.name == "bursty-missed":
            thread.join(30)
    assert [notice.title for notice in post.notices] == title
    assert all("It is run once now." in notice.body for notice in post.notices)
    assert said == [f"scorer/refresh/0: queued run {run.id}"] + [
        "nobody could be told that scorer/refresh/0 missed fires: no answer" for _ in title
    ]
