"""``bursty prune``: what bursty keeps and nobody used for a while."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from bursty.config import Settings, load_settings
from bursty.units import format_bytes, parse_seconds


@dataclass(frozen=True, slots=True)
class Removed:
    """``what`` was removed: how many and their bytes."""

    what: str
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Ages:
    """How old things are that go: ``idle`` what bursty can make again, ``runs`` what it can't, ``inputs`` those of
    predictions that stay."""

    idle: str = "7 days"
    runs: str = "90 days"
    inputs: str | None = None


def prune(
    ages: Ages, settings: Settings | None = None, *, versions: bool = False, dry_run: bool = False
) -> list[Removed]:
    """Remove it, or with ``dry_run`` only count it. ``versions``: those that no run needs, too."""
    idle, runs = parse_seconds(ages.idle), parse_seconds(ages.runs)
    assert idle is not None
    assert runs is not None
    settings = settings or load_settings()
    return [
        *_jobs(settings, runs, idle, versions, dry_run),
        *_predictions(settings, parse_seconds(ages.inputs), dry_run),
        *_answers(settings, dry_run),
        Removed("spilled values", *_spills(settings, idle, dry_run)),
        Removed("results kept for --resume", *_results(settings, idle, dry_run)),
        Removed("restored versions", *_restored(settings, idle, dry_run)),
        Removed("Envs", *_envs(settings, idle, dry_run)),
    ]


def _jobs(settings: Settings, runs: float, idle: float, versions: bool, dry_run: bool) -> list[Removed]:
    """Rows and blobs of runs. Where there is no state store yet, none is made."""
    if not settings.state and not Path(settings.home, "state.sqlite").exists():
        return [Removed(what, 0, 0) for what in ("runs", *(["versions"] if versions else []), "uploads", "caches")]
    from bursty.jobs.prune import Prune
    from bursty.stage import Stage

    with Stage(settings) as stage:
        work = Prune(stage.state, stage.blobs, stage.versions, stage.builder.manifest, dry_run=dry_run)
        return [Removed(item.what, item.count, item.bytes) for item in work.run(runs, idle, versions=versions)]


def _predictions(settings: Settings, inputs: float | None, dry_run: bool) -> list[Removed]:
    """By what endpoints declare. Where there is no store of them yet, none is made."""
    if not (settings.state or settings.predictions) and not Path(settings.home, "state.sqlite").exists():
        return [Removed(what, 0, 0) for what in ("predictions", "labels without prediction")]
    from bursty.jobs.retention import declared_keeps, prune_predictions
    from bursty.stage import Stage

    with Stage(settings) as stage:
        if not settings.predictions and settings.state.startswith("dynamodb:"):
            return []  # which keeps none
        keeps = declared_keeps(stage.versions, stage.builder.manifest)
        removed = prune_predictions(stage.predictions, keeps, inputs=inputs, dry_run=dry_run)
        return [Removed(item.what, item.count, item.bytes) for item in removed]


def _answers(settings: Settings, dry_run: bool) -> list[Removed]:
    """Out of date in the cache, where that is a file."""
    if settings.answers or not Path(settings.home, "answers.sqlite").exists():
        return []
    from bursty.wiring import open_cache

    with contextlib.closing(open_cache(settings.answers_url)) as cache:
        return [Removed("cached answers", cache.prune(dry_run=dry_run), 0)]


def _restored(settings: Settings, seconds: float, dry_run: bool) -> tuple[int, int]:
    from bursty.packaging import restore

    if not dry_run:
        return restore.prune_versions(settings.cache_folder, seconds)
    return _idle_places(Path(settings.cache_folder) / "sources", seconds)


def _spills(settings: Settings, seconds: float, dry_run: bool) -> tuple[int, int]:
    from bursty.stores import parts
    from bursty.wiring import open_blobs

    if not settings.blobs and not Path(settings.blobs_url).is_dir():
        return 0, 0
    store = open_blobs(settings.blobs_url)
    if not dry_run:
        pruned = parts.prune(store, seconds)
        return pruned.removed, pruned.bytes
    before = time.time() - seconds
    sizes = [info.size for info in store.list(parts.PREFIX) if info.modified < before]
    return len(sizes), sum(sizes)


def _results(settings: Settings, seconds: float, dry_run: bool) -> tuple[int, int]:
    if not dry_run:
        from bursty.engine import resume

        return resume.prune(settings.home, seconds)
    logs = [path for path in (Path(settings.home) / "resume").glob("*.log") if _is_idle(path, time.time() - seconds)]
    return len(logs), sum(path.stat().st_size for path in logs)


def _envs(settings: Settings, seconds: float, dry_run: bool) -> tuple[int, int]:
    if not dry_run:
        from bursty.packaging import resolve

        return resolve.prune_envs(settings.cache_folder, seconds)
    return _idle_places(Path(settings.cache_folder) / "envs", seconds)


def _idle_places(folder: Path, seconds: float) -> tuple[int, int]:
    before = time.time() - seconds
    places = [path for path in folder.glob("*") if path.is_dir()]
    idle = [path for path in places if _is_idle(path / "last-used" if (path / "last-used").exists() else path, before)]
    return len(idle), sum(file.lstat().st_size for path in idle for file in path.rglob("*"))


def _is_idle(path: Path, before: float) -> bool:
    """Not changed since then, and locked by nobody."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.fstat(descriptor).st_mtime < before
        finally:
            os.close(descriptor)
    return False


def run(ages: Ages, *, versions: bool, dry_run: bool, as_json: bool) -> None:
    """The command."""
    removed = prune(ages, versions=versions, dry_run=dry_run)
    if as_json:
        about = [{"what": item.what, "count": item.count, "bytes": item.bytes} for item in removed]
        print(json.dumps({"dry_run": dry_run, "bytes": sum(item.bytes for item in removed), "removed": about}))
        return
    from rich.table import Table

    from bursty.cli.terminal import console, show

    total = sum(item.bytes for item in removed)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", style="bold")
    grid.add_column()
    grid.add_column(justify="right")
    for item in removed:
        grid.add_row(f"  {item.count:,}", item.what, format_bytes(item.bytes), style=None if item.count else "dim")
    verb = "would be removed" if dry_run else "removed"
    what = "runs, uploads, versions" if versions else "runs, uploads"
    about = f"{what} older than {ages.runs}, predictions as declared, all else not used for {ages.idle}"
    console().print(f"[green]✓[/] [bold]{format_bytes(total)}[/] {verb}: {about}", soft_wrap=True)
    show(grid)
