"""bursty: Python that runs on machines that come out of thin air and vanish.

>>> from bursty import App, Executor
>>> with Executor("local") as executor:
...     squares = list(executor.map(pow, range(5), [2] * 5))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bursty import interop, ports, slots

if TYPE_CHECKING:
    from bursty.app import App
    from bursty.config import Settings
    from bursty.endpoints import Batching, Default, Log
    from bursty.engine.executor import Executor
    from bursty.engine.futures import CallFuture
    from bursty.errors import (
        BackendError,
        BurstyError,
        CallError,
        CallExited,
        CallTimeout,
        ConfigError,
        EnvError,
        InputsInvalid,
        MemoryLimit,
        RemoteError,
        ResumeMismatch,
        SerializationError,
        StoreError,
        WorkerLost,
    )
    from bursty.forms.table import Table
    from bursty.forms.types import File, Unit
    from bursty.records import RunQuery, RunRecord, RunStatus
    from bursty.runtime.model import Model
    from bursty.runtime.run import Run
    from bursty.stage import Stage
    from bursty.values import CallStats, Env, FunctionSpec

__version__ = "0.1.0"

_HOME = {
    "App": "bursty.app",
    "Batching": "bursty.endpoints",
    "Default": "bursty.endpoints",
    "Log": "bursty.endpoints",
    "File": "bursty.forms.types",
    "Model": "bursty.runtime.model",
    "Run": "bursty.runtime.run",
    "RunQuery": "bursty.records",
    "RunRecord": "bursty.records",
    "RunStatus": "bursty.records",
    "Stage": "bursty.stage",
    "Table": "bursty.forms.table",
    "Unit": "bursty.forms.types",
    "Settings": "bursty.config",
    "Executor": "bursty.engine.executor",
    "CallFuture": "bursty.engine.futures",
    "CallStats": "bursty.values",
    "Env": "bursty.values",
    "FunctionSpec": "bursty.values",
    **dict.fromkeys(
        (
            "BackendError",
            "BurstyError",
            "CallError",
            "CallExited",
            "CallTimeout",
            "ConfigError",
            "EnvError",
            "InputsInvalid",
            "MemoryLimit",
            "RemoteError",
            "ResumeMismatch",
            "SerializationError",
            "StoreError",
            "WorkerLost",
        ),
        "bursty.errors",
    ),
}

__all__ = [
    "App",
    "BackendError",
    "Batching",
    "BurstyError",
    "CallError",
    "CallExited",
    "CallFuture",
    "CallStats",
    "CallTimeout",
    "ConfigError",
    "Default",
    "Env",
    "EnvError",
    "Executor",
    "File",
    "FunctionSpec",
    "InputsInvalid",
    "Log",
    "MemoryLimit",
    "Model",
    "RemoteError",
    "ResumeMismatch",
    "Run",
    "RunQuery",
    "RunRecord",
    "RunStatus",
    "SerializationError",
    "Settings",
    "Stage",
    "StoreError",
    "Table",
    "Unit",
    "WorkerLost",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bursty' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


# The composition root: what the ambient slot and executors are made of, imported when first needed.


def _open_session(backend: str | None, **options: Any) -> Any:
    from bursty import config, wiring

    settings = config.load_settings()
    return wiring.open_session(
        backend or settings.backend,
        blobs=settings.blobs_url,
        home=settings.home,
        cache=settings.cache_folder,
        **options,
    )


def _default_runner() -> Any:
    from bursty import wiring

    return wiring.default_executor()


def _open_runs() -> Any:
    if slots.runs:
        return slots.runs[0]
    from bursty.stage import ambient_stage

    return ambient_stage().runs


def _answer(question: Any) -> Any:
    from bursty.stage import ambient_stage

    return ambient_stage().desk.answer(question)


ports.install_sessions(_open_session)
ports.install_runs(_open_runs)
slots.desk[:] = [_answer]
ports.install_default(_default_runner)
interop.offer_joblib()  # joblib.parallel_config("bursty") works after `import bursty`
