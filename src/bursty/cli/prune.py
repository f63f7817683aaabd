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


def prune(older_than: str, settings: Settings | None = None, *, dry_run: bool = False) -> list[Removed]:
    """Remove it, or with ``dry_run`` only count it."""
    seconds = parse_seconds(older_than)
    assert seconds is not None
    settings = settings or load_settings()
    return [
        Removed("spilled values", *_spills(settings, seconds, dry_run)),
        Removed("results kept for --resume", *_results(settings, seconds, dry_run)),
        Removed("Envs", *_envs(settings, seconds, dry_run)),
    ]


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
    before = time.time() - seconds
    places = [path for path in Path(settings.cache_folder).glob("envs/*") if path.is_dir()]
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


def run(older_than: str, *, dry_run: bool, as_json: bool) -> None:
    """The command."""
    removed = prune(older_than, dry_run=dry_run)
    if as_json:
        about = [{"what": item.what, "count": item.count, "bytes": item.bytes} for item in removed]
        print(json.dumps({"dry_run": dry_run, "bytes": sum(item.bytes for item in removed), "removed": about}))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    total = sum(item.bytes for item in removed)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", style="bold")
    grid.add_column()
    grid.add_column(justify="right")
    for item in removed:
        grid.add_row(f"  {item.count:,}", item.what, format_bytes(item.bytes), style=None if item.count else "dim")
    verb = "would be removed" if dry_run else "removed"
    console.print(f"[green]✓[/] [bold]{format_bytes(total)}[/] {verb}: not used for {older_than}")
    console.print(grid)
