"""What calls took: a table for people, rows for programs, and the timeline as a picture. No value is opened here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from bursty.engine import timeline
from bursty.engine.history import CallRecord
from bursty.errors import ConfigError
from bursty.units import format_bytes, format_seconds

SLOWEST = 5

Row = dict[str, Any]


class Report:
    """A report on ``calls``, which ran on at most ``workers`` workers. ``print(report)``, or show it in a notebook.

    Times are of the attempt that settled a call. ``wait``: from submission to start. ``overhead``: how long the worker
    had nothing of the user's to do though the call was there for it, plus the way back of the result.
    """

    def __init__(self, calls: Sequence[CallRecord], workers: int) -> None:
        self.calls = sorted(calls, key=lambda call: (call.stats.submitted or 0.0, call.index))
        self.workers = workers
        origins = [call.stats.submitted for call in self.calls if call.stats.submitted is not None]
        self._origin = min(origins, default=0.0)
        self._timed = [timeline.timed(call.stats, call.failed, self._origin) for call in self.calls]

    @property
    def failed(self) -> int:
        """How many calls have no value."""
        return sum(call.failed for call in self.calls)

    @property
    def makespan(self) -> float:
        """Seconds from the first submission to the last result."""
        return max((call.times[-1] for call in self._timed), default=0.0)

    @property
    def active(self) -> float:
        """Seconds of these in which any call waited or ran."""
        total = until = 0.0
        for low, high in sorted((call.times[0], call.times[-1]) for call in self._timed):
            total += max(0.0, high - max(low, until))
            until = max(until, high)
        return total

    @property
    def utilisation(self) -> float:
        """Which part of the workers' active time calls ran, 0 to 1."""
        ran = sum(call.times[3] - call.times[2] for call in self._timed)
        capacity = self.active * self.workers
        return min(1.0, ran / capacity) if capacity else 0.0

    def rows(self) -> list[Row]:
        """A dict for each function, the longest first. Seconds and bytes."""
        overheads = self._overheads()
        groups: dict[str, list[int]] = {}
        for number, call in enumerate(self.calls):
            groups.setdefault(call.label, []).append(number)
        found = [self._row(label, numbers, overheads) for label, numbers in groups.items()]
        return sorted(found, key=lambda row: -row["total"])

    def _row(self, label: str, numbers: list[int], overheads: list[float]) -> Row:
        calls = [self.calls[number] for number in numbers]
        times = [self._timed[number].times for number in numbers]
        walls = sorted(at[3] - at[2] for at in times)
        return {
            "function": label,
            "calls": len(calls),
            "failed": sum(call.failed for call in calls),
            "retries": sum(max(call.stats.attempt - 1, 0) for call in calls),
            "total": sum(walls),
            "median": _quantile(walls, 0.5),
            "p95": _quantile(walls, 0.95),
            "max": walls[-1],
            "cpu": sum(call.stats.cpu or 0.0 for call in calls),
            "memory": max((call.stats.memory or 0 for call in calls), default=0) or None,
            "wait": _quantile(sorted(at[2] - at[0] for at in times), 0.5),
            "overhead": _quantile(sorted(overheads[number] for number in numbers), 0.5),
        }

    def _overheads(self) -> list[float]:
        """For each call: the worker's gap before it, from when both were there, and the way back."""
        found = [0.0] * len(self.calls)
        free: dict[str | None, float] = {}
        for number in sorted(range(len(self.calls)), key=lambda number: self._timed[number].times[2]):
            _, queued, started, finished, done = self._timed[number].times
            worker = self.calls[number].stats.worker
            gap = started - max(queued, free.get(worker, 0.0))
            free[worker] = max(free.get(worker, 0.0), finished)
            found[number] = max(gap, 0.0) + done - finished
        return found

    def slowest(self, count: int = SLOWEST) -> list[Row]:
        """A dict for each of the calls that ran longest."""
        walls = [call.times[3] - call.times[2] for call in self._timed]
        order = sorted(range(len(walls)), key=lambda number: -walls[number])[:count]
        return [
            {
                "function": self.calls[number].label,
                "call": self.calls[number].index,
                "wall": walls[number],
                "cpu": self.calls[number].stats.cpu,
                "worker": self.calls[number].stats.worker,
                "attempt": self.calls[number].stats.attempt,
                "failed": self.calls[number].failed,
            }
            for number in order
        ]

    def to_json(self) -> str:
        """All of it: the summary, a row for each function, a record for each call."""
        whole = {
            "workers": self.workers,
            "calls": len(self.calls),
            "failed": self.failed,
            "makespan": self.makespan,
            "utilisation": self.utilisation,
            "functions": self.rows(),
            "records": [
                {"function": call.label, "call": call.index, "failed": call.failed, **dataclasses.asdict(call.stats)}
                for call in self.calls
            ],
        }
        return json.dumps(whole, ensure_ascii=False)

    def save(self, path: str | Path) -> None:
        """Draw the timeline: ``timeline.svg`` (needs nothing), ``timeline.png`` (needs ``bursty[plot]``).

        One line a call, in the order of submission: submitted, sent to a worker, started, finished, returned.
        """
        path = Path(path)
        layout = timeline.lay_out(self._timed)
        match path.suffix.lower():
            case ".svg":
                path.write_text(timeline.to_svg(layout, self.workers, *self._titles()) + "\n", encoding="utf-8")
            case ".png":
                timeline.to_png(layout, self.workers, *self._titles(), str(path))
            case suffix:
                raise ConfigError(f"a timeline can't be saved as {suffix or path.name!r}", "Known: .svg, .png.")

    def _titles(self) -> tuple[str, str]:
        names = list(dict.fromkeys(call.label for call in self.calls))
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return f"{_many(len(self.calls), 'call')} of {shown}" if names else "no calls", self._summary()

    def _summary(self) -> str:
        retries = sum(max(call.stats.attempt - 1, 0) for call in self.calls)
        parts = [
            _many(self.workers, "worker"),
            f"{format_seconds(self.makespan)} from the first submission to the last result",
            f"{self.utilisation:.0%} busy",
            f"{self.failed:,} failed" if self.failed else "",
            f"{retries:,} retries" if retries else "",
        ]
        return " · ".join(part for part in parts if part)

    def __str__(self) -> str:
        if not self.calls:
            return "no calls yet"
        title, summary = self._titles()
        tables = [_text_table(_cells(self.rows(), COLUMNS)), "", "slowest calls"]
        tables.append(_text_table(_cells(self.slowest(), SLOW_COLUMNS)))
        return "\n".join([title, summary, "", *tables])

    def _repr_html_(self) -> str:
        if not self.calls:
            return "<p>no calls yet</p>"
        layout = timeline.lay_out(self._timed)
        picture = timeline.to_svg(layout, self.workers, *self._titles(), inline=True)
        table = _html_table(_cells(self.rows(), COLUMNS))
        slow = _html_table(_cells(self.slowest(), SLOW_COLUMNS))
        return f"<div>{picture}{table}<details><summary>slowest calls</summary>{slow}</details></div>"


def _quantile(ordered: list[float], part: float) -> float:
    """Between the two nearest values."""
    if not ordered:
        return 0.0
    at = part * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _number(value: Any) -> str:
    return f"{value:,}"


def _time(value: Any) -> str:
    if value is None:
        return ""
    return format_seconds(value) if value >= 1e-4 or value <= 0 else f"{value * 1e6:.3g} µs"


def _size(value: Any) -> str:
    return "" if value is None else format_bytes(value)


def _again(value: Any) -> str:
    return f"attempt {value}" if value and value > 1 else ""


def _ended(value: Any) -> str:
    return "failed" if value else ""


Columns = dict[str, tuple[str, Callable[[Any], str]]]

COLUMNS: Columns = {
    "function": ("function", str),
    "calls": ("calls", _number),
    "failed": ("failed", _number),
    "retries": ("retries", _number),
    "total": ("total", _time),
    "median": ("median", _time),
    "p95": ("p95", _time),
    "max": ("max", _time),
    "cpu": ("CPU", _time),
    "memory": ("peak memory", _size),
    "wait": ("wait", _time),
    "overhead": ("overhead", _time),
}
SLOW_COLUMNS: Columns = {
    "function": ("function", str),
    "call": ("call", _number),
    "wall": ("took", _time),
    "cpu": ("CPU", _time),
    "worker": ("worker", lambda value: value or ""),
    "attempt": ("", _again),
    "failed": ("", _ended),
}


def _cells(rows: list[Row], columns: Columns) -> list[list[str]]:
    return [[title for title, _ in columns.values()]] + [
        [show(row[name]) for name, (_, show) in columns.items()] for row in rows
    ]


def _text_table(cells: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if number == 0 else text.rjust(width)
            for number, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return "\n".join(lines)


def _html_table(cells: list[list[str]]) -> str:
    head, *body = cells
    first = ' style="text-align:left"'
    top = "".join(f"<th{first if not n else ''}>{escape(text)}</th>" for n, text in enumerate(head))
    lines = (
        "".join(f"<td{first if not n else ''}>{escape(text)}</td>" for n, text in enumerate(line)) for line in body
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(f'<tr>{line}</tr>' for line in lines)}</tbody></table>"
