"""What to do today? An endpoint that recommends an activity by how often each was done, and one that counts.

bursty serve examples/activities/app.py
"""

import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from bursty import App, Default

app = App("activities")

LOOK_BACK = timedelta(days=365)
DATABASE = os.environ.get("ACTIVITIES_DATABASE", str(Path.home() / "activities.sqlite"))
IDEAS = ("reading", "swimming", "cooking", "hiking", "museum")

Name = Annotated[str, Field(min_length=1, max_length=100)]


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """What was done, of all users; any database would do."""
    with closing(sqlite3.connect(DATABASE, timeout=5)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS done (id TEXT PRIMARY KEY, user TEXT, activity TEXT, day TEXT)")
        yield connection


class Done(BaseModel):
    """``id``: chosen by who tells it, so that what is told twice counts once."""

    id: Name
    user: Name
    activity: Name
    day: date


@app.endpoint("/done", deadline="2 s", log=False)
def done(told: Done) -> dict[str, int]:
    """Count an activity, and say how often each was done."""
    with database() as connection:
        row = (told.id, told.user, told.activity, told.day.isoformat())
        connection.execute("INSERT OR IGNORE INTO done VALUES (?, ?, ?, ?)", row)
    return counts(told.user, told.day)


def counts(user: str, day: date) -> dict[str, int]:
    """How often each activity was done in the year until that day."""
    with database() as connection:
        found = connection.execute(
            "SELECT activity, count(*) FROM done WHERE user = ? AND day > ? AND day <= ? GROUP BY activity",
            (user, (day - LOOK_BACK).isoformat(), day.isoformat()),
        )
        return dict(found.fetchall())


class Recommended(BaseModel):
    activity: str
    times: int


@app.endpoint("/recommend", deadline="200 ms", fallback=["last_good", Default({"activity": "reading", "times": 0})])
def recommend(user: Name, day: date) -> Recommended:
    """One activity for a day: what was done often comes often, and what never was done comes, too."""
    known = {**dict.fromkeys(IDEAS, 0), **counts(user, day)}
    names = sorted(known)
    chosen = random.Random(f"{user} {day}").choices(names, [1 + known[name] for name in names])[0]
    return Recommended(activity=chosen, times=known[chosen])
