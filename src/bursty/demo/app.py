"""Thousands of futures, mapped over workers: what bursty adds to ``model`` is in ``simulate`` and ``run``."""

from __future__ import annotations

import csv
import time
from calendar import month_name
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bursty import App, Executor
from bursty.demo import chart, model
from bursty.demo.model import Array

LEVELS = (5, 10, 25, 50, 75, 90, 95)
MONTHS = 24
TESTED = range(2010, model.LAST_YEAR + 1)

app = App("forecast")


@app.function(timeout="1 min")
def simulate(seed: int, last_year: int = model.LAST_YEAR, months: int = MONTHS) -> Array:
    """One future, drawn from what was known at the end of ``last_year``."""
    return model.path(seed, last_year, months)


@dataclass(frozen=True)
class Trial:
    """How a forecast for a year did that it had not seen."""

    year: int
    paths: Array
    actual: Array
    naive: Array

    @property
    def covered(self) -> int:
        """Months within the band that should hold 80% of them."""
        low, high = np.percentile(self.paths, [10, 90], axis=0)
        return int(np.sum((low <= self.actual) & (self.actual <= high)))

    @property
    def mape(self) -> float:
        """Mean absolute error of the median, in per cent of the actual sales."""
        return percent_off(np.median(self.paths, axis=0), self.actual)

    @property
    def naive_mape(self) -> float:
        """The same for "as in the same month a year ago", which every forecast should beat."""
        return percent_off(self.naive, self.actual)


@dataclass(frozen=True)
class Forecast:
    """What the demo found and where it wrote it."""

    paths: Array
    trials: tuple[Trial, ...]
    seconds: float
    table: Path
    picture: Path

    @property
    def held_out(self) -> Trial:
        """The trial on the last year."""
        return self.trials[-1]


def percent_off(forecast: Array, actual: Array) -> float:
    return float(100 * np.mean(np.abs(forecast / actual - 1)))


def run(out_dir: Path, paths: int, say: Callable[[str], None]) -> Forecast:
    few = max(paths // 20, 50)
    say("Sales of all US beer, wine and liquor stores, 1992 to 2025 (US Census Bureau): what will 2026 and 2027 bring?")
    counts = dict.fromkeys(TESTED, few) | {model.LAST_YEAR: paths}
    say(f"Simulating {paths:,} futures, and {sum(counts.values()):,} more that test the forecast on the past …")

    calls = [(seed, model.LAST_YEAR, MONTHS) for seed in range(paths)]
    calls += [(seed, year - 1, 12) for year in TESTED for seed in range(counts[year])]
    began = time.perf_counter()
    with Executor() as executor:
        futures = list(executor.starmap(simulate, calls))
    seconds = time.perf_counter() - began
    say(f"{len(calls):,} futures in {seconds:.1f} s.")

    out_dir.mkdir(parents=True, exist_ok=True)
    forecast = Forecast(
        paths=np.array(futures[:paths]),
        trials=tuple(trials(futures[paths:], counts)),
        seconds=seconds,
        table=out_dir / "forecast.csv",
        picture=out_dir / "forecast.png",
    )
    rows = quantiles(forecast.paths)
    write(forecast.table, rows)
    chart.draw(forecast.picture, model.sales(), forecast.paths, forecast.held_out.paths)
    for line in (*table(rows), *verdict(forecast), f"Table:   {forecast.table}", f"Picture: {forecast.picture}"):
        say(line)
    return forecast


def trials(futures: list[Array], counts: dict[int, int]) -> list[Trial]:
    """Compare the futures of each tested year with what came."""
    sales, rest = model.sales(), iter(futures)
    return [
        Trial(
            year=year,
            paths=np.array([next(rest) for _ in range(count)]),
            actual=sales[model.months_of(year)],
            naive=sales[model.months_of(year - 1)],
        )
        for year, count in counts.items()
    ]


def quantiles(paths: Array) -> list[tuple[str, Array]]:
    """Of every month, and of every year's total, which only whole paths can give."""
    first = model.LAST_YEAR + 1
    months = [f"{first + index // 12} {month_name[index % 12 + 1]}" for index in range(paths.shape[1])]
    years = paths.reshape(len(paths), -1, 12).sum(axis=2)
    names = months + [f"{first + index} in all" for index in range(years.shape[1])]
    return list(zip(names, np.percentile(np.hstack([paths, years]), LEVELS, axis=0).T, strict=True))


def write(path: Path, rows: list[tuple[str, Array]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        sheet = csv.writer(file)
        sheet.writerow(["period", *(f"p{level:02}" for level in LEVELS)])
        sheet.writerows([name, *(f"{value:.1f}" for value in values)] for name, values in rows)


def table(rows: list[tuple[str, Array]]) -> list[str]:
    shown = [LEVELS.index(level) for level in (10, 50, 90)]
    head = f"{'millions of dollars':<20}" + "".join(f"{f'{LEVELS[i]}%':>10}" for i in shown)
    lines = [f"{name:<20}" + "".join(f"{values[i]:>10,.0f}" for i in shown) for name, values in rows]
    return ["", head, *lines[:MONTHS], "", *lines[MONTHS:], ""]


def verdict(forecast: Forecast) -> list[str]:
    """How far to trust it: the good and the bad."""
    last, every = forecast.held_out, forecast.trials
    share = 100 * sum(trial.covered for trial in every) / (12 * len(every))
    mape, naive = (float(np.mean([getattr(t, name) for t in every])) for name in ("mape", "naive_mape"))
    rows = [
        (f"{last.year}", f"{last.covered} of 12", last.mape, last.naive_mape),
        (f"{every[0].year} to {last.year}", f"{share:.0f}%", mape, naive),
    ]
    return [
        "How far to trust it: forecasts of years that they had not seen, and “as in the same month a year ago”",
        f"{'':<16}{'months in 80% band':>20}{'median off by':>16}{'a year ago off by':>20}",
        *(f"{years:<16}{held:>20}{off:>15.1f}%{ago:>19.1f}%" for years, held, off, ago in rows),
        "",
    ]
