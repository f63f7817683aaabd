"""Attempts as calls of the engine: a warm child for each version, killed on cancel and time-out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Protocol

from bursty.backends.local import THREAD_VARIABLES
from bursty.engine.block import Options
from bursty.engine.code import Code, encode_function
from bursty.engine.encode import block_of_calls, encode_call
from bursty.engine.futures import FutureBlock
from bursty.engine.session import Session
from bursty.jobs.attempt import Attempt
from bursty.jobs.catalog import JobInfo
from bursty.ports import Builder
from bursty.runtime.jobrun import run_job
from bursty.values import WorkerSpec


class Launcher(Protocol):
    """What a worker needs to run attempts. Fakes of it make its tests fast."""

    def is_ready(self, job: JobInfo) -> bool:
        """Whether ``prepare`` would have nothing to do."""
        ...

    def prepare(self, job: JobInfo) -> None:
        """Make the version's Env and code ready: minutes, the first time. Raises ``EnvError``, ``StoreError``."""
        ...

    def launch(self, attempt: Attempt, job: JobInfo, files: Mapping[str, str]) -> Future[Any]: ...


class EngineLauncher:
    """On the workers of a session.

    ``threads``: of numerical libraries in an attempt's child; nested calls have those that the backend says.
    """

    def __init__(self, session: Session, builder: Builder, threads: int = 1) -> None:
        self._variables = tuple((name, str(threads)) for name in THREAD_VARIABLES if name not in os.environ)
        self._session = session
        self._builder = builder
        self._code: Code = encode_function(run_job, session.parts)
        self._ready: set[tuple[str, Any]] = set()

    def is_ready(self, job: JobInfo) -> bool:
        return (job.version, job.env) in self._ready

    def prepare(self, job: JobInfo) -> None:
        if (job.version, job.env) not in self._ready:
            self._builder.build_version(job.version, job.env)
            self._ready.add((job.version, job.env))

    def launch(self, attempt: Attempt, job: JobInfo, files: Mapping[str, str]) -> Future[Any]:
        """The label of the call is the attempt's, so that what it prints finds its log."""
        run = attempt.run
        about = {
            "id": run.id,
            "job": run.job,
            "app": run.app,
            "version": run.version,
            "attempt": run.attempt,
            "inputs": json.loads(run.inputs),
            "folder": str(attempt.scratch),
        }
        code = replace(self._code, label=label_of(attempt))
        args = (job.target, job.reference, json.dumps(about), dict(files))
        call = encode_call(code, args, {}, self._session.parts, None)
        worker = WorkerSpec(job.env, job.memory, 0, self._variables, version=run.version)
        block = block_of_calls(code, [call], Options(0, run.timeout, False, worker))
        [future] = FutureBlock(block, self._session.engine).futures()
        self._session.engine.submit(block)
        return future


def call_version(
    session: Session, worker: WorkerSpec, function: Callable[..., Any], *args: Any, label: str = "", once: bool = False
) -> Any:
    """One call of a function that workers can import, on a worker of this kind. Raises what it raised.

    ``label``: names what it prints. ``once``: it is not tried again on another worker when it takes its own with it.
    """
    code = encode_function(function, session.parts)
    code = replace(code, label=label or code.label)
    call = encode_call(code, args, {}, session.parts, None)
    block = block_of_calls(code, [call], Options(idempotent=False if once else None, worker=worker))
    [future] = FutureBlock(block, session.engine).futures()
    session.engine.submit(block)
    return future.result()


def label_of(attempt: Attempt) -> str:
    """Names an attempt in what the engine tells of calls."""
    return f"{attempt.run.id}/{attempt.run.attempt}"
