"""Where a trial takes place: a store with the app's version in it, and processes that can be hit."""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bursty.config import Settings
from bursty.ports import StateStore
from bursty.stage import Stage
from crash.crew import Crew, Nursery
from crash.houses import House, Open
from crash.plan import Trial, clock_offset
from labs import eventually
from processes import marked

APP = Path(__file__).with_name("app.py")
HOLD_SECONDS = 60.0


@dataclass(frozen=True)
class Ground:
    trial: Trial
    house: House
    folder: Path
    nursery: Nursery
    stage: Stage

    @property
    def state(self) -> StateStore:
        return self.stage.state

    def crew(self, role: str, size: int) -> Crew:
        """Workers or schedulers, at work."""
        folder = self.folder / role
        folder.mkdir()
        return Crew(self.nursery, folder, size, lambda serial, place: self._order(role, serial, place))

    def _order(self, role: str, serial: int, place: int) -> dict[str, Any]:
        """The worker at the first place is deaf: see ``Journaled``."""
        return {
            "role": role,
            "settings": {name: value for name, value in asdict(self.stage.settings).items() if value},
            "offset": clock_offset(self.trial, serial),
            "deaf": role == "worker" and place == 0,
            "slots": self.trial.slots,
            "lease": self.trial.lease,
            "launcher": self.trial.launcher,
        }


@contextmanager
def ground(trial: Trial, folder: Path, opened: Open) -> Generator[Ground]:
    """Open one; at the end no process is left of it."""
    mark = uuid.uuid4().hex
    nursery: list[Nursery] = []

    def hold(path: Path, killed: bool) -> AbstractContextManager[None]:
        return _hold(nursery[0], path, killed)

    try:
        with opened(folder, hold) as house, _environ(house.environ):
            nursery.append(Nursery(folder, mark))
            source = folder / "source"
            source.mkdir()
            shutil.copy(APP, source)
            settings = Settings(home=str(folder / "home"), cache=str(folder / "cache"), state=house.url, user="crash")
            with Stage(settings) as stage:
                stage.versions.take(source / APP.name, "the crash test")
                yield Ground(trial, house, folder, nursery[0], stage)
                nursery[0].close()
                eventually(lambda: not marked(mark))
    finally:
        for still in nursery:
            still.close()


@contextmanager
def _environ(values: Mapping[str, str]) -> Generator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _hold(nursery: Nursery, path: Path, killed: bool) -> Generator[None]:
    """Somebody keeps SQLite's write lock at ``path`` meanwhile; then lets go, or is killed."""
    sign = path.with_name(f"held-{uuid.uuid4().hex}")
    child = nursery.fork({"role": "holder", "path": str(path), "sign": str(sign)})
    eventually(sign.exists, HOLD_SECONDS)
    yield
    child.send(signal.SIGKILL if killed else signal.SIGTERM)
    assert child.wait(HOLD_SECONDS)
    child.close()
