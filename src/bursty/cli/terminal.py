"""How the commands speak: words for people on stderr or stdout, JSON for programs; times, sizes and states in words."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bursty.records import RunRecord, RunStatus
from bursty.units import format_seconds

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

WIDE = 200
"""Columns where nobody says how many there are: nothing is cut in pipes and files."""
MARKS = {
    RunStatus.QUEUED: ("…", "cyan"),
    RunStatus.RUNNING: ("▶", "blue"),
    RunStatus.SUCCEEDED: ("✓", "green"),
    RunStatus.FAILED: ("✗", "red"),
    RunStatus.TIMED_OUT: ("✗", "red"),
    RunStatus.CANCELLED: ("-", "yellow"),
    RunStatus.LOST: ("✗", "red"),
}


def console(*, stderr: bool = False) -> Console:
    """Colours and the terminal's width where there is a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() else WIDE
    return Console(stderr=stderr, highlight=False, soft_wrap=False, width=wide, emoji=False)


def print_json(data: Any) -> None:
    """One line on stdout."""
    print(json.dumps(data, ensure_ascii=False), flush=True)


def show(renderable: RenderableType, *, stderr: bool = False) -> None:
    """A table. In pipes and files lines end where their text does."""
    out = console(stderr=stderr)
    if out.is_terminal:
        out.print(renderable)
        return
    with out.capture() as caught:
        out.print(renderable)
    lines = [line.rstrip() for line in caught.get().splitlines()]
    print("\n".join(lines), file=sys.stderr if stderr else sys.stdout, flush=True)


def columns(*headers: str, right: Sequence[str] = (), fold: Sequence[str] = ()) -> Table:
    """A plain table: headers and no lines. ``right``: columns of numbers; ``fold``: those that may take several lines;
    the others are cut where the terminal is narrow."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in headers:
        table.add_column(
            header,
            justify="right" if header in right else "left",
            overflow="fold" if header in fold else "ellipsis",
            no_wrap=header not in fold,
            min_width=8 if header in ("run", "newest run") else None,  # a shortened id names nothing
        )
    return table


def pairs(rows: Sequence[tuple[str, str]], indent: str = "  ") -> Table:
    """Names and values."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(f"{indent}{name}", value)
    return table


# In words

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160)) if chr(code) not in "\n\t"}


def plain(text: str) -> str:
    """Control characters but new line and tab as ``\\x1b``: what jobs and libraries say must not steer the terminal."""
    return text.replace("\r\n", "\n").translate(_CONTROLS)


def short_id(run: str) -> str:
    """The end of an id, which is chance and enough to name it."""
    return run.replace("-", "")[-8:]


def iso(moment: float | None) -> str | None:
    """RFC 3339 in UTC, for programs."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(moment: float) -> str:
    """A date and time on this machine's clock."""
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(moment: float, now: float | None = None) -> str:
    """``3 min ago``; a date when that is more than a month."""
    seconds = max((time.time() if now is None else now) - moment, 0.0)
    for unit, size, limit in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86400)):
        if seconds < limit:
            return f"{int(seconds / size)} {unit} ago"
    days = int(seconds / 86400)
    return f"{days} day{'s' * (days != 1)} ago" if days <= 30 else clock(moment)[:10]


def until(moment: float, now: float | None = None) -> str:
    """``in 3 min``."""
    seconds = moment - (time.time() if now is None else now)
    if seconds < 1:
        return "now"
    for unit, size, limit in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86400)):
        if seconds < limit:
            return f"in {round(seconds / size)} {unit}"
    days = round(seconds / 86400)
    return f"in {days} day{'s' * (days != 1)}"


def state_of(run: RunRecord) -> str:
    """Its status with a mark, as rich markup."""
    mark, colour = MARKS[run.status]
    words = run.status.replace("_", " ")
    if run.status == RunStatus.RUNNING and run.cancel_requested:
        words = "being cancelled"
    return f"[{colour}]{mark} {words}[/]"


def took(run: RunRecord, now: float | None = None) -> str:
    """How long its newest attempt took, or takes; ``""`` before it."""
    if run.started_at is None or run.status == RunStatus.QUEUED:
        return ""
    end = run.finished_at if run.finished_at is not None else (time.time() if now is None else now)
    return format_seconds(max(end - run.started_at, 0.0))


def progress_of(run: RunRecord) -> str:
    """``simulating 340/1,000`` of one that runs; ``""`` when it says nothing."""
    if run.progress is None or run.status != RunStatus.RUNNING:
        return ""
    told: dict[str, Any] = json.loads(run.progress)
    count = f"{told['done']:,g}" + (f"/{told['total']:,g}" if told["total"] else "")
    return f"{told['label']} {count}".strip()
