"""Plans of activities: what to do on each day between two dates, judging by what people liked to do so far.

bursty run examples/planner/app.py::plan --first 2026-12-01 --last 2026-12-31
"""

import random
from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo

from bursty import App, Run, Table

app = App("planner")

MAX_DAYS = 3660


class Activity(BaseModel):
    activity: str
    times: Annotated[int, Field(ge=0)]
    when: Literal["any day", "weekend"] = "any day"


SO_FAR = Table[Activity]("""
activity,times,when
reading,14,any day
swimming,9,any day
cooking,7,any day
hiking,11,weekend
museum,4,weekend
""")


@app.function
def recommend(counts: dict[str, int], day: date) -> str:
    """One activity for a day: what was done often comes often, and what never was done comes, too.

    The same counts and day give the same answer wherever it is asked, in a plan or for today alone.
    """
    names = sorted(counts)
    return random.Random(day.isoformat()).choices(names, [1 + counts[name] for name in names])[0]


def not_before_first(last: date, info: ValidationInfo) -> date:
    first = info.context["first"]
    if last < first:
        raise ValueError(f"must not be before the first day, {first}")
    if (last - first).days >= MAX_DAYS:
        raise ValueError(f"must be within {MAX_DAYS} days of the first day, {first}")
    return last


@app.job(title="Plan of activities", timeout="1 h", retries=2)
def plan(
    run: Run,
    first: Annotated[date, Field(title="First day")],
    last: Annotated[date, Field(title="Last day"), AfterValidator(not_before_first)],
    so_far: Annotated[Table[Activity], Field(description="How often each was done: activity,times,when")] = SO_FAR,
) -> None:
    """An activity for each day, as a table."""
    days = [first + timedelta(number) for number in range((last - first).days + 1)]
    calls = [(counts_on(day, so_far), day) for day in days]
    chosen = list(run.track(recommend.starmap(calls), "planning"))
    run.save_table("plan", {"day": days, "weekday": [f"{day:%A}" for day in days], "activity": chosen})
    run.metric("days", len(days))


def counts_on(day: date, so_far: Table[Activity]) -> dict[str, int]:
    """What can be done on a day."""
    is_weekend = day.weekday() >= 5
    return {row.activity: row.times for row in so_far if row.when == "any day" or is_weekend}
