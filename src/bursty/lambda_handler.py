"""AWS Lambda's way in: ``bursty.lambda_handler.handler``, for API Gateway's HTTP APIs and for function URLs.

The task folder holds the app's code, its packages, and ``bursty-manifest.json``. ``BURSTY_*`` variables are the
settings; without ``BURSTY_STATE`` there are no tokens, and without it or ``BURSTY_PREDICTIONS`` no prediction log, for
whatever is written on this machine is lost with it.

Order matters here: what workers come from is started first, and what the server needs is imported while they start.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from bursty.backends.local import LocalBackend
    from bursty.core.tickets import Plan
    from bursty.endpoints import EndpointInfo
    from bursty.ports.serving import PredictionStore
    from bursty.serving.answers import Answers
    from bursty.serving.lambda_instance import Instance
    from bursty.serving.lambda_package import Package
    from bursty.stage import Stage

INIT_SECONDS = 8.0
"""Of the ten that Lambda gives an instance to start; what isn't there by then is awaited at the first event."""
PREPARED_SECONDS = 60.0
"""Where instances are started beforehand, Lambda gives more."""

LATE_FACTOR = 2
"""Deadlines that an invocation may take until its worker is killed."""

_instances: list[Instance] = []


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer an event. Raises ``ConfigError`` for one that is no HTTP request."""
    if not _instances:
        _instances.append(start())
    return _instances[0].answer(event, context)


def start() -> Instance:
    """An instance with its workers. Raises ``BurstyError``."""
    begun = time.monotonic()
    gc.disable()  # all that is made here stays
    kind = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    package = _package(Path(os.environ.get("LAMBDA_TASK_ROOT") or os.getcwd()))
    backend = _backend(package)
    instance = _instance(_stage(package), package, backend, provisioned=kind == "provisioned-concurrency")
    instance.start((INIT_SECONDS if kind == "on-demand" else PREPARED_SECONDS) - (time.monotonic() - begun))
    gc.freeze()
    gc.enable()
    return instance


def _package(folder: Path) -> Package:
    from bursty.serving.lambda_package import Package

    return Package(folder)


def _backend(package: Package) -> LocalBackend:
    """With what workers come from on its way."""
    from bursty.backends.local import LocalBackend
    from bursty.values import WorkerSpec

    backend = LocalBackend(1, blobs=str(_scratch() / "blobs"), builder=package)
    backend.prepare(WorkerSpec(version=package.version, preload=("bursty.runtime.endpoint", package.module)))
    return backend


def _scratch() -> Path:
    """The one place that can be written to."""
    return Path(tempfile.gettempdir()) / "bursty"


def _stage(package: Package) -> Stage:
    from bursty.config import load_settings
    from bursty.stage import Stage

    defaults = {"BURSTY_HOME": str(_scratch()), "BURSTY_CACHE": str(_scratch() / "cache"), "BURSTY_USER": "lambda"}
    stage = Stage(load_settings(package.folder, {**defaults, **os.environ}), say=_say)
    stage.builder = cast(Any, package)
    return stage


def _instance(stage: Stage, package: Package, backend: LocalBackend, *, provisioned: bool) -> Instance:
    """The server as ``hosting`` makes it, for one request at a time."""
    from bursty.hosting import desk_of, mount_of, plan_of, pool_of
    from bursty.serving.lambda_instance import Instance
    from bursty.serving.lambda_tokens import LambdaTokens
    from bursty.serving.metrics import Metrics
    from bursty.serving.own import own_pages
    from bursty.serving.pool import Floor
    from bursty.serving.predictions import PredictionWriter
    from bursty.serving.server import Parts, Server
    from bursty.serving.service import Service

    metrics, infos, mounts = Metrics(), package.endpoints(), package.mounts()
    answers = _answers(stage, infos)
    store = _predictions(stage) if any(info.spec.log for info in infos) else None
    log = PredictionWriter(store, say=_say) if store is not None else None
    specs = (*(info.spec for info in infos), *(spec for _, spec in mounts))
    book = LambdaTokens(
        lambda: stage.tokens.list() if stage.settings.state else (),
        at_once=any(spec.auth != "public" for spec in specs),
        say=_say,
    )
    floor = Floor(backend, desk_of(stage), _say)
    parts = Parts(
        host="lambda",
        floor=floor,
        services=[Service(info, answers, log if info.spec.log else None, metrics) for info in infos],
        mounts=[mount_of(stage, app, spec, package.version, package.target, _say) for app, spec in mounts],
        pool_of=lambda service: pool_of(floor, package.module, service, _lean(plan_of(service), service.spec.deadline)),
        book=book,
        metrics=metrics,
        current_model=lambda name: stage.models.find(name).version,
        pages=own_pages(
            infos,
            [spec for _, spec in mounts],
            store,
            title=package.app,
            version=package.version[:12],
            later=True,
        ),
    )
    flushes = [one.flush for one in (log, answers) if one is not None]
    return Instance(Server(parts), flushes, provisioned=provisioned)


def _lean(plan: Plan, deadline: float) -> Plan:
    """One request comes at a time, and memory is dear. A late worker does not get far between two freezes, but is in
    the way of others."""
    return replace(plan, workers=1, spares=0, limit=min(plan.limit, LATE_FACTOR * deadline))


def _answers(stage: Stage, infos: list[EndpointInfo]) -> Answers | None:
    """In this instance's memory, where no cache is configured."""
    from bursty.serving.answers import Answers

    if not any(isinstance(one, str) for info in infos for one in info.spec.fallback):
        return None
    return stage.answers if stage.settings.answers else Answers()


def _predictions(stage: Stage) -> PredictionStore | None:
    if not (stage.settings.predictions or stage.settings.state):
        _say("predictions are not logged: set BURSTY_STATE or BURSTY_PREDICTIONS to a store outside of this function")
        return None
    later = _Later(lambda: stage.predictions)
    threading.Thread(target=later.begin, name="bursty-opening", daemon=True).start()
    return cast("PredictionStore", later)


class _Later:
    """A store that is opened on a thread: who needs it first waits for it, and is told if it can't be opened."""

    def __init__(self, opened: Callable[[], Any]) -> None:
        self._opened = opened

    def begin(self) -> None:
        from bursty.errors import BurstyError

        try:
            self._opened()
        except BurstyError as error:
            _say(f"predictions can't be logged now: {error}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened(), name)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if "AWS_LAMBDA_RUNTIME_API" in os.environ:  # Lambda imports this module to start the instance
    _instances.append(start())
