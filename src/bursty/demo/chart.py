"""The fan chart: what was, what came where the forecast had not looked, and what may come."""

# matplotlib leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bursty.demo.model import FIRST_YEAR, LAST_YEAR, Array, months_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

SHOWN_FROM = LAST_YEAR - 4
INK, GREY, PALE, BLUE, AMBER = "#1d2733", "#6b7783", "#d3dae0", "#1f6fb4", "#d0741c"
BANDS = ((2.5, 97.5, 0.15, "95%"), (10, 90, 0.22, "80%"), (25, 75, 0.35, "50%"))


def draw(path: Path, sales: Array, forecast: Array, held_out: Array) -> None:
    """Write the picture: months on the left, years on the right. ``forecast`` and ``held_out`` hold a path a row."""
    figure = Figure(figsize=(13, 6.8), dpi=150, facecolor="white")
    months, years = figure.subplots(1, 2, width_ratios=[3.3, 1])
    figure.subplots_adjust(left=0.045, right=0.985, top=0.805, bottom=0.165, wspace=0.1)
    draw_months(months, sales / 1000, forecast / 1000, held_out / 1000)
    draw_years(years, sales / 1000, forecast / 1000)
    figure.text(0.045, 0.935, "Sales of US beer, wine and liquor stores", fontsize=19, weight="bold", color=INK)
    count = f"{len(forecast):,} simulated futures, tested on {LAST_YEAR}, of which the test forecast had seen nothing"
    figure.text(0.045, 0.892, count, fontsize=11.5, color=GREY)
    figure.legend(
        handles=legend(), loc="lower left", bbox_to_anchor=(0.036, 0.05), ncols=7, fontsize=9.5, frameon=False,
        labelcolor=INK, columnspacing=1.7, handlelength=1.6,
    )  # fmt: skip
    source = "Data: U.S. Census Bureau, Monthly Retail Trade, NAICS 4453, current prices, not seasonally adjusted"
    figure.text(0.045, 0.022, source, fontsize=8.5, color=GREY)
    figure.savefig(path)


def draw_months(axes: Axes, sales: Array, forecast: Array, held_out: Array) -> None:
    times = np.array([FIRST_YEAR + (month + 0.5) / 12 for month in range(len(sales) + forecast.shape[1])])
    tested, known = months_of(LAST_YEAR), slice(months_of(SHOWN_FROM).start, months_of(LAST_YEAR).start)
    axes.plot(times[known], sales[known], color=INK, lw=1.6)
    fan(axes, times[tested], held_out, AMBER)
    axes.plot(times[tested], sales[tested], "o", color=INK, ms=5.5, mec="white", mew=0.9, zorder=5)
    fan(axes, times[tested.stop :], forecast, BLUE)
    for year in (LAST_YEAR, LAST_YEAR + 1):
        axes.axvline(year, color=GREY, lw=0.8, ls=(0, (2, 3)), zorder=0)
    style(axes, "Month by month, billions of dollars")
    end = LAST_YEAR + 1 + forecast.shape[1] // 12
    axes.set_xlim(SHOWN_FROM, end)
    axes.set_xticks([year + 0.5 for year in range(SHOWN_FROM, end)], [str(year) for year in range(SHOWN_FROM, end)])


def fan(axes: Axes, times: Array, paths: Array, colour: str) -> None:
    for low, high, alpha, _ in BANDS:
        below, above = np.percentile(paths, [low, high], axis=0)
        axes.fill_between(times, below, above, color=colour, alpha=alpha, lw=0)
    axes.plot(times, np.median(paths, axis=0), color=colour, lw=1.8)


def legend() -> list[Artist]:
    def line(colour: str, label: str) -> Artist:
        return Line2D([], [], color=colour, lw=2, label=label)

    dot = Line2D([], [], color=INK, marker="o", ms=5.5, ls="none", label=f"Sales in {LAST_YEAR}, held out")
    medians = (line(AMBER, f"Forecast of {LAST_YEAR}, median"), line(BLUE, f"Forecast from {LAST_YEAR + 1} on, median"))
    bands = (
        Patch(color=GREY, alpha=1.6 * alpha, lw=0, label=f"{share} of futures") for *_, alpha, share in BANDS[::-1]
    )
    return [line(INK, "Sales"), dot, *medians, *bands]


def draw_years(axes: Axes, sales: Array, forecast: Array) -> None:
    known = [float(sales[months_of(year)].sum()) for year in range(SHOWN_FROM, LAST_YEAR + 1)]
    totals = forecast.reshape(len(forecast), -1, 12).sum(axis=2)
    low, middle, high = np.percentile(totals, [10, 50, 90], axis=0)
    years = list(range(SHOWN_FROM, LAST_YEAR + 1 + len(middle)))
    new = years[len(known) :]
    axes.bar(years[: len(known)], known, color=PALE, width=0.78)
    axes.bar(new, middle, color="#a9cbe6", width=0.78)
    axes.errorbar(new, middle, yerr=[middle - low, high - middle], color=BLUE, capsize=5, lw=2, ls="none")
    for year, total, top in zip(years, [*known, *middle], [*known, *low], strict=True):
        label = axes.annotate(f"{total:.1f}", (year, top), (0, -5), textcoords="offset points", ha="center", va="top")
        label.set(fontsize=9, color=INK)
    style(axes, "Year by year, with the 80% range")
    axes.set_xticks(years, [f"’{year % 100:02}" for year in years])


def style(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11.5, color=INK, pad=10)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.tick_params(length=0, colors=INK, labelsize=9.5)
    axes.grid(axis="y", color="#e4e8ec", lw=0.8)
    axes.set_axisbelow(True)
