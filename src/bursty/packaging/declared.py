"""Which Env an app asks for, read from its text: to import the app one must have its packages already."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from bursty.values import Env


def read_app_env(path: Path) -> Env | None:
    """The Env of ``App(…, env=Env(…))`` in a file, or of a name given to that Env before. ``None``: it has none, or
    one that is computed."""
    try:
        body = ast.parse(path.read_bytes(), str(path)).body
    except (SyntaxError, ValueError):
        return None  # the import says it better
    named: dict[str, ast.expr] = {}
    for statement in body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            continue
        if (env := _app_env(statement.value)) is not None:
            return _read(named.get(env.id, env) if isinstance(env, ast.Name) else env)
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        named.update((target.id, statement.value) for target in targets if isinstance(target, ast.Name))
    return None


def _app_env(value: ast.expr) -> ast.expr | None:
    """What ``env=`` is in ``App(…)``."""
    if not _is_call_of(value, "App"):
        return None
    return next((keyword.value for keyword in value.keywords if keyword.arg == "env"), None)  # type: ignore[attr-defined]


def _read(value: ast.expr) -> Env | None:
    if not isinstance(value, ast.Call) or not _is_call_of(value, "Env"):
        return None
    try:
        args: list[Any] = [ast.literal_eval(arg) for arg in value.args]
        options: dict[str, Any] = {item.arg: ast.literal_eval(item.value) for item in value.keywords if item.arg}
        return Env(*args, **options)
    except (ValueError, TypeError):
        return None


def _is_call_of(value: ast.expr, name: str) -> bool:
    if not isinstance(value, ast.Call):
        return False
    called = value.func
    return (isinstance(called, ast.Name) and called.id == name) or (
        isinstance(called, ast.Attribute) and called.attr == name
    )
