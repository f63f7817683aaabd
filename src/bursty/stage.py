"""A stage, opened: its stores, versions, runs and models, and what works on them; each opened when first used."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from bursty import wiring
from bursty.config import Settings, load_settings
from bursty.ports import BlobStore, StateStore
from bursty.values import WorkerSpec

if TYPE_CHECKING:
    from bursty.engine.session import Session
    from bursty.jobs.attempt import Attempt
    from bursty.jobs.catalog import Catalog, JobInfo
    from bursty.jobs.desk import StoreDesk
    from bursty.jobs.models import Models
    from bursty.jobs.outbox import Outbox
    from bursty.jobs.runs import Runs
    from bursty.jobs.scheduler import Scheduler
    from bursty.jobs.tokens import Tokens
    from bursty.jobs.versions import Versions
    from bursty.jobs.worker import Worker, WorkerPlan
    from bursty.packaging.restore import VersionBuilder
    from bursty.ports.serving import PredictionStore
    from bursty.serving.answers import Answers

T = TypeVar("T")
Say = Callable[[str], None]

LOG_BYTES = 32 << 20
"""Text that an attempt may print before only its end is kept."""


def _silent(_line: str) -> None:
    pass


class _once(functools.cached_property[T]):  # noqa: N801 (a decorator)
    """A ``cached_property`` that threads make one of."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with instance._lock:
            return cast(Any, super()).__get__(instance, owner)


class Stage:
    """What the settings say. Thread-safe but for ``close``; use it in a ``with``.

    ``slots``: how many children at once. ``say``: told in words what takes time.
    """

    def __init__(self, settings: Settings | None = None, *, slots: int = 1, say: Say = _silent) -> None:
        self.settings = settings or load_settings()
        self._slots = slots
        self._reserved = 0
        self._say = say
        self._attempts: dict[str, Attempt] = {}
        self._worker: Worker | None = None
        self._lock = threading.RLock()
        self._closers: list[Callable[[], None]] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End children, close stores."""
        while self._closers:
            self._closers.pop()()

    def reserve(self, children: int) -> None:
        """So many more children will live as long as this stage: others must not wait for them. To be said before the
        first call."""
        self._reserved += children

    # Stores

    @_once
    def home(self) -> Path:
        from bursty.stores.home import open_home

        return open_home(self.settings.home, self.settings.cache_folder)

    @_once
    def state(self) -> StateStore:
        if not self.settings.state:
            _ = self.home  # refused unless it is ours
        state = wiring.open_state(self.settings.state_url)
        self._closers.append(state.close)
        return state

    @_once
    def blobs(self) -> BlobStore:
        if not self.settings.blobs:
            _ = self.home
        return wiring.open_blobs(self.settings.blobs_url)

    @_once
    def predictions(self) -> PredictionStore:
        if not (self.settings.predictions or self.settings.state):
            _ = self.home
        predictions = wiring.open_predictions(self.settings.predictions_url)
        self._closers.append(predictions.close)
        return predictions

    @_once
    def answers(self) -> Answers:
        """Of this stage's endpoints, whoever else uses the same cache."""
        from bursty.serving.answers import Answers

        if not self.settings.answers:
            _ = self.home
        answers = Answers(wiring.open_cache(self.settings.answers_url), scope=self._scope())
        self._closers.append(answers.close)
        return answers

    def _scope(self) -> str:
        """What tells this stage from others that share a cache: its state. A Lambda function without one has the same
        place for it as all others have, so its name counts, too."""
        return " ".join((self.settings.state_url, os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")))

    # Registries

    @_once
    def builder(self) -> VersionBuilder:
        from bursty.packaging.restore import VersionBuilder

        return VersionBuilder(lambda: self.blobs, self.settings.cache_folder)

    @_once
    def catalog(self) -> Catalog:
        from bursty.jobs.catalog import Catalog

        return Catalog(self.builder.manifest)

    @_once
    def versions(self) -> Versions:
        from bursty.jobs.versions import Versions

        return Versions(self.state, self.blobs, self.settings.cache_folder, self._describe, self.settings.actor)

    @_once
    def models(self) -> Models:
        from bursty.jobs.models import Models

        return Models(self.state, self.blobs, self.settings.actor)

    @_once
    def tokens(self) -> Tokens:
        from bursty.jobs.tokens import Tokens

        return Tokens(self.state, self.settings.actor)

    @_once
    def runs(self) -> Runs:
        from bursty.jobs.runs import Runs

        return Runs(
            self.state, self.blobs, self.versions, self.catalog, actor=self.settings.actor, check=self._check_inputs
        )

    @_once
    def desk(self) -> StoreDesk:
        from bursty.jobs.desk import StoreDesk

        return StoreDesk(self.state, self.blobs, self.settings.actor)

    @_once
    def outbox(self) -> Outbox:
        from bursty.jobs.outbox import Outbox

        return Outbox(self.state, self.blobs, self._notifier(), say=self._say)

    def secrets(self) -> tuple[str, ...]:
        """Values that no log and no notice may show."""
        from bursty.core.redact import secret_values
        from bursty.notify import url_secrets

        places = ("state", "blobs", "answers", "predictions")
        known = {**os.environ, **{f"BURSTY_{name.upper()}": getattr(self.settings, name) for name in places}}
        return (*secret_values(known), *url_secrets(self.settings.notify.split()))

    # What works

    @_once
    def session(self) -> Session:
        """Children on this machine."""
        from bursty.backends.local import usable_cores
        from bursty.engine.session import Session
        from bursty.jobs.desk import Desk
        from bursty.stores.parts import ClientParts

        folder = str(self.home / "blobs")
        workers = self._reserved + max(self._slots, usable_cores())  # calls inside of jobs use every core
        backend = wiring.open_backend(
            f"local?workers={workers}", blobs=folder, builder=self.builder, call_bytes=LOG_BYTES
        )
        desk = Desk(self.desk, self._attempt_of, self.runs)
        parts = ClientParts(folder, backend.traits.spill_bytes)
        session = Session(backend, parts, lambda: self.home, builder=self.builder, output=self._wrote, desk=desk)
        self._closers.append(desk.close)
        self._closers.append(session.close)
        return session

    def worker(self, plan: WorkerPlan) -> Worker:
        """A worker on this stage's children; one at a time."""
        from bursty.backends.local import usable_cores
        from bursty.jobs.launch import EngineLauncher
        from bursty.jobs.worker import Worker

        launcher = EngineLauncher(self.session, self.builder, max(1, usable_cores() // plan.slots))
        scratch = self.home / "scratch" / hashlib.sha256(self.state.url.encode()).hexdigest()[:8]  # stages share a home
        self._worker = Worker(self.state, self.blobs, self.catalog, launcher, self.outbox, scratch, plan, say=self._say)
        return self._worker

    def scheduler(self) -> Scheduler:
        """Fires the schedules of all apps' current versions."""
        from bursty.jobs.scheduler import Scheduler

        notices = self._notifier()
        return Scheduler(self.runs, self.outbox, say=self._say, tell=notices and notices.missed)

    # Inside

    def _describe(self, worker: WorkerSpec, target: str) -> Mapping[str, Any]:
        from bursty.jobs.launch import call_version
        from bursty.runtime.describe import describe

        return call_version(self.session, worker, describe, target)

    def _check_inputs(self, job: JobInfo, inputs: Mapping[str, Any]) -> None:
        from bursty.jobs.launch import call_version
        from bursty.runtime.jobrun import check_inputs

        worker = WorkerSpec(job.env, job.memory, version=job.version)
        call_version(self.session, worker, check_inputs, job.target, job.reference, dict(inputs))

    def _attempt_of(self, key: tuple[str, int]) -> Attempt | None:
        return self._worker.attempts.get(key) if self._worker is not None else None

    def _wrote(self, label: str, stream: str, text: str) -> None:
        """What a child printed: ``label`` is RUN/ATTEMPT and the call's number in its block."""
        run, _, rest = label.partition("/")
        attempt = rest.partition(" ")[0]
        found = self._attempt_of((run, int(attempt))) if attempt.isdecimal() else None
        if found is not None:
            found.logs.write(stream, text)
        elif label.startswith(("mount ", "endpoint ")):
            from bursty.engine.output import show_lines

            if label.startswith("endpoint "):  # its answer is what standard output is for
                label, stream = label.rpartition(" ")[0], "stderr"
            show_lines(label, stream, text)

    def _notifier(self) -> Any:
        urls = self.settings.notify.split()
        if not urls:
            return None
        from bursty.jobs.notices import Notices
        from bursty.notify import AppriseNotifier

        return Notices(AppriseNotifier(urls), self.runs, self.settings.url, self.secrets())


_ambient: list[Stage] = []
_ambient_lock = threading.Lock()


def ambient_stage() -> Stage:
    """The process's own stage, as the settings said when it was first needed: for models and for ``job.start()``."""
    with _ambient_lock:
        if not _ambient:
            stage = Stage()
            _ambient.append(stage)
            atexit.register(stage.close)
        return _ambient[0]
