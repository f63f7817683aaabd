"""The scheduler: queues a run at each fire of a schedule, one however many schedulers live.

    document schedule/APP/JOB/N: {"spec", "cursor": time of the newest fire that was dealt with, "paused", "run"}

A fire's run has an idempotency key made of the schedule and the fire's time: whoever else queues it gets the same run.
The cursor moves on by compare-and-swap after that, so a scheduler that dies in between loses no fire.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bursty.changes import EventDraft
from bursty.core.cron import Due, Timetable, missed
from bursty.errors import BurstyError, ConfigError, StoreError, in_words
from bursty.jobs.caretaker import Caretaker
from bursty.jobs.catalog import JobInfo, timetable_of
from bursty.jobs.outbox import Outbox
from bursty.jobs.runs import Runs
from bursty.records import Document, RunQuery, RunRecord
from bursty.values import ScheduleSpec

KIND = "schedule"
POLL_SECONDS = 1.0
GRACE_SECONDS = 60.0
"""A fire that is dealt with later than this counts as missed."""
BATCH = 50
"""Fires that are dealt with before the cursor moves on."""
MAX_FIRES = 10_000
"""Missed fires that are looked at in one go."""
RECENT = 2 * BATCH
"""A schedule's newest runs, among which a fire's own is looked for."""
OPEN = 10
"""Open runs of a schedule that are looked at for overlap."""


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule and where it stands. ``key``: APP/JOB/N. ``run``: the newest run it queued. Times since the epoch."""

    key: str
    app: str
    job: str
    spec: ScheduleSpec
    words: str
    paused: bool
    next_at: float | None
    last_at: float | None
    run: str | None


class Scheduler:
    """Fires the schedules of every app's current version. ``outbox``: delivered meanwhile, on a thread of its own.

    ``tell``: tells people of fires that were missed for good, of jobs whose ``notify`` has ``"missed"``: once, and if
    that fails, it is only said.
    """

    def __init__(
        self,
        runs: Runs,
        outbox: Outbox,
        *,
        say: Callable[[str], None] = lambda _line: None,
        tell: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._runs = runs
        self._state = runs.state
        self._outbox = outbox
        self._say = say
        self._tell = tell
        self._stopping = threading.Event()
        self._timetables: dict[ScheduleSpec | str, Timetable] = {}
        self._troubles: dict[str, str] = {}

    # The loop

    def run(self) -> None:
        """Until ``stop``, whatever fails meanwhile."""
        owner = f"scheduler:{socket.gethostname()}:{os.getpid()}"
        caretaker = Caretaker(self._state, self._outbox, owner, self._known, self._say)
        caretaker.start()
        try:
            while not self._stopping.is_set():
                try:
                    self.tick()
                except StoreError as error:
                    self._say(f"the state store can't be reached, trying again: {error.message}")
                except Exception as error:
                    self._say(f"the schedules could not be looked at, trying again: {in_words(error)}")
                self._stopping.wait(POLL_SECONDS)
        finally:
            caretaker.stop()

    def stop(self) -> None:
        self._stopping.set()

    def tick(self) -> list[RunRecord]:
        """Deal with all fires up to now; the runs that were queued. A schedule that fails does not hold up others.

        Raises ``StoreError`` when the state store fails: no schedule could fire.
        """
        queued: list[RunRecord] = []
        for key, job, spec in self.declared():
            try:
                queued += self._look_at(key, job, spec)
            except Exception as error:
                self._state.document(KIND, key)  # raises when it is the state store that fails
                self._trouble(key, f"the schedule {key} can't fire: {in_words(error)}")
            else:
                self._troubles.pop(key, None)
        return queued

    def declared(self) -> Iterator[tuple[str, JobInfo, ScheduleSpec]]:
        """Every schedule of a current version that can be read: its key, job and spec."""
        for app in self._runs.versions.apps():
            try:
                version = self._runs.versions.get(app)
            except ConfigError:
                continue  # no version is current
            for job in self._jobs(app, version.digest):
                for number, spec in enumerate(job.schedules):
                    yield f"{app}/{job.name}/{number}", job, spec

    def _jobs(self, app: str, version: str) -> Sequence[JobInfo]:
        """None of a version that can't be read: other apps' schedules go on."""
        try:
            jobs = list(self._runs.catalog.jobs(version).values())
        except Exception as error:
            words = f"the schedules of {app} can't fire, for its version {version[:12]} can't be read"
            self._trouble(app, f"{words}: {in_words(error)}")
            return []
        self._troubles.pop(app, None)
        return jobs

    def _trouble(self, what: str, words: str) -> None:
        """Said once as long as it stays the same, not every second."""
        if self._troubles.get(what) != words:
            self._troubles[what] = words
            self._say(words)

    def _known(self, run: RunRecord) -> JobInfo | None:
        try:
            return self._runs.catalog.job(run.version, run.job)
        except BurstyError:
            return None

    def _timetable(self, spec: ScheduleSpec) -> Timetable:
        name = repr(spec)
        if name not in self._timetables:
            self._timetables[name] = timetable_of(spec)
        return self._timetables[name]

    def _look_at(self, key: str, job: JobInfo, spec: ScheduleSpec) -> list[RunRecord]:
        """In batches, so that a scheduler that dies leaves little to be done again. One whose batch was dealt with by
        another as well leaves the rest to that one."""
        now = self._state.now()
        queued: list[RunRecord] = []
        while (document := self._state.document(KIND, key)) is not None and document.data["spec"] == asdict(spec):
            if document.data["paused"]:
                return queued
            due, cursor = _due(self._timetable(spec), spec, document.data["cursor"], now)
            if cursor is None:
                return queued
            batch = [run for fire in due.run if (run := self._fire(key, job, spec, fire)) is not None]
            queued += batch
            if not self._move_on(document, due, cursor, batch):
                return queued
            if due.skipped and "missed" in job.notify:
                self._tell_missed(key, job, spec, due)
        self._begin(key, spec, document, now)
        return queued

    def _move_on(self, document: Document, due: Due, cursor: float, queued: Sequence[RunRecord]) -> bool:
        """Whether nobody else did so before."""
        data = {**document.data, "cursor": cursor, **({"run": queued[-1].id} if queued else {})}
        details = {"fires": due.skipped[-20:], "count": len(due.skipped)}
        event = EventDraft("missed", "scheduler", details) if due.skipped else None
        return self._state.put_document(KIND, document.key, data, rev=document.rev, event=event) is not None

    def _tell_missed(self, key: str, job: JobInfo, spec: ScheduleSpec, due: Due) -> None:
        """On a thread of its own: a service that is slow must hold up no fire."""
        if (tell := self._tell) is None:
            return
        event = {
            "event": "missed",
            "app": job.app,
            "job": job.name,
            "schedule": key,
            "count": len(due.skipped),
            "first": due.skipped[0],
            "last": due.skipped[-1],
            "policy": spec.missed if due.run or spec.missed == "skip" else None,
        }

        def send() -> None:
            try:
                tell(event)
            except Exception as error:
                self._say(f"nobody could be told that {key} missed fires: {in_words(error)}")

        threading.Thread(target=send, name="bursty-missed", daemon=True).start()

    def _begin(self, key: str, spec: ScheduleSpec, document: Document | None, now: float) -> None:
        """A schedule that is new or was changed counts from now."""
        before = document.data if document else {"paused": False, "run": None}
        data = {**before, "spec": asdict(spec), "cursor": now}
        event = EventDraft(
            "changed" if document else "declared", "scheduler", {"words": self._timetable(spec).describe()}
        )
        self._state.put_document(KIND, key, data, rev=document.rev if document else 0, event=event)

    def _fire(self, key: str, job: JobInfo, spec: ScheduleSpec, fire: float) -> RunRecord | None:
        token = f"bursty:schedule {key}@{fire:.3f}"
        if spec.overlap != "queue":
            query = RunQuery(app=job.app, job=job.name, schedule=key, limit=RECENT)
            mine = [run for run in self._state.find(query) if run.idempotency_key == token]
            if mine:  # queued before the cursor moved, or by another scheduler
                return mine[0]
            others = self._state.find(replace(query, open_only=True, limit=OPEN))
            if others and spec.overlap == "skip":
                self._say(f"{key}: a run is under way, this fire is left out")
                return None
            for run in others:
                if _fire_of(run, key) < fire:  # a scheduler that woke late meets runs of later fires
                    self._runs.cancel(run.id)
        queued = self._runs.submit(
            job.app,
            job.name,
            dict(spec.inputs),
            version=job.version,
            key=token,
            strict_key=False,
            created_by=f"schedule {key}",
            schedule=key,
        )
        self._say(f"{key}: queued run {queued.id}")
        return queued


def _fire_of(run: RunRecord, key: str) -> float:
    """When the fire was that queued a run; of one that a person queued: when that was."""
    schedule, _, moment = (run.idempotency_key or "").rpartition("@")
    return float(moment) if schedule.endswith(key) else run.created_at


def _due(timetable: Timetable, spec: ScheduleSpec, cursor: float, now: float) -> tuple[Due, float | None]:
    """What to do about the fires since ``cursor`` (of many that are all wanted: about the first), and the newest of
    these."""
    fires = timetable.fires_between(cursor, now, BATCH if spec.missed == "all" else MAX_FIRES)
    if len(fires) == MAX_FIRES and (newest := timetable.last_until(now)) is not None:
        fires = [newest]  # a backlog that nobody wants: the newest stands for it
    return missed(fires, now, spec.missed, GRACE_SECONDS), (fires[-1] if fires else None)


class Schedules:
    """What people do with schedules. ``actor``: who."""

    def __init__(self, runs: Runs, scheduler: Scheduler) -> None:
        self._runs = runs
        self._state = runs.state
        self._scheduler = scheduler

    def list(self) -> Sequence[ScheduleInfo]:
        """All schedules of current versions."""
        return [self._info(key, job, spec) for key, job, spec in self._scheduler.declared()]

    def _info(self, key: str, job: JobInfo, spec: ScheduleSpec) -> ScheduleInfo:
        timetable = timetable_of(spec)
        document = self._state.document(KIND, key)
        data: Any = document.data if document else {"paused": False, "cursor": None, "run": None}
        return ScheduleInfo(
            key,
            job.app,
            job.name,
            spec,
            timetable.describe(),
            data["paused"],
            None if data["paused"] else timetable.next_after(self._state.now()),
            data["cursor"],
            data["run"],
        )

    def pause(self, key: str) -> None:
        """No fire until ``resume``."""
        self._set(key, True)

    def resume(self, key: str) -> None:
        """Fire again, from now on: what passed meanwhile is left out."""
        self._set(key, False)

    def run_now(self, key: str) -> RunRecord:
        """Queue a run with the schedule's inputs, beside its fires."""
        key, job, spec = self._find(key)
        return self._runs.submit(job.app, job.name, dict(spec.inputs), version=job.version, schedule=key)

    def _set(self, key: str, paused: bool) -> None:
        key, _, spec = self._find(key)
        while True:
            document = self._state.document(KIND, key)
            before: Any = document.data if document else {"spec": asdict(spec), "run": None}
            data = {**before, "paused": paused, "cursor": self._state.now()}
            event = EventDraft("paused" if paused else "resumed", self._runs.actor)
            if self._state.put_document(KIND, key, data, rev=document.rev if document else 0, event=event) is not None:
                return

    def _find(self, key: str) -> tuple[str, JobInfo, ScheduleSpec]:
        """By its key, or by the job's name when that has one schedule."""
        declared = list(self._scheduler.declared())
        found = [item for item in declared if key in (item[0], item[1].name, f"{item[1].app}/{item[1].name}")]
        if len(found) != 1:
            known = ", ".join(item[0] for item in declared) or "none"
            raise ConfigError(
                f"there is no schedule {key!r}" if not found else f"{key!r} has several", f"Known: {known}."
            )
        return found[0]
