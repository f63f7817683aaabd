"""A revenue forecast as a job: people who don't code ask for runs of it, and versions of the model live side by side.

bursty run examples/revenue/app.py::forecast --growth 0.07 --scenario bear
"""

from typing import Annotated, Literal

import model
import numpy as np
import polars as pl
from chart import SHOWN, fan
from database import open_database, read_sales
from pydantic import BaseModel, Field

from bursty import App, File, Run, Table, Unit

app = App("revenue")

SCENARIOS = {"base": 0.0, "bull": 0.02, "bear": -0.03}  # what each adds to the yearly growth


class OneOff(BaseModel):
    month: Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
    amount: Annotated[float, Unit("million USD")]


@app.function
def simulate(seed: int, history: np.ndarray, growth: float, months: int) -> np.ndarray:
    return model.path(seed, history, growth, months)


@app.job(title="Revenue forecast", timeout="30 min")
def forecast(
    run: Run,
    growth: Annotated[float, Field(ge=-0.5, le=1, title="Yearly growth"), Unit("a year")] = 0.03,
    scenario: Literal["base", "bull", "bear"] = "base",
    months: Annotated[int, Field(ge=12, le=60, title="Months to forecast")] = 24,
    one_offs: Annotated[Table[OneOff] | None, Field(description="What comes once: month,amount")] = None,
    history: Annotated[File | None, Field(description="CSV with month,sales_musd instead of the database")] = None,
    futures: Annotated[int, Field(ge=100, le=20_000, title="Simulated futures")] = 2000,
) -> None:
    """What the coming months may bring: a table, a fan chart, and numbers to compare runs by."""
    past = pl.read_csv(history.path) if history else from_database(run)
    known = past["sales_musd"].to_numpy()
    if len(known) < 12 * (model.YEARS + 1):
        raise ValueError(f"the history has {len(known)} months, and the model needs {12 * (model.YEARS + 1)}")
    rate = growth + SCENARIOS[scenario]
    coming = months_after(past["month"][-1], months)

    calls = [(seed, known[-12 * model.YEARS :], rate, months) for seed in range(futures)]
    paths = np.array(list(run.track(simulate.starmap(calls), "simulating")))
    paths += one_off_amounts(run, one_offs, coming)

    low, middle, high = np.percentile(paths, [10, 50, 90], axis=0).round(1)
    run.save_table("history", past)  # so that whoever has the run has all that went into it
    run.save_table("forecast", pl.DataFrame({"month": coming, "low": low, "middle": middle, "high": high}))
    run.save_figure("fan", fan([*past["month"][-SHOWN:], *coming], known, low, middle, high))

    for name, level in (("low", 10), ("middle", 50), ("high", 90)):
        run.metric(f"next 12 months ({name})", np.percentile(paths[:, :12].sum(axis=1), level))
    a_year_ago = model.expected(known[:-12], rate, 12)
    run.metric("last year off by (percent)", 100 * np.abs(a_year_ago / known[-12:] - 1).mean())


def from_database(run: Run) -> pl.DataFrame:
    """Asked once a day, however many runs and versions there are."""
    database = open_database()
    return run.cache(["sales", str(database.url)], lambda: read_sales(database), max_age="1 day")


def months_after(last: str, count: int) -> list[str]:
    """The names of the months that follow ``last``."""
    year, month = map(int, last.split("-"))
    return [f"{year + (month + n) // 12}-{(month + n) % 12 + 1:02}" for n in range(count)]


def one_off_amounts(run: Run, one_offs: Table[OneOff] | None, coming: list[str]) -> np.ndarray:
    """What the one-offs add to each coming month."""
    amounts = dict.fromkeys(coming, 0.0)
    for item in one_offs or ():
        if item.month in amounts:
            amounts[item.month] += item.amount
        else:
            run.log(f"the one-off of {item.month} is left out: the forecast has no such month", "warning")
    return np.array(list(amounts.values()))
