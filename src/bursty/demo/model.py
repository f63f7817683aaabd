"""The forecast: what a month's sales are made of, and one path that they could take.

The logarithm of sales moves from month to month by a growth rate, by the season, by the calendar (a month with five
Saturdays sells more) and by a residual that has some memory. Recent years count more than old ones, and outliers such
as March 2020 count less. A path is one bootstrap: a past that could as well have been, what one would have learnt
from it, and a future drawn from that. So paths differ by the luck of the coming months and by what we can't know yet.

Only numpy. The same seed gives the same path, on whatever worker.
"""

from __future__ import annotations

import calendar
import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

FIRST_YEAR = 1992
LAST_YEAR = 2025
WINDOW = 20  # years that the model looks back
HALF_LIFE = 3  # years after which a month counts half
MEMORY = 3  # months that a residual remembers
WEEKEND = (calendar.THURSDAY, calendar.FRIDAY, calendar.SATURDAY)  # days that sell more
BLOCK = 12  # months that are drawn together, so that good and bad years stay years


def sales() -> Array:
    """Millions of dollars a month from January 1992 on; where they come from says ``data/SOURCE.md``."""
    with files("bursty.demo").joinpath("data/us_liquor_store_sales.csv").open(encoding="utf-8") as lines:
        return np.array([float(row["sales_musd"]) for row in csv.DictReader(lines)])


def months_of(year: int) -> slice:
    """Where a year lies in the series."""
    return slice((year - FIRST_YEAR) * 12, (year - FIRST_YEAR + 1) * 12)


@lru_cache(maxsize=64)
def drivers(start: int, stop: int) -> Array:
    """What moves each month ``start … stop - 1`` against the month before it: growth, season, calendar."""
    rows: list[list[float]] = []
    for index in range(start - 1, stop):
        year, month = FIRST_YEAR + index // 12, index % 12 + 1
        first, days = calendar.monthrange(year, month)
        weekend = sum((first + day) % 7 in WEEKEND for day in range(days))
        season = [float(month == other) for other in range(2, 13)]
        rows.append([float(index), *season, weekend - days * 3 / 7, float(days == 29)])
    return np.diff(np.array(rows), axis=0)


def recall(residuals: Array) -> Array:
    """The ``MEMORY`` residuals before each one, the latest first."""
    return np.column_stack([residuals[MEMORY - lag : -lag] for lag in range(1, MEMORY + 1)])


def regress(x: Array, y: Array, weights: Array) -> Array:
    root = np.sqrt(weights)
    return np.linalg.lstsq(x * root[:, None], y * root)[0]


@dataclass(frozen=True)
class Model:
    """A fit, and what a path needs of it."""

    past: Array
    """What moved each month of the window."""
    effects: Array
    """How much."""
    solver: Array
    """The matrix that gives the effects of a past with the same weights."""
    memory: Array
    residuals: Array
    shocks: Array
    """What the memory does not explain, centred and scaled for the degrees of freedom that the fit used up."""
    weights: Array
    moves: Array
    """The log moves that were seen."""
    last: float
    """The last month's sales."""
    end: int


@lru_cache(maxsize=32)
def fit(last_year: int = LAST_YEAR) -> Model:
    """Learn from the years up to ``last_year``; nothing later is looked at."""
    end = months_of(last_year).stop
    start = max(1, end - 12 * WINDOW)
    known = sales()[start - 1 : end]
    moves, past = np.diff(np.log(known)), drivers(start, end)
    recent = 0.5 ** (np.arange(len(moves))[::-1] / (12 * HALF_LIFE))
    weights = recent
    effects = residuals = np.zeros(0)
    for _ in range(4):  # Huber's weights: beyond two standard deviations a month loses influence
        effects = regress(past, moves, weights)
        residuals = moves - past @ effects
        spread = 1.4826 * np.median(np.abs(residuals))
        weights = recent * np.minimum(1, 2 * spread / np.maximum(np.abs(residuals), 1e-12))
    memory = regress(recall(residuals), residuals[MEMORY:], weights[MEMORY:])
    shocks = residuals[MEMORY:] - recall(residuals) @ memory
    worth = weights.sum() ** 2 / (weights**2).sum()  # so many months of equal weight
    scale = np.sqrt(worth / (worth - past.shape[1] - MEMORY))
    root = np.sqrt(weights)
    solver = np.linalg.pinv(past * root[:, None]) * root
    return Model(
        past, effects, solver, memory, residuals, (shocks - shocks.mean()) * scale, weights, moves, known[-1], end
    )


def draw(rng: np.random.Generator, shocks: Array, count: int) -> Array:
    """``count`` shocks, in blocks of a year each."""
    starts = rng.integers(0, len(shocks) - BLOCK + 1, -(-count // BLOCK))
    return shocks[(starts[:, None] + np.arange(BLOCK)).ravel()[:count]]


def remember(before: Array, memory: Array, shocks: Array) -> Array:
    """The residuals that follow ``before`` under these shocks, each remembering three."""
    near, middle, far = memory.tolist()
    third, second, first = before.tolist()
    after: list[float] = []
    for shock in shocks.tolist():
        first, second, third = shock + near * first + middle * second + far * third, first, second
        after.append(first)
    return np.array(after)


def path(seed: int, last_year: int = LAST_YEAR, months: int = 24) -> Array:
    """Sales of the months after ``last_year``, as they could come."""
    model = fit(last_year)
    rng = np.random.default_rng([seed, last_year])
    # A past that could as well have been, and what it would have taught us.
    other = remember(model.residuals[:MEMORY], model.memory, draw(rng, model.shocks, len(model.residuals)))
    effects = model.effects + model.solver @ other
    leftover = other - model.past @ (model.solver @ other)
    memory = regress(recall(leftover), leftover[MEMORY:], model.weights[MEMORY:])
    # The months to come, from where we really stand.
    standing = (model.moves - model.past @ effects)[-MEMORY:]
    luck = remember(standing, memory, draw(rng, model.shocks, months))
    return model.last * np.exp(np.cumsum(drivers(model.end, model.end + months) @ effects + luck))
