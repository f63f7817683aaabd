"""What the tab key offers: jobs of a file and of the stage, runs, versions. Nothing is made, and no error is shown."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

MOST = 50


def jobs_in(path: str | Path) -> list[str]:
    """The functions of a file that ``@….job`` or ``@….schedule`` decorates, by their names; it is not imported."""
    try:
        tree = ast.parse(Path(path).read_text("utf-8"))
    except (OSError, ValueError, SyntaxError):
        return []
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(map(_declares_job, node.decorator_list))
    ]


def _declares_job(decorator: ast.expr) -> bool:
    inner = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(inner, ast.Attribute) and inner.attr in ("job", "schedule")


def _offer(find: Callable[[Any], Iterable[tuple[str, str]]]) -> Callable[[str], list[tuple[str, str]]]:
    """Values and what they are, of a stage that is there already."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        from bursty.config import load_settings
        from bursty.stage import Stage

        try:
            settings = load_settings()
            if not settings.state and not Path(settings.home).is_dir():
                return []
            with Stage(settings) as stage:
                found = [item for item in find(stage) if item[0].startswith(incomplete)]
        except Exception:  # whatever it is, a command that is run says it; the tab key must not
            return []
        return found[:MOST]

    return complete


def _runs(stage: Any) -> Iterable[tuple[str, str]]:
    from bursty.cli.terminal import ago, short_id
    from bursty.records import RunQuery

    for run in stage.runs.list(RunQuery(limit=MOST)):
        yield short_id(run.id), f"{run.job}, {run.status}, {ago(run.created_at)}"


def _jobs(stage: Any) -> Iterable[tuple[str, str]]:
    for app in stage.versions.apps():
        for job in stage.catalog.jobs(stage.versions.get(app).digest).values():
            yield job.name, job.title


def _versions(stage: Any) -> Iterable[tuple[str, str]]:
    for app in stage.versions.apps():
        for version in stage.versions.list(app):
            yield str(version.number), f"{app}: {version.message}"


def _apps(stage: Any) -> Iterable[tuple[str, str]]:
    return ((app, "") for app in stage.versions.apps())


def _models(stage: Any) -> Iterable[tuple[str, str]]:
    return ((name, "") for name in stage.models.names())


def _tokens(stage: Any) -> Iterable[tuple[str, str]]:
    return ((token.name, ", ".join(token.scopes)) for token in stage.tokens.list() if token.revoked_at is None)


def _predicting(stage: Any) -> Iterable[tuple[str, str]]:
    return ((name, "") for name in stage.predictions.endpoints())


def _schedules(stage: Any) -> Iterable[tuple[str, str]]:
    return ((key, job.title) for key, job, _ in stage.scheduler().declared())


runs = _offer(_runs)
jobs = _offer(_jobs)
versions = _offer(_versions)
apps = _offer(_apps)
models = _offer(_models)
tokens = _offer(_tokens)
schedules = _offer(_schedules)
predicting = _offer(_predicting)


def targets(incomplete: str) -> list[tuple[str, str]]:
    """Of ``bursty run``: Python files, their jobs behind ``::``, and jobs of current versions."""
    file, mark, _ = incomplete.partition("::")
    if mark:
        return [(f"{file}::{job}", "") for job in jobs_in(file) if f"{file}::{job}".startswith(incomplete)]
    folder = Path(incomplete).parent if "/" in incomplete else Path()
    found = [(str(path), "") for path in sorted(folder.glob("*.py")) if str(path).startswith(incomplete)]
    here = [(f"{path}::{job}", "") for path, _ in found[:MOST] for job in jobs_in(path)]
    return [*here, *jobs(incomplete)][:MOST]
