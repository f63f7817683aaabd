"""A run as data for programs, and its end in a few lines for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from bursty.cli.terminal import MARKS, console, iso, pairs, plain, short_id, show, took
from bursty.jobs.artefacts import Artefact
from bursty.records import RunRecord, RunStatus
from bursty.stage import Stage
from bursty.units import format_bytes

EXIT_CODES = {RunStatus.SUCCEEDED: 0, RunStatus.CANCELLED: 3}
"""Of a command that waited for a run; all other ends are 1."""


def run_json(run: RunRecord, number: int | None = None) -> dict[str, Any]:
    """A run's record. ``number``: of its version."""
    seconds = None
    if run.started_at is not None and run.finished_at is not None:
        seconds = round(run.finished_at - run.started_at, 3)
    return {
        "id": run.id,
        "app": run.app,
        "job": run.job,
        "status": str(run.status),
        "version": number,
        "digest": run.version,
        "inputs": json.loads(run.inputs),
        "metrics": json.loads(run.metrics) if run.metrics else {},
        "progress": json.loads(run.progress) if run.progress else None,
        "error": run.error,
        "attempt": run.attempt,
        "max_attempts": run.max_attempts,
        "priority": run.priority,
        "created_by": run.created_by,
        "created_at": iso(run.created_at),
        "started_at": iso(run.started_at),
        "finished_at": iso(run.finished_at),
        "seconds": seconds,
        "rerun_of": run.rerun_of,
        "schedule": run.schedule,
        "key": run.idempotency_key,
    }


def outputs_json(run: RunRecord, artefacts: Sequence[Artefact]) -> list[dict[str, Any]]:
    return [
        {
            "name": item.name,
            "kind": item.kind,
            "bytes": item.size,
            "sha256": item.digest,
            "published": is_published(run, item),
        }
        | ({"rows": item.meta.get("rows"), "format": item.meta.get("format")} if item.kind == "table" else {})
        for item in artefacts
    ]


def is_published(run: RunRecord, item: Artefact) -> bool:
    """What was meant to be is only once the run has succeeded."""
    return item.publish and run.status == RunStatus.SUCCEEDED


def numbers_of(stage: Stage, runs: Sequence[RunRecord]) -> dict[str, int]:
    """The numbers of the versions of runs, by digest."""
    apps = {run.app for run in runs}
    return {version.digest: version.number for app in apps for version in stage.versions.list(app)}


def number_of(stage: Stage, run: RunRecord) -> int | None:
    return numbers_of(stage, [run]).get(run.version)


def whole_json(stage: Stage, run: RunRecord) -> dict[str, Any]:
    """A run with its outputs."""
    outputs = outputs_json(run, stage.runs.manifest(run.id).artefacts)
    return {**run_json(run, number_of(stage, run)), "outputs": outputs}


def show_outcome(stage: Stage, run: RunRecord) -> None:
    """How it ended, on stderr."""
    from rich.markup import escape

    err = console(stderr=True)
    mark, colour = MARKS[run.status]
    words = run.status.replace("_", " ")
    number = number_of(stage, run)
    duration = f" after {took(run)}" if took(run) else ""
    tries = f", attempt {run.attempt}" if run.attempt > 1 else ""
    about = f"[dim]· run {short_id(run.id)}{f' · version {number}' if number is not None else ''}[/]"
    err.print(f"[{colour}]{mark}[/] [bold]{escape(run.job)}[/] {words}{duration}{tries} {about}", soft_wrap=True)
    if run.error and run.status != RunStatus.SUCCEEDED:
        err.print("\n".join(f"  {line}" for line in escape(plain(run.error)).splitlines()), style="red", soft_wrap=True)
    show_results(stage, run)
    hints = [f"bursty runs show {short_id(run.id)}"]
    if run.status != RunStatus.SUCCEEDED:
        hints.append(f"bursty runs rerun {short_id(run.id)}")
    elif stage.runs.manifest(run.id).artefacts:
        hints.append(f"bursty runs download {short_id(run.id)}")
    err.print(f"[dim]  → {'  ·  '.join(hints)}[/]", soft_wrap=True)


def show_results(stage: Stage, run: RunRecord, *, stderr: bool = True) -> None:
    """Metrics and outputs, if any."""
    from rich.markup import escape

    manifest = stage.runs.manifest(run.id)
    metrics: dict[str, float] = json.loads(run.metrics) if run.metrics else {}
    rows = [(escape(name), number_words(value)) for name, value in metrics.items()]
    rows += [(escape(item.name), output_words(run, item)) for item in manifest.artefacts]
    if rows:
        show(pairs(rows), stderr=stderr)


def number_words(value: float) -> str:
    """``1,234,567`` and ``0.0123457``."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"


def output_words(run: RunRecord, item: Artefact) -> str:
    """``table, 5 rows, 1.2 KiB``."""
    what = item.kind
    if item.kind == "table":
        rows = item.meta.get("rows")
        what = f"table, {rows:,} row{'s' * (rows != 1)}" if isinstance(rows, int) else "table"
    return f"{what}, {format_bytes(item.size)}{', published' if is_published(run, item) else ''}"


def input_words(value: Any) -> str:
    """An input's value in a line."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and "upload" in value:
        file = cast("dict[str, Any]", value)
        return f"{file['name']} ({format_bytes(file['size'])})"
    items = cast("list[Any]", value) if isinstance(value, list) else []
    if items and all(isinstance(item, dict) for item in items):
        if all("upload" in item for item in items):
            return ", ".join(input_words(item) for item in items)
        return f"a table of {len(items)} row{'s' * (len(items) != 1)}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 500 else text[:499] + "…"
