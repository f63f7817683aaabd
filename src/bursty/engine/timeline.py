"""The picture of many calls: one line a call, from its submission to its return, and how many ran at a time.

``lay_out`` turns times into lines on a limited number of rows, so that 50,000 calls draw as fast as 500; ``to_svg``
needs nothing but the standard library, ``to_png`` needs matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from bursty.errors import MissingExtra
from bursty.values import CallStats

WAITING, SENT, RUNNING, FAILED, RETURNING = range(5)
# Middle tones, told apart by lightness too, on white and on black.
COLOURS = ("#9aa5b1", "#ecc062", "#2f8fd8", "#e5383b", "#3fae7c")
FAINT = "#c9cfd6"  # waiting, on white
NAMES = ("waiting", "at its worker", "running", "failed", "returning")
MARKS = ("submitted", "sent", "started", "finished", "returned")
MARK_COLOURS = ("#6f7b88", "#c9881b", "#1f6fb5", "#7a4fc4", "#23875b")
MAX_ROWS = 900
COLUMNS = 1600
DRAWN = (WAITING, SENT, RUNNING, RETURNING, FAILED)
MARKED = 150
"""Up to so many calls, each change of state has a mark of its own."""


@dataclass(frozen=True, slots=True)
class TimedCall:
    """Times of a call in seconds since the first submission, ascending."""

    times: tuple[float, float, float, float, float]
    failed: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """``lines[phase]``: (row, from, to) in rows and seconds. ``busy``: (time, calls running from then on)."""

    calls: int
    rows: int
    seconds: float
    lines: tuple[list[tuple[int, float, float]], ...]
    busy: list[tuple[float, float]]
    failed: int


def timed(stats: CallStats, failed: bool, origin: float) -> TimedCall:
    """Times that are missing or disordered (clocks of two processes) become those before them."""
    last = origin
    times: list[float] = []
    for time in (stats.submitted, stats.queued, stats.started, stats.finished, stats.done):
        last = max(last, time if time is not None else last)
        times.append(last - origin)
    return TimedCall((times[0], times[1], times[2], times[3], times[4]), failed)


def lay_out(calls: Sequence[TimedCall], max_rows: int = MAX_ROWS) -> Layout:
    """Calls in the order of their rows. Beyond ``max_rows`` several share a row, and lines that touch become one."""
    seconds = max((call.times[-1] for call in calls), default=0.0) or 1e-3
    rows = min(len(calls), max_rows)
    cell = seconds / COLUMNS
    found: tuple[dict[int, list[tuple[float, float]]], ...] = tuple({} for _ in NAMES)
    for number, call in enumerate(calls):
        row = number * rows // len(calls)
        phases = (WAITING, SENT, FAILED if call.failed else RUNNING, RETURNING)
        for phase, (low, high) in zip(phases, pairwise(call.times), strict=True):
            if high > low:
                found[phase].setdefault(row, []).append((low, high))
    shared = rows < len(calls)
    lines = tuple(
        [(row, low, high) for row, spans in by_row.items() for low, high in (_merged(spans, cell) if shared else spans)]
        for by_row in found
    )
    return Layout(len(calls), rows, seconds, lines, _busy(calls, seconds), sum(call.failed for call in calls))


def _merged(spans: list[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    spans.sort()
    merged = [spans[0]]
    for low, high in spans:
        first, last = merged[-1]
        if low <= last + gap:
            merged[-1] = first, max(last, high)
        else:
            merged.append((low, high))
    return merged


def _busy(calls: Sequence[TimedCall], seconds: float, steps: int = 400) -> list[tuple[float, float]]:
    """Calls running, on average over each of ``steps`` equal stretches of time."""
    width = seconds / steps
    change = [0.0] * (steps + 2)  # stretches that a call fills are counted by their two ends
    filled = [0.0] * (steps + 1)  # the seconds that it ran in the first and the last one
    for call in calls:
        low, high = call.times[2], call.times[3]
        first, last = min(int(low / width), steps - 1), min(int(high / width), steps - 1)
        if first == last:
            filled[first] += high - low
            continue
        filled[first] += (first + 1) * width - low
        filled[last] += high - last * width
        change[first + 1] += 1
        change[last] -= 1
    points: list[tuple[float, float]] = []
    whole = 0.0
    for step in range(steps):
        whole += change[step]
        points.append((step * width, whole + filled[step] / width))
    return [*points, (seconds, 0.0)]


def ticks(limit: float, wanted: int = 8) -> list[float]:
    """Round numbers from 0 to ``limit``."""
    if limit <= 0:
        return [0.0]
    step = 10.0 ** len(str(int(limit))) if limit >= 1 else 1.0
    factors = (0.5, 0.4, 0.5)
    number = 0
    while limit / step < wanted / 2:
        step *= factors[number % 3]
        number += 1
    return [round(step * index, 9) for index in range(int(limit / step * (1 + 1e-9)) + 1)]


# SVG

WIDTH, LEFT, RIGHT, TOP, STRIP, GAP, BOTTOM = 1000, 76, 24, 84, 56, 18, 46
FONTS = "system-ui,-apple-system,Segoe UI,DejaVu Sans,sans-serif"
STYLE = (
    "<style>svg{color:#1f2933;background:#fff}"
    "@media(prefers-color-scheme:dark){svg{color:#e4e7eb;background:#14181d}}</style>"
)


def to_svg(layout: Layout, workers: int, title: str, subtitle: str, *, inline: bool = False) -> str:
    """A picture that follows the reader's light or dark theme; ``inline``: a part of a page, in its colours."""
    height = plot_height(layout)
    total = TOP + STRIP + GAP + height + BOTTOM
    inner = WIDTH - LEFT - RIGHT
    x: Callable[[float], float] = lambda time: LEFT + inner * time / layout.seconds  # noqa: E731
    top = TOP + STRIP + GAP
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" width="{WIDTH}" height="{total}"',
        f'style="max-width:100%;height:auto" font-family="{FONTS}" font-size="12" fill="currentColor"',
        f'role="img" aria-label="{escape(title, quote=True)}">',
        "" if inline else STYLE,
        f'<text x="{LEFT}" y="28" font-size="18" font-weight="600">{escape(title)}</text>',
        f'<text x="{LEFT}" y="47" opacity=".7">{escape(subtitle)}</text>',
        *_svg_legend(layout),
        *_svg_strip(layout, workers, x),
        *_svg_axes(layout, x, top, height),
        *_svg_lines(layout, x, top, height),
        "</svg>",
    ]
    return "\n".join(part for part in body if part)


def plot_height(layout: Layout) -> int:
    """Rows are thin where they are many."""
    return int(min(560, max(120, layout.rows * 9)))


def _thickness(layout: Layout) -> float:
    """Of a line, in rows: apart while they can be told apart."""
    return 0.8 if layout.calls <= MARKED else 1.0


def _svg_legend(layout: Layout) -> list[str]:
    parts: list[str] = []
    at = LEFT
    for phase in DRAWN:
        name = NAMES[phase]
        if phase == FAILED and not layout.failed:
            continue
        parts.append(f'<rect x="{at}" y="62" width="18" height="7" rx="2" fill="{COLOURS[phase]}"/>')
        parts.append(f'<text x="{at + 24}" y="70">{name}</text>')
        at += 40 + 7 * len(name)
    if layout.calls <= MARKED:
        at += 14
        for name, colour in zip(MARKS, MARK_COLOURS, strict=True):
            parts.append(f'<circle cx="{at + 4}" cy="66" r="3.5" fill="{colour}"/>')
            parts.append(f'<text x="{at + 13}" y="70">{name}</text>')
            at += 30 + 7 * len(name)
    return parts


def _svg_strip(layout: Layout, workers: int, x: Callable[[float], float]) -> list[str]:
    """How many calls ran at a time, above the lines."""
    most = max(workers, max((count for _, count in layout.busy), default=0.0), 1)
    low = TOP + STRIP
    y: Callable[[float], float] = lambda count: low - (STRIP - 6) * count / most  # noqa: E731
    path = f"M{LEFT} {low}" + "".join(
        f"V{y(count):.1f}H{x(until):.1f}" for (_, count), (until, _) in pairwise(layout.busy)
    )
    end, middle = WIDTH - RIGHT, low - STRIP // 2
    return [
        f'<path d="{path}V{low}Z" fill="{COLOURS[RUNNING]}" opacity=".55"/>',
        f'<path d="M{LEFT} {y(workers):.1f}H{end}" stroke="currentColor" stroke-dasharray="4 3" opacity=".5"/>',
        f'<text x="{LEFT - 8}" y="{y(workers) + 4:.1f}" text-anchor="end" opacity=".7">{workers}</text>',
        _svg_upright(middle, "running"),
        f'<path d="M{LEFT} {low}H{end}" stroke="currentColor" opacity=".35"/>',
    ]


def _svg_axes(layout: Layout, x: Callable[[float], float], top: int, height: int) -> list[str]:
    bottom = top + height
    parts: list[str] = []
    for tick in ticks(layout.seconds):
        parts.append(f'<path d="M{x(tick):.1f} {TOP}V{bottom + 4}" stroke="currentColor" opacity=".12"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle" opacity=".8">{tick:g}</text>')
    for tick in ticks(layout.calls, 6):
        if tick == int(tick):
            y = top + height * tick / max(layout.calls, 1)
            parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" opacity=".8">{int(tick):,}</text>')
    parts.append(
        f'<text x="{LEFT + (WIDTH - LEFT - RIGHT) / 2:.0f}" y="{bottom + 37}" text-anchor="middle" opacity=".8">'
        "seconds since the first submission</text>"
    )
    return [*parts, _svg_upright(top + height // 2, "call")]


def _svg_upright(y: int, text: str) -> str:
    return f'<text x="16" y="{y}" text-anchor="middle" opacity=".8" transform="rotate(-90 16 {y})">{text}</text>'


def _svg_lines(layout: Layout, x: Callable[[float], float], top: int, height: int) -> list[str]:
    step = height / max(layout.rows, 1)
    parts: list[str] = []
    for phase in DRAWN:
        lines = layout.lines[phase]
        thin = phase in (WAITING, RETURNING) and layout.calls <= MARKED
        stroke = max(step * (0.3 if thin else _thickness(layout)), 1.6 if phase == FAILED else 0.7)
        least = 3 if phase == FAILED else 0.35
        path = "".join(
            f"M{x(low):.1f} {top + (row + 0.5) * step:.1f}h{max(x(high) - x(low), least):.1f}"
            for row, low, high in lines
        )
        if path:
            opacity = ' opacity=".55"' if phase == WAITING else ""
            parts.append(
                f'<path d="{path}" stroke="{COLOURS[phase]}" stroke-width="{stroke:.2f}" fill="none"{opacity}/>'
            )
    return parts + (_svg_marks(layout, x, top, step) if layout.calls <= MARKED else [])


def _svg_marks(layout: Layout, x: Callable[[float], float], top: int, step: float) -> list[str]:
    radius = min(3.5, max(1.2, step * 0.36))
    arm = radius * 1.5
    crosses = "".join(
        f"M{x(time) - arm:.1f} {top + (row + 0.5) * step - arm:.1f}l{2 * arm:.1f} {2 * arm:.1f}"
        f"m0 {-2 * arm:.1f}l{-2 * arm:.1f} {2 * arm:.1f}"
        for row, _, time in layout.lines[FAILED]
    )
    dots = [
        f'<circle cx="{x(time):.1f}" cy="{top + (row + 0.5) * step:.1f}" r="{radius:.1f}" fill="{MARK_COLOURS[mark]}"/>'
        for mark, row, time in marks(layout)
    ]
    return [*dots, f'<path d="{crosses}" stroke="{COLOURS[FAILED]}" stroke-width="2"/>' if crosses else ""]


def marks(layout: Layout) -> list[tuple[int, int, float]]:
    """(kind, row, time) of each change of state, where every call has its own row."""
    found: list[tuple[int, int, float]] = []
    for phase, mark in ((WAITING, 0), (SENT, 1), (RUNNING, 2), (FAILED, 2), (RETURNING, 3)):
        for row, low, high in layout.lines[phase]:
            found.append((mark, row, low))
            if phase == RETURNING:
                found.append((4, row, high))
    return found


# PNG


def to_png(layout: Layout, workers: int, title: str, subtitle: str, path: str) -> None:
    """Draw with matplotlib, on white. Raises ``MissingExtra``."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.collections import LineCollection
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra.of("matplotlib", "plot", "a timeline as PNG (as SVG it needs nothing)") from error
    inches = (TOP + STRIP + GAP + plot_height(layout) + BOTTOM) / 100
    figure: Any = Figure(figsize=(WIDTH / 100, inches), dpi=160, facecolor="white")
    FigureCanvasAgg(figure)
    grid: Any = figure.add_gridspec(
        2, 1, height_ratios=[STRIP, plot_height(layout)], hspace=0.06, left=LEFT / WIDTH, right=1 - RIGHT / WIDTH,
        top=1 - TOP / 100 / inches, bottom=BOTTOM / 100 / inches,
    )  # fmt: skip
    strip: Any = figure.add_subplot(grid[0])
    plot: Any = figure.add_subplot(grid[1], sharex=strip)
    _png_strip(strip, layout, workers)
    points = plot_height(layout) * 0.72 / max(layout.rows, 1)
    rows_to_calls = layout.calls / max(layout.rows, 1)
    handles: list[Any] = []
    for phase in DRAWN:
        lines = layout.lines[phase]
        thin = phase in (WAITING, RETURNING) and layout.calls <= MARKED
        least = layout.seconds * (3 if phase == FAILED else 0.35) / WIDTH
        width = max(points * (0.3 if thin else _thickness(layout)), 1.2 if phase == FAILED else 0.5)
        colour = FAINT if phase == WAITING else COLOURS[phase]
        ends = [((low, y := (row + 0.5) * rows_to_calls), (max(high, low + least), y)) for row, low, high in lines]
        drawn: Any = LineCollection(ends, colors=colour, linewidths=width, capstyle="butt", zorder=2)
        plot.add_collection(drawn)
        if phase != FAILED or layout.failed:
            handles.append(_png_handle(colour, NAMES[phase], "line"))
    if layout.calls <= MARKED:
        handles += _png_marks(plot, layout, points)
    _png_frame(figure, plot, layout, inches, title, subtitle, handles)
    figure.savefig(path)


def _png_handle(colour: str, name: str, kind: str) -> Any:
    from matplotlib.lines import Line2D

    if kind == "line":
        return Line2D([], [], color=colour, linewidth=5, solid_capstyle="butt", label=name)
    return Line2D([], [], color=colour, marker="o", markersize=5, linestyle="none", label=name)


def _png_strip(strip: Any, layout: Layout, workers: int) -> None:
    times = [time for time, _ in layout.busy]
    counts = [count for _, count in layout.busy]
    strip.fill_between(times, counts, step="post", color=COLOURS[RUNNING], alpha=0.55, linewidth=0)
    strip.axhline(workers, color="#1f2933", alpha=0.5, linewidth=0.8, linestyle=(0, (4, 3)))
    strip.set_ylim(0, max(workers, *counts, 1) * 1.12)
    strip.set_yticks([workers])
    strip.set_ylabel("running", fontsize=9, color="#52606d")
    strip.yaxis.set_label_coords(-0.06, 0.5)
    strip.tick_params(axis="x", labelbottom=False, length=0)
    strip.tick_params(axis="y", length=0, labelsize=8)
    strip.grid(axis="x", color="#1f2933", alpha=0.12, linewidth=0.6)
    for side in ("top", "right", "left"):
        strip.spines[side].set_visible(False)


def _png_marks(plot: Any, layout: Layout, points: float) -> list[Any]:
    size = min(5.0, max(1.7, points * 0.72))
    handles: list[Any] = []
    for mark, name in enumerate(MARKS):
        at = [(time, row + 0.5) for kind, row, time in marks(layout) if kind == mark]
        times, rows = [time for time, _ in at], [row for _, row in at]
        plot.plot(
            times, rows, "o", color=MARK_COLOURS[mark], markersize=size, markeredgewidth=0, zorder=4, clip_on=False
        )
        handles.append(_png_handle(MARK_COLOURS[mark], name, "mark"))
    ends = [(high, row + 0.5) for row, _, high in layout.lines[FAILED]]
    crosses = [time for time, _ in ends], [row for _, row in ends]
    plot.plot(*crosses, "x", color=COLOURS[FAILED], markersize=size * 1.5, markeredgewidth=1.6, zorder=5, clip_on=False)
    return handles


def _png_frame(
    figure: Any, plot: Any, layout: Layout, inches: float, title: str, subtitle: str, handles: list[Any]
) -> None:
    left = LEFT / WIDTH
    figure.text(left, 1 - 0.28 / inches, title, fontsize=13, fontweight="bold", color="#1f2933")
    figure.text(left, 1 - 0.47 / inches, subtitle, fontsize=9, color="#52606d")
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(left, 1 - 0.55 / inches), ncols=len(handles),
        frameon=False, fontsize=8, handlelength=1.4, columnspacing=1.2, handletextpad=0.7, borderpad=0, borderaxespad=0,
    )  # fmt: skip
    plot.set_xlim(0, layout.seconds)
    plot.set_ylim(max(layout.calls, 1), 0)
    plot.set_xlabel("seconds since the first submission", fontsize=9, color="#52606d")
    plot.set_ylabel("call", fontsize=9, color="#52606d")
    plot.yaxis.set_label_coords(-0.06, 0.5)
    plot.yaxis.set_major_formatter("{x:,.0f}")
    plot.yaxis.get_major_locator().set_params(integer=True)
    plot.tick_params(labelsize=8, color="#9aa5b1")
    plot.grid(axis="x", color="#1f2933", alpha=0.12, linewidth=0.6)
    for side in ("top", "right", "left"):
        plot.spines[side].set_visible(False)
