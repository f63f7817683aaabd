"""What a forked process does: a real worker or scheduler with a clock of its own, or somebody who holds a lock."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from bursty import wiring
from bursty.config import Settings
from bursty.errors import NoticeFailed
from bursty.jobs.attempt import Attempt
from bursty.jobs.catalog import JobInfo
from bursty.jobs.outbox import Outbox
from bursty.jobs.worker import Worker, WorkerPlan
from bursty.ports import StateStore
from bursty.records import RunRecord
from bursty.stage import Stage
from crash.journal import Journal, Journaled

OUTBOX_LEASE = 3.0
"""Seconds after which a notice is another's, whose deliverer was killed."""


def start(order: dict[str, Any]) -> None:
    """``role`` names one of the functions below; it gets the order."""
    {"worker": work, "scheduler": schedule, "holder": hold}[order["role"]](order)


def work(order: dict[str, Any]) -> None:
    """Be a worker until SIGTERM."""
    journal = _journal(order)
    stage = _stage(order, journal, order["slots"])
    plan = WorkerPlan(slots=order["slots"], lease=order["lease"], stay=True, app="crash")
    if order["launcher"] == "engine":
        worker = stage.worker(plan)
    else:
        parts = stage.state, stage.blobs, stage.catalog, ThreadLauncher(), stage.outbox, stage.home / "scratch"
        worker = Worker(*parts, plan, say=_say)
    journal.write("hello", serial=order["serial"], owner=worker.owner)
    _on_term(worker.stop)
    worker.run()
    stage.close()
    journal.write("goodbye")


def schedule(order: dict[str, Any]) -> None:
    """Be a scheduler until SIGTERM."""
    journal = _journal(order)
    stage = _stage(order, journal, 1)
    scheduler = stage.scheduler()
    journal.write("hello", serial=order["serial"])
    _on_term(scheduler.stop)
    scheduler.run()
    stage.close()
    journal.write("goodbye")


def hold(order: dict[str, Any]) -> None:
    """Keep SQLite's write lock until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    connection = sqlite3.connect(order["path"], timeout=60, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    Path(order["sign"]).touch()
    signal.sigwait({signal.SIGTERM})
    connection.execute("COMMIT")
    connection.close()


def _on_term(stop: Callable[[], None]) -> None:
    def end(_number: int, _frame: object) -> None:
        stop()

    signal.signal(signal.SIGTERM, end)


def _journal(order: dict[str, Any]) -> Journal:
    """Also of what must not happen: a thread that ends with an error."""
    journal = Journal(Path(order["journal"]))

    def thread_died(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread is not None else "?"
        journal.write("thread died", thread=name, error=repr(args.exc_value))
        threading.__excepthook__(args)

    threading.excepthook = thread_died
    return journal


def _stage(order: dict[str, Any], journal: Journal, slots: int) -> Stage:
    """Its clock is off by ``offset`` seconds: everything in this process that asks for the time is told so."""
    real, offset = time.time, order["offset"]
    time.time = lambda: real() + offset
    stage = Stage(Settings(**order["settings"]), slots=slots, say=_say)
    state: StateStore = wiring.open_state(order["settings"]["state"])
    stage.__dict__["state"] = Journaled(state, journal, deaf=order["deaf"])  # type: ignore[assignment]
    notify = Notifier(journal, order["serial"])
    stage.__dict__["outbox"] = Outbox(stage.state, stage.blobs, notify, lease=OUTBOX_LEASE, say=_say)
    return stage


def _say(line: str) -> None:
    sys.stderr.write(f"{os.getpid()} {time.monotonic():.3f} {line}\n")


class Notifier:
    """Writes notices down; now and then the service is away."""

    def __init__(self, journal: Journal, serial: int) -> None:
        self._journal = journal
        self._draw = random.Random(serial)

    def __call__(self, run: RunRecord, data: Mapping[str, Any]) -> None:
        if self._draw.random() < 0.05:
            raise NoticeFailed("the service is away")
        self._journal.write("notice", run=run.id, end=data["end"])


class Task(Future[None]):
    """What a thread does; killed, it ends at once."""

    def __init__(self) -> None:
        super().__init__()
        self.killed = threading.Event()

    def cancel(self) -> bool:
        self.killed.set()
        return super().cancel()


class ThreadLauncher:
    """A ``Launcher`` that does in threads what ``app.work`` does in children."""

    def is_ready(self, job: JobInfo) -> bool:
        return True

    def prepare(self, job: JobInfo) -> None:
        """There is nothing to prepare."""

    def launch(self, attempt: Attempt, job: JobInfo, files: Mapping[str, str]) -> Future[Any]:
        task = Task()
        threading.Thread(target=_do, args=(task, attempt), name="crash-task", daemon=True).start()
        return task


def _do(task: Task, attempt: Attempt) -> None:
    inputs = json.loads(attempt.run.inputs)
    task.killed.wait(inputs["seconds"])
    attempt.take_metric("attempt", attempt.run.attempt)
    if not task.set_running_or_notify_cancel():
        return
    if attempt.run.attempt <= inputs.get("failures", 0):
        task.set_exception(ValueError(f"attempt {attempt.run.attempt} fails"))
    else:
        task.set_result(None)
