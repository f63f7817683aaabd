"""Other libraries on bursty's workers: joblib (and so scikit-learn), and programs written for PyWren.

    import joblib, bursty
    with joblib.parallel_config("bursty", n_jobs=4):
        GridSearchCV(…).fit(X, y)

joblib learns the name ``"bursty"`` when both it and bursty are imported, in either order; neither imports the
other. Importing ``bursty.interop.joblib`` does the same and loads joblib.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

JOBLIB = "joblib.parallel"


def offer_joblib() -> None:
    """Make ``"bursty"`` a backend of joblib: now, when it is loaded, or else as soon as it is. May be called twice."""
    if JOBLIB in sys.modules:
        _register(sys.modules[JOBLIB])
    elif not any(isinstance(finder, _WaitForJoblib) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WaitForJoblib())


def _register(parallel: Any) -> None:
    if "bursty" not in getattr(parallel, "BACKENDS", {"bursty"}):  # empty while joblib is only half imported
        parallel.register_parallel_backend("bursty", _make_backend)


def _make_backend(**options: Any) -> Any:
    return importlib.import_module("bursty.interop.joblib").BurstyBackend(**options)


class _WaitForJoblib:
    """An import hook that lets the import of joblib pass, tells joblib of bursty after it, and leaves."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != JOBLIB:
            return None
        from importlib.util import find_spec

        sys.meta_path = [finder for finder in sys.meta_path if finder is not self]  # anew: others may be walking it
        spec: Any = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Telling(spec.loader)
        return spec


class _Telling:
    """A loader that is another one, and tells joblib of bursty once its module is complete."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        module.__spec__.loader = module.__loader__ = self._loader
        _register(module)
