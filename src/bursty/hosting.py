"""A stage's server, put together: endpoints and mounted apps of a version, their workers, stores, tokens, metrics."""

from __future__ import annotations

import functools
import hashlib
import pickle
from collections.abc import Callable
from typing import Any

from bursty.backends.local import LocalBackend, usable_cores
from bursty.core.tickets import Plan
from bursty.endpoints import EndpointInfo, MountSpec
from bursty.engine.code import Code
from bursty.runtime.endpoint_ref import EndpointRef
from bursty.serving.access import TokenBook, is_loopback
from bursty.serving.accesslog import AccessLog
from bursty.serving.infos import endpoints_of, mounts_of
from bursty.serving.metrics import Metrics, watch_stores
from bursty.serving.mounts import Mount
from bursty.serving.pool import Floor, Pool
from bursty.serving.predictions import PredictionWriter
from bursty.serving.server import Parts, Server
from bursty.serving.service import Service
from bursty.stage import Stage
from bursty.values import Frame, Payload, WorkerSpec

Say = Callable[[str], None]
FLUSH_SECONDS = 60.0
"""What was answered last may take so long to be logged when the server ends: long lists have many rows."""


def build_server(stage: Stage, version: str, host: str, say: Say, *, access_log: bool = False) -> Server:
    """The server of a version. ``host``: what it will listen on. ``access_log``: a line for each request on stderr.

    Its Env and code are made ready here, which may take minutes the first time. Raises ``BurstyError``.
    """
    from bursty.serving.own import own_pages

    manifest = stage.builder.manifest(version)
    infos = endpoints_of(manifest, version)
    mounts = mounts_of(manifest)
    for env in {info.spec.function.env for info in infos} | {spec.function.env for _, spec in mounts}:
        stage.builder.build_version(version, env, say=say)
    metrics = Metrics()
    answers = stage.answers if any(info.spec.fallback for info in infos) else None
    log = PredictionWriter(stage.predictions, say=say) if any(info.spec.log for info in infos) else None
    watch_stores(metrics, answers, log)
    services = [Service(info, answers, log if info.spec.log else None, metrics) for info in infos]
    floor = Floor(floor_backend(stage, usable_cores()), desk_of(stage), say)
    module: str = manifest["describe"]["module"]
    target: str = manifest["target"]
    stage.reserve(sum(spec.processes for _, spec in mounts))
    webs = [mount_of(stage, app, spec, version, target, say) for app, spec in mounts]
    book = TokenBook(lambda: stage.tokens.list(), say=say)
    lines = AccessLog() if access_log else None
    if lines is not None:
        metrics.watch("access_log_dropped", lambda: lines.dropped)
    parts = Parts(
        host=host,
        floor=floor,
        services=services,
        mounts=webs,
        pool_of=functools.partial(pool_of, floor, module),
        book=book,
        metrics=metrics,
        current_model=lambda name: stage.models.find(name).version,
        pages=own_pages(
            infos,
            [spec for _, spec in mounts],
            stage.predictions if log is not None else None,
            title=manifest["app"],
            version=version[:12],
            is_local=is_loopback(host),
        ),
        note=lines and lines.note,
        closers=[
            *([functools.partial(log.close, FLUSH_SECONDS)] if log is not None else ()),
            *(one.close for one in (book, lines) if one is not None),
        ],
    )
    return Server(parts)


def mount_of(stage: Stage, app: str, spec: MountSpec, version: str, target: str, say: Say) -> Mount:
    """A mounted app on children of the stage's session."""
    from bursty.serving.mounts_launch import engine_launch

    return Mount(spec, engine_launch(stage.session, spec, target=target, app=app, version=version), say=say)


def floor_backend(stage: Stage, workers: int) -> LocalBackend:
    """For the workers of endpoints, a backend of their own: a job must not take them."""
    return LocalBackend(workers, blobs=str(stage.home / "blobs"), builder=stage.builder)


def desk_of(stage: Stage) -> Callable[[Frame, Callable[[Frame], None]], None]:
    """Answers what endpoints ask for, such as models; made when one asks."""

    @functools.cache
    def desk() -> Any:
        from bursty.jobs.desk import Desk

        return Desk(stage.desk, lambda _key: None, stage.runs)

    return lambda question, answer: desk()(question, answer)


def worker_of(module: str, info: EndpointInfo) -> WorkerSpec:
    """The kind of worker that an endpoint needs. ``module``: that declares it."""
    function, preload = info.spec.function, ("bursty.runtime.endpoint", module)
    return WorkerSpec(function.env, function.memory, version=info.version, preload=preload)


def plan_of(service: Service) -> Plan:
    """As the endpoint declares it."""
    spec = service.spec
    return Plan(
        workers=spec.concurrency or usable_cores(),
        spares=spec.spares,
        batch=spec.batch.size if spec.batch else None,
        wait=spec.batch.wait if spec.batch else 0.0,
        limit=spec.function.timeout or 10 * spec.deadline,
        repeat=spec.function.idempotent is not False,
        prepares=service.prepares,
    )


def pool_of(floor: Floor, module: str, service: Service, plan: Plan | None = None) -> Pool:
    """The workers of an endpoint. ``plan``: instead of what it declares."""
    info, name = service.info, service.spec.name
    worker = worker_of(module, info)
    return Pool(floor, plan or plan_of(service), _code(info), worker, service, name, info.version[:12])


def _code(info: EndpointInfo) -> Code:
    """What workers are told to run: the endpoint by name."""
    pickled = pickle.dumps(EndpointRef(info.target, info.app, info.spec.name), 5)
    return Code(hashlib.sha256(pickled).hexdigest(), Payload((pickled,)), info.spec.name, None, by_value=False)
