"""A fan chart: what was, and what may come."""

from typing import Any

import numpy as np

SHOWN = 36  # months of the past


def fan(months: list[str], past: np.ndarray, low: np.ndarray, middle: np.ndarray, high: np.ndarray) -> Any:
    """``months``: names of those of the past that are shown and of the coming ones."""
    from matplotlib.figure import Figure  # here, because the many workers that simulate never draw

    figure = Figure(figsize=(9, 4.5), layout="tight")
    axes = figure.subplots()
    past = past[-SHOWN:]
    coming = np.arange(len(past), len(past) + len(middle))
    axes.plot(past, color="#1d2733", label="so far")
    axes.fill_between(coming, low, high, color="#1f6fb4", alpha=0.25, lw=0, label="80% of futures")
    axes.plot(coming, middle, color="#1f6fb4", label="median")
    axes.set_xticks(range(0, len(months), 6), months[::6], rotation=45, ha="right")
    axes.set_ylabel("million US dollars")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    return figure
