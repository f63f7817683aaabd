"""A stage's server, put together: endpoints and mounted apps of a version, their workers, stores, tokens, metrics."""

from __future__ import annotations

import functools
import hashlib
import pickle
from collections.abc import Callable

from bursty import wiring
from bursty.backends.local import usable_cores
from bursty.core.tickets import Plan
from bursty.endpoints import EndpointInfo, MountSpec
from bursty.engine.code import Code
from bursty.jobs.desk import Desk
from bursty.runtime.endpoint import EndpointRef
from bursty.serving.access import TokenBook
from bursty.serving.infos import endpoints_of, mounts_of
from bursty.serving.metrics import Metrics
from bursty.serving.mounts import Mount
from bursty.serving.mounts_launch import engine_launch
from bursty.serving.own import own_pages
from bursty.serving.pool import Floor, Pool
from bursty.serving.predictions import PredictionWriter
from bursty.serving.server import Parts, Server
from bursty.serving.service import Service
from bursty.stage import Stage
from bursty.values import Payload, WorkerSpec

Say = Callable[[str], None]


def build_server(stage: Stage, version: str, host: str, say: Say, *, access_log: bool = False) -> Server:
    """The server of a version. ``host``: what it will listen on.

    Its Env and code are made ready here, which may take minutes the first time. Raises ``BurstyError``.
    """
    manifest = stage.builder.manifest(version)
    infos = endpoints_of(manifest, version)
    mounts = mounts_of(manifest)
    for env in {info.spec.function.env for info in infos} | {spec.function.env for _, spec in mounts}:
        stage.builder.build_version(version, env, say=say)
    metrics = Metrics()
    answers = stage.answers if any(info.spec.fallback for info in infos) else None
    log = PredictionWriter(stage.predictions) if any(info.spec.log for info in infos) else None
    services = [Service(info, answers, log if info.spec.log else None, metrics) for info in infos]
    floor = _floor(stage, say)
    module: str = manifest["describe"]["module"]
    target: str = manifest["target"]
    webs = [_mount(stage, app, spec, version, target, say) for app, spec in mounts]
    book = TokenBook(lambda: stage.tokens.list(), say=say)
    parts = Parts(
        host=host,
        floor=floor,
        services=services,
        mounts=webs,
        pool_of=functools.partial(_pool, floor, module),
        book=book,
        metrics=metrics,
        current_model=lambda name: stage.models.find(name).version,
        pages=own_pages(
            infos,
            [spec for _, spec in mounts],
            stage.predictions if log is not None else None,
            title=manifest["app"],
            version=version[:12],
        ),
        closers=[one.close for one in (log, book) if one is not None],
    )
    return Server(parts)


def _mount(stage: Stage, app: str, spec: MountSpec, version: str, target: str, say: Say) -> Mount:
    return Mount(spec, engine_launch(stage.session, spec, target=target, app=app, version=version), say=say)


def _floor(stage: Stage, say: Say) -> Floor:
    """Workers of endpoints, on a backend of their own: a job must not take them."""
    folder = str(stage.home / "blobs")
    backend = wiring.open_backend(f"local?workers={usable_cores()}", blobs=folder, builder=stage.builder)
    desk = Desk(stage.desk, lambda _key: None, stage.runs)
    return Floor(backend, desk, say)  # pyright: ignore[reportArgumentType]


def _pool(floor: Floor, module: str, service: Service) -> Pool:
    info, spec = service.info, service.spec
    workers = spec.concurrency or usable_cores()
    plan = Plan(
        workers=workers,
        spares=spec.spares,
        batch=spec.batch.size if spec.batch else None,
        wait=spec.batch.wait if spec.batch else 0.0,
        limit=spec.function.timeout or 10 * spec.deadline,
        repeat=spec.function.idempotent is not False,
        prepares=service.prepares,
    )
    worker = WorkerSpec(spec.function.env, spec.function.memory, version=info.version, preload=(module,))
    return Pool(floor, plan, _code(info), worker, service, spec.name, info.version[:12])


def _code(info: EndpointInfo) -> Code:
    """What workers are told to run: the endpoint by name."""
    pickled = pickle.dumps(EndpointRef(info.target, info.app, info.spec.name), 5)
    return Code(hashlib.sha256(pickled).hexdigest(), Payload((pickled,)), info.spec.name, None, by_value=False)
