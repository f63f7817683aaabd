"""bursty: Python that runs on machines that come out of thin air and vanish.

>>> from bursty import App, Executor
>>> with Executor("local") as executor:
...     squares = list(executor.map(pow, range(5), [2] * 5))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bursty import interop, ports

if TYPE_CHECKING:
    from bursty.app import App
    from bursty.config import Settings
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
        MemoryLimit,
        RemoteError,
        ResumeMismatch,
        SerializationError,
        StoreError,
        WorkerLost,
    )
    from bursty.values import CallStats, Env, FunctionSpec

__version__ = "0.1.0"

_HOME = {
    "App": "bursty.app",
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
    "BurstyError",
    "CallError",
    "CallExited",
    "CallFuture",
    "CallStats",
    "CallTimeout",
    "ConfigError",
    "Env",
    "EnvError",
    "Executor",
    "FunctionSpec",
    "MemoryLimit",
    "RemoteError",
    "ResumeMismatch",
    "SerializationError",
    "Settings",
    "StoreError",
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


ports.install_sessions(_open_session)
ports.install_default(_default_runner)
interop.offer_joblib()  # joblib.parallel_config("bursty") works after `import bursty`
