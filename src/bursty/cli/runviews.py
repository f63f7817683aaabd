"""What ``bursty runs`` shows."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bursty.cli.outcome import input_words, numbers_of, outputs_json, run_json, show_results
from bursty.cli.terminal import (
    ago,
    clock,
    columns,
    console,
    iso,
    pairs,
    plain,
    print_json,
    progress_of,
    short_id,
    show,
    state_of,
    took,
)
from bursty.errors import BurstyError, ConfigError
from bursty.records import Event, RunQuery, RunRecord, RunStatus
from bursty.stage import Stage

NOTES = ("note", "feedback")


def list_runs(
    app: str | None,
    job: str | None,
    status: str | None,
    version: str | None,
    by: str | None,
    limit: int,
    before: str | None,
    as_json: bool,
) -> None:
    """``bursty runs list``."""
    with Stage() as stage:
        query = RunQuery(
            app=app,
            job=job,
            status=RunStatus(status) if status not in (None, "open") else None,
            open_only=status == "open",
            version=_digest(stage, app, version),
            created_by=by,
            before=stage.runs.get(before).id if before else None,
            limit=limit,
        )
        runs = stage.runs.list(query)
        numbers = numbers_of(stage, runs)
    if as_json:
        print_json([run_json(run, numbers.get(run.version)) for run in runs])
    elif not runs:
        console(stderr=True).print("no such runs; [bold]bursty run FILE::JOB[/] makes one", soft_wrap=True)
    else:
        _print_list(runs, numbers)
        if len(runs) == limit:
            last = short_id(runs[-1].id)
            console(stderr=True).print(f"[dim]  older ones: --before {last}[/]", soft_wrap=True)


def _digest(stage: Stage, app: str | None, version: str | None) -> str | None:
    if version is None:
        return None
    from bursty.cli.versions import choose_app

    return stage.versions.get(app or choose_app(stage, None), version).digest


def _print_list(runs: Sequence[RunRecord], numbers: Mapping[str, int]) -> None:
    from rich.markup import escape

    several = len({run.app for run in runs}) > 1
    table = columns("run", "job", "status", "took", "version", "asked", "by", right=("took", "version"))
    for run in runs:
        job = f"{run.app}/{run.job}" if several else run.job
        number = numbers.get(run.version)
        status = state_of(run) + (f" [dim]{escape(progress_of(run))}[/]" if progress_of(run) else "")
        version = str(number) if number is not None else run.version[:8]
        table.add_row(
            short_id(run.id), escape(job), status, took(run), version, ago(run.created_at), escape(run.created_by)
        )
    show(table)


# One run


def show_run(name: str, as_json: bool) -> None:
    """``bursty runs show``."""
    with Stage() as stage:
        run = stage.runs.get(name)
        events = stage.runs.events(run.id)
        if as_json:
            number = numbers_of(stage, [run]).get(run.version)
            told = [_event_json(event) for event in events]
            outputs = outputs_json(run, stage.runs.manifest(run.id).artefacts)
            print_json({**run_json(run, number), "outputs": outputs, "events": told})
            return
        _print_run(stage, run, events)


def _event_json(event: Event) -> dict[str, Any]:
    return {"kind": event.kind, "by": event.actor, "at": iso(event.at), **dict(event.data)}


def _print_run(stage: Stage, run: RunRecord, events: Sequence[Event]) -> None:
    from rich.markup import escape

    out = console()
    title, inputs = _titled_inputs(stage, run)
    out.print(f"[bold]{escape(title)}[/]  {state_of(run)}", soft_wrap=True)
    show(pairs(_facts(stage, run), indent=""))
    if inputs:
        _heading("Inputs")
        show(pairs(inputs))
    if run.metrics or run.output:
        _heading("Results")
        show_results(stage, run, stderr=False)
    if run.error:
        _heading("Error")
        out.print("\n".join(f"  {line}" for line in escape(plain(run.error)).splitlines()), soft_wrap=True)
    if notes := [event for event in events if event.kind in NOTES]:
        _heading("Notes")
        show(pairs([(clock(event.at), escape(_note(event))) for event in notes]))
    _heading("What happened")
    told = [(clock(event.at), escape(_happened(event))) for event in events if event.kind not in NOTES]
    show(pairs(told))


def _heading(text: str) -> None:
    console().print(f"\n[bold]{text}[/]")


def _titled_inputs(stage: Stage, run: RunRecord) -> tuple[str, list[tuple[str, str]]]:
    """The job's title, and its inputs by their titles; by their names when the version can't be read any more."""
    from rich.markup import escape

    values: dict[str, Any] = json.loads(run.inputs)
    try:
        job = stage.catalog.job(run.version, run.job)
    except BurstyError:
        return run.job, [(escape(name), escape(input_words(value))) for name, value in values.items()]
    titles = {item.get("name", ""): (item.get("title", ""), item.get("unit", "")) for item in job.form["fields"]}
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        title, unit = titles.get(name, (name, ""))
        words = input_words(value) + (f" {unit}" if unit and value is not None else "")
        rows.append((escape(title or name), escape(words)))
    return job.title, rows


def _facts(stage: Stage, run: RunRecord) -> list[tuple[str, str]]:
    from rich.markup import escape

    number = numbers_of(stage, [run]).get(run.version)
    message = stage.versions.get(run.app, run.version).message if number is not None else ""
    rows = [
        ("run", run.id),
        ("job", escape(f"{run.app}/{run.job}")),
        ("version", escape(f"{number or '(pruned)'} {run.version[:12]} {message}".strip())),
        ("asked", escape(f"{clock(run.created_at)} by {run.created_by}")),
    ]
    if took(run):
        rows.append(("took", took(run)))
    if run.attempt > 1 or run.status == RunStatus.LOST:
        rows.append(("attempt", str(run.attempt)))
    if progress_of(run):
        rows.append(("progress", escape(progress_of(run))))
    if run.owner:
        rows.append(("worker", escape(run.owner)))
    if run.rerun_of:
        rows.append(("rerun of", short_id(run.rerun_of)))
    if run.schedule:
        rows.append(("schedule", escape(run.schedule)))
    if run.idempotency_key:
        rows.append(("key", escape(run.idempotency_key)))
    return rows


def _note(event: Event) -> str:
    if event.kind == "note":
        return f"{event.actor}: {event.data.get('text', '')}"
    rating = int(event.data.get("rating", 0))
    return f"{event.actor}: {'★' * rating}{'☆' * (5 - rating)} {event.data.get('comment', '')}".rstrip()


def _happened(event: Event) -> str:
    error = plain(str(event.data.get("error") or event.data.get("why") or "")).strip().splitlines()
    return f"{event.kind} · {event.actor}" + (f" · {error[0]}" if error else "")


def show_log(name: str, follow: bool, times: bool, as_json: bool) -> None:
    """``bursty runs logs``."""
    with Stage() as stage:
        run = stage.runs.get(name)
        if follow and run.status == RunStatus.QUEUED:
            console(stderr=True).print(
                f"{state_of(run)} [dim]· run {short_id(run.id)} · bursty worker makes it[/]", soft_wrap=True
            )
        try:
            for line in stage.runs.log(run.id, follow=follow):
                if as_json:
                    print_json({"at": iso(line.at), "stream": line.stream, "level": line.level, "text": line.text})
                else:
                    before = f"{clock(line.at)}  " if times else ""
                    level = f"{line.level}: " if line.level not in ("", "info") else ""
                    print(f"{before}{level}{line.text}", flush=follow)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        ended = stage.runs.get(run.id) if follow else None
    if ended is not None and not as_json:
        console(stderr=True).print(f"{state_of(ended)} [dim]· run {short_id(ended.id)}[/]")


# Tables


def show_preview(name: str, output: str, rows: int, as_json: bool) -> None:
    """``bursty runs preview``."""
    from bursty.jobs.artefacts import fetch_file
    from bursty.jobs.tables import preview

    with Stage() as stage, tempfile.TemporaryDirectory(prefix="bursty-") as folder:
        run = stage.runs.get(name)
        item = stage.runs.artefact(run.id, output)
        if item.kind != "table":
            raise ConfigError(f"{item.name!r} is no table", f"bursty runs download {short_id(run.id)} {item.name}")
        path = Path(folder) / "table"
        fetch_file(stage.blobs, item.key, path, item.digest)
        found = preview(str(path), item.meta["format"], rows, item.meta["columns"])
    if as_json:
        print_json(found)
    else:
        _print_table(found)


def _print_table(found: Mapping[str, Any]) -> None:
    from rich.markup import escape

    numeric = [item["name"] for item in found["columns"] if item["type"] in ("integer", "number", "decimal")]
    names = [item["name"] for item in found["columns"]][: len(found["rows"][0]) if found["rows"] else None]
    table = columns(*map(escape, names), right=[escape(name) for name in numeric])
    for row in found["rows"]:
        table.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    show(table)
    more = found["total"] - len(found["rows"])
    if more > 0:
        print(f"  and {more:,} more row{'s' * (more != 1)}", file=sys.stderr)


def show_comparison(a: str, b: str, rows: int, as_json: bool) -> None:
    """``bursty runs compare``."""
    from bursty.jobs.compare import compare_runs

    with Stage() as stage:
        found = compare_runs(stage.runs, a, b, rows)
    if as_json:
        print_json(found)
    else:
        from bursty.cli.comparison import print_comparison

        print_comparison(found)
