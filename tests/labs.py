"""A stage to run jobs on in tests: the lab's app in a folder of its own, state in memory unless told otherwise."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bursty.config import Settings
from bursty.jobs.worker import Tally, Worker, WorkerPlan
from bursty.ports import StateStore
from bursty.records import RunRecord
from bursty.stage import Stage

APPS = Path(__file__).parent / "jobs_apps"


def eventually(what: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true value; fails when there is none in time."""
    until = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.01)
    return value


class Lab:
    """A stage with the lab's app as its current version."""

    def __init__(self, folder: Path, cache: Path, state: StateStore, **settings: str) -> None:
        self.folder = folder
        self.said: list[str] = []
        source = folder / "source"
        shutil.copytree(APPS, source, ignore=shutil.ignore_patterns("__pycache__"))
        home = str(folder / "home")
        self.settings = Settings(home=home, cache=str(cache), user="tester", **settings)
        self.stage = Stage(self.settings, slots=2, say=self.said.append)
        self.stage.__dict__["state"] = state
        self.state = state
        self.version, _ = self.stage.versions.take(source / "app.py", "the lab")
        self.runs = self.stage.runs

    def submit(self, job: str, **inputs: Any) -> RunRecord:
        return self.runs.submit("lab", job, inputs)

    def worker(self, **plan: Any) -> Worker:
        return self.stage.worker(WorkerPlan(**{"slots": 2, "lease": 30.0, "secrets": self.stage.secrets(), **plan}))

    def drain(self, **plan: Any) -> Tally:
        """Work until nothing is left."""
        return self.worker(**plan).run()

    def finished(self, job: str, **inputs: Any) -> RunRecord:
        """One run, worked off."""
        run = self.submit(job, **inputs)
        self.drain()
        return self.runs.get(run.id)

    def in_background(self, **plan: Any) -> tuple[Worker, threading.Thread]:
        worker = self.worker(stay=True, **plan)
        thread = threading.Thread(target=worker.run)
        thread.start()
        return worker, thread

    def log(self, run: str) -> list[str]:
        return [line.text for line in self.runs.log(run)]

    def close(self) -> None:
        self.stage.close()
