"""What became of a map, on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from bursty.cli.map import Summary
from bursty.units import format_seconds

SHOWN = 5


def show(summary: Summary) -> None:
    """On stderr, for stdout may carry results."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    good, rows = summary.rows - summary.failed, plural(summary.rows, "row")
    place = "standard output" if summary.output == "-" else escape(summary.output)
    pace = f"{format_seconds(summary.seconds)}" + _rate(summary)
    if not summary.failed:
        console.print(f"[green]✓[/] [bold]{rows}[/] in {pace} → [cyan]{place}[/]")
    else:
        console.print(f"[red]✗[/] [bold]{summary.failed:,} of {rows} failed[/] in {pace}; {good:,} → [cyan]{place}[/]")
        console.print(_groups(summary))
        rest = len(summary.groups) - SHOWN
        more = f"  and {rest:,} other kinds; " if rest > 0 else "  "
        console.print(f"{more}all of them, with tracebacks → [cyan]{escape(summary.failures)}[/]")
    if summary.nulls:
        console.print(f"[dim]  {plural(summary.nulls, 'number')} NaN or infinite became null: JSON has neither[/]")


def show_interrupted(summary: Summary) -> None:
    """After Ctrl-C."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    done = f"interrupted after {plural(summary.rows, 'row')}"
    nothing = "" if summary.output == "-" else f"; nothing was written to {escape(summary.output)}"
    console.print(f"[yellow]![/] {done}{nothing}")
    if summary.resume:
        console.print(f"  the same command with [bold]--resume {escape(summary.resume)}[/] goes on from there")
    else:
        console.print("[dim]  with --resume NAME a later run makes only the calls that are missing[/]")


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _rate(summary: Summary) -> str:
    if summary.rows < 10 or summary.seconds <= 0:
        return ""
    return f" ({summary.rows / summary.seconds:,.0f} a second)"


def _groups(summary: Summary) -> Grid:
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", style="bold")
    grid.add_column(overflow="fold")
    grid.add_column(style="dim", no_wrap=True)
    for (kind, message), count in summary.groups.most_common(SHOWN):
        first = summary.first[kind, message]
        text = escape(message if len(message) <= 100 else message[:99] + "…")
        grid.add_row(
            f"  {count:,} ×",
            f"[red]{escape(kind)}[/] {text}",
            f"row {first:,}" if count == 1 else f"first: row {first:,}",
        )
    return grid
