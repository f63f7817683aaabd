"""The revenue model: months follow their trend. Only numpy; no bursty, no database."""

import numpy as np

YEARS = 5  # that the model looks back
GROWTH_ERROR = 0.04  # by how much a year's growth tends to differ from what was assumed


def fit(history: np.ndarray) -> tuple[float, np.ndarray]:
    """The level of the last year, as it stands in the last month; and by how much each month of the past years (a row
    each) was above its year. Both as logarithms."""
    logs, time = np.log(history[-12 * YEARS :]), np.arange(1.0 - 12 * YEARS, 1)
    slope, _ = np.polyfit(time, logs, 1)
    years = (logs - slope * time).reshape(YEARS, 12)
    return years[-1].mean(), years - years.mean(axis=1, keepdims=True)


def expected(history: np.ndarray, growth: float, months: int) -> np.ndarray:
    """The coming months, should revenue grow as assumed."""
    level, _ = fit(history)
    return np.exp(level) * (1 + growth) ** (np.arange(1, months + 1) / 12)


def path(seed: int, history: np.ndarray, growth: float, months: int) -> np.ndarray:
    """The coming months as they may turn out: growth drifts from what was assumed, and months differ as they did."""
    rng = np.random.default_rng(seed)
    _, above = fit(history)
    drift = rng.normal(0, GROWTH_ERROR / 12**0.5, months).cumsum()
    return expected(history, growth, months) * np.exp(drift + rng.choice(above.ravel(), months))
