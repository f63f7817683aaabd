"""What ``bursty runs`` does."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from bursty.cli.options import read_options, values_of
from bursty.cli.outcome import whole_json
from bursty.cli.run import attend
from bursty.cli.terminal import console, print_json, short_id, state_of
from bursty.cli.watch import Voice
from bursty.errors import ConfigError, StoreError
from bursty.jobs.artefacts import Artefact, fetch_file
from bursty.records import RunRecord
from bursty.stage import Stage
from bursty.units import format_bytes

FORMATS = ("csv", "xlsx", "parquet")


@dataclass(frozen=True, slots=True)
class Rerun:
    """The command line of ``bursty runs rerun``. ``changes``: its --set and --unset, in order."""

    run: str
    changes: Sequence[str] = ()
    version: str | None = None
    priority: int | None = None
    note: str | None = None
    detach: bool = False
    quiet: bool = False
    as_json: bool = False


def rerun(request: Rerun) -> int:
    """``bursty runs rerun``; the exit code as of ``bursty run``."""
    voice = Voice(request.quiet)
    with Stage(say=voice) as stage:
        old = stage.runs.get(request.run)
        version = stage.versions.get(old.app, request.version or old.version)
        form = stage.catalog.job(version.digest, old.job).form
        given = read_options(form, request.changes)
        inputs: dict[str, Any] = json.loads(old.inputs)
        changed = values_of(form, given, inputs)
        queued = stage.runs.submit(
            old.app,
            old.job,
            changed,
            version=version.digest,
            priority=request.priority,
            rerun_of=old.id,
            allow_paths=True,
        )
        return attend(stage, queued, voice, note=request.note, detach=request.detach, as_json=request.as_json)


def cancel(names: Sequence[str], as_json: bool) -> None:
    """``bursty runs cancel``."""
    with Stage() as stage:
        ids = [stage.runs.get(name).id for name in names]  # all of them are there, or nothing is done
        runs = [stage.runs.cancel(run) for run in ids]
        if as_json:
            print_json([whole_json(stage, run) for run in runs])
            return
    for run in runs:
        _say(run)


def _say(run: RunRecord, words: str = "") -> None:
    from rich.markup import escape

    end = f" [dim]·[/] {words}" if words else ""
    console().print(f"{state_of(run)} [bold]{escape(run.job)}[/] [dim]· run {short_id(run.id)}[/]{end}", soft_wrap=True)


def note(name: str, text: str, as_json: bool) -> None:
    """``bursty runs note``."""
    _write(name, {"note": text}, as_json)


def rate(name: str, rating: int, comment: str, as_json: bool) -> None:
    """``bursty runs rate``."""
    _write(name, {"rating": rating, "comment": comment}, as_json)


def _write(name: str, what: dict[str, Any], as_json: bool) -> None:
    with Stage() as stage:
        run = stage.runs.get(name)
        if "note" in what:
            stage.runs.note(run.id, what["note"])
        else:
            stage.runs.feedback(run.id, what["rating"], what["comment"])
    if as_json:
        print_json({"id": run.id, **what})
    else:
        _say(run, "noted" if "note" in what else f"rated {what['rating']} of 5")


def retry(name: str, as_json: bool) -> None:
    """``bursty runs retry``."""
    with Stage() as stage:
        run = stage.runs.requeue(name)
        if as_json:
            print_json(whole_json(stage, run))
            return
    _say(run, "bursty worker makes it")


# Download


def download(name: str, names: Sequence[str], out: str | None, form: str | None, as_json: bool) -> None:
    """``bursty runs download``."""
    if form is not None and form not in FORMATS:
        raise ConfigError(f"tables can't be had as {form!r}", f"Known: {', '.join(FORMATS)}.")
    with Stage() as stage:
        run = stage.runs.get(name)
        everything = stage.runs.manifest(run.id).artefacts
        items = [stage.runs.artefact(run.id, wanted) for wanted in names] if names else everything
        if not items:
            raise ConfigError(f"run {short_id(run.id)} has no outputs", f"It is {run.status}.")
        folder = Path(out) if out else Path(f"{run.job}-{short_id(run.id)}")
        _make(folder, ours=out is None)
        written = [_fetch(stage, item, folder, form) for item in items]
    if as_json:
        print_json([{"path": str(path), "bytes": path.stat().st_size} for path in written])
        return
    for path in written:
        console().print(f"[green]✓[/] {path} [dim]{format_bytes(path.stat().st_size)}[/]", markup=True, soft_wrap=True)


def _make(folder: Path, *, ours: bool) -> None:
    """``ours``: we chose it, likely in the project; so that outputs are no part of the next version, git and snapshots
    leave it alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if ours:
            (folder / ".gitignore").write_text("*\n", "utf-8")
    except OSError as error:
        raise ConfigError(f"the folder {str(folder)!r} can't be made: {error.strerror}", "Name another: -o.") from error


def _fetch(stage: Stage, item: Artefact, folder: Path, form: str | None) -> Path:
    """Raises ``StoreError`` when it is damaged or the disk is full; a file that was there is replaced whole or not."""
    ending = f".{item.meta['format']}" if item.kind == "table" else ""
    name = item.name if item.name.endswith(ending) else item.name + ending
    if Path(name).name != name or name in (".", ".."):
        raise StoreError(f"the output {item.name!r} has a name that leads out of the folder", "It is not downloaded.")
    try:
        if item.kind != "table" or form in (None, item.meta["format"]):
            fetch_file(stage.blobs, item.key, folder / name, item.digest)
            return folder / name
        return _converted(stage, item, folder, Path(name).stem, cast("Literal['csv', 'xlsx', 'parquet']", form))
    except OSError as error:
        raise StoreError(
            f"{str(folder / name)!r} can't be written: {error.strerror or error}", "Make room, or name another folder."
        ) from error


def _converted(stage: Stage, item: Artefact, folder: Path, stem: str, form: Literal["csv", "xlsx", "parquet"]) -> Path:
    from bursty.jobs.tables import convert

    with tempfile.TemporaryDirectory(prefix=".bursty-", dir=folder) as scratch:
        stored, made = Path(scratch) / "stored", Path(scratch) / "made"
        fetch_file(stage.blobs, item.key, stored, item.digest)
        convert(str(stored), item.meta["format"], form, str(made), item.meta["columns"])
        return made.replace(folder / f"{stem}.{form}")
