"""``describe``: what a user's module declares, as JSON, so that nobody but a worker imports it."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from typing import Any, cast


def load_module(target: str) -> Any:
    """Import ``package.module`` or ``path/to/file.py`` (its folder goes on the import path, as when Python runs it)."""
    if target.endswith(".py"):
        path = os.path.realpath(target)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"there is no file {path}")
        folder, name = os.path.split(path)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        target = name.removesuffix(".py")
    return importlib.import_module(target)


def describe(target: str) -> dict[str, Any]:
    """Apps and their functions in a module, as plain JSON-able data.

    ``{"module": …, "apps": [{"name": …, "functions": [{"name", "module", "qualname", "memory", "timeout", …}]}],
    "functions": [names of all public functions]}``
    """
    module = load_module(target)
    apps: list[dict[str, Any]] = []
    members: dict[str, Any] = {**vars(module)}
    for value in members.values():
        kind = cast(Any, type)(value)
        declare = getattr(kind, "__bursty_describe__", None)
        if declare is not None:
            apps.append(declare(value))
    functions = [
        name
        for name, value in members.items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    return {"module": module.__name__, "apps": apps, "functions": functions}
