"""Price options by finite differences over many configurations, and check them against the closed form.

    python examples/black_scholes/main.py [OUT_DIR]

Crank–Nicolson on the logarithm of the price: stable for any step, second order in both steps. Only numpy.
"""

import csv
import math
import sys
import time
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bursty import Executor

TOLERANCE = 0.01  # one cent on a share of 100 dollars


class Option(NamedTuple):
    kind: str  # call or put
    style: str  # European or American
    strike: float
    rate: float
    volatility: float
    years: float
    spot: float = 100.0


def price(option: Option, nodes: int = 201, steps: int = 50) -> float:
    """The option's value today."""
    kind, style, strike, rate, volatility, years, spot = option
    width = 5 * volatility * math.sqrt(years) + abs(math.log(spot / strike))
    x, h = np.linspace(math.log(spot) - width, math.log(spot) + width, nodes, retstep=True)  # the spot is a node
    dt = years / steps
    sign = 1 if kind == "call" else -1
    payoff = np.maximum(sign * (np.exp(x) - strike), 0)
    value = smooth_payoff(x, h, strike) if kind == "call" else smooth_payoff(x, h, strike) - np.exp(x) + strike

    # A is the Black–Scholes operator: half a variance of curvature, drift, discount.
    curvature, drift = (volatility / h) ** 2 / 2, (rate - volatility**2 / 2) / (2 * h)
    a = np.diag(np.full(nodes, 2 * curvature + rate))
    a += np.diag(np.full(nodes - 1, -curvature - drift), 1) + np.diag(np.full(nodes - 1, -curvature + drift), -1)
    a[[0, -1]] = 0  # the ends are given, below
    solve = np.linalg.inv(np.eye(nodes) + dt / 2 * a)
    force = np.zeros(nodes)  # what keeps an American option from falling below its payoff

    # Four half steps of implicit Euler smooth the kink of the payoff (Rannacher), then Crank–Nicolson.
    for step, length in [(i, dt / 2) for i in range(4)] + [(i, dt) for i in range(2, steps)]:
        right = value + length * force if length < dt else value - dt / 2 * (a @ value) + dt * force
        left = (step + 1) * length  # years to expiry
        right[[0, -1]] = np.maximum(sign * (np.exp(x[[0, -1]]) - strike * math.exp(-rate * left)), 0)
        value = solve @ right
        if style == "American":  # operator splitting (Ikonen and Toivanen)
            free = value
            value = np.maximum(free - length * force, payoff)
            force = np.maximum(force + (payoff - free) / length, 0)
    return float(value[nodes // 2])


def smooth_payoff(x: np.ndarray, h: float, strike: float) -> np.ndarray:
    """A call's payoff, averaged over each cell, so that no error depends on where the strike falls."""
    edges = np.maximum(np.append(x, x[-1] + h) - h / 2, math.log(strike))
    return np.diff(np.exp(edges) - strike * edges) / h


def closed_form(option: Option) -> float:
    """Black and Scholes, for European options."""
    kind, _, strike, rate, volatility, years, spot = option
    sign = 1 if kind == "call" else -1
    d1 = (math.log(spot / strike) + (rate + volatility**2 / 2) * years) / (volatility * math.sqrt(years))
    d2 = d1 - volatility * math.sqrt(years)
    return sign * (spot * normal(sign * d1) - strike * math.exp(-rate * years) * normal(sign * d2))


def normal(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


def main(out: Path) -> None:
    kinds, styles = ("call", "put"), ("European", "American")
    strikes, rates = (80, 90, 95, 100, 105, 110, 120), (0.01, 0.03, 0.06)
    volatilities, years = (0.1, 0.2, 0.3, 0.5), (0.25, 0.5, 1, 2)
    options = [Option(*row) for row in product(kinds, styles, strikes, rates, volatilities, years)]

    began = time.perf_counter()
    with Executor() as executor:
        prices = list(executor.map(price, options))
    print(f"{len(options):,} options priced in {time.perf_counter() - began:.1f} s")

    out.mkdir(parents=True, exist_ok=True)
    with (out / "prices.csv").open("w", newline="") as file:
        sheet = csv.writer(file)
        sheet.writerow([*Option._fields, "price", "closed_form"])
        sheet.writerows(
            [*option, f"{value:.6f}", f"{closed_form(option):.6f}" if option.style == "European" else ""]
            for option, value in zip(options, prices, strict=True)
        )

    europeans = {o: v for o, v in zip(options, prices, strict=True) if o.style == "European"}
    worst = max(europeans, key=lambda option: abs(europeans[option] - closed_form(option)))
    error = abs(europeans[worst] - closed_form(worst))
    print(f"Largest difference from the closed form: {error:.5f} dollars, at {worst}")
    premium = {o: v - europeans[o._replace(style="European")] for o, v in zip(options, prices, strict=True)}
    dearest = max(premium, key=premium.__getitem__)
    print(f"The right to exercise early is worth most, {premium[dearest]:.2f} dollars, at {dearest}")
    print(f"Prices: {out / 'prices.csv'}")
    if error > TOLERANCE:
        sys.exit(f"The scheme is off by more than {TOLERANCE} dollars.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/black_scholes"))
