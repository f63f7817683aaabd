"""The crash test, on each store: workers and schedulers killed, stalled and replaced, clocks that differ, the store
away twice. ``make soak`` runs more of it, with real children; ``tests/crash`` says how it is done.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crash import houses
from crash.checks import problems_of_schedulers, problems_of_workers, stale_refusals, summary
from crash.driver import hit_schedulers, hit_workers
from crash.ground import ground
from crash.plan import Trial
from postgres import Postgres

SEED = int(os.environ.get("SEED") or 3)


@pytest.fixture(params=["sqlite", "postgres", "dynamodb"])
def opened(request: pytest.FixtureRequest) -> houses.Open:
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        return houses.postgres(server)
    return houses.sqlite if request.param == "sqlite" else houses.dynamodb


def test_every_run_has_one_outcome_whoever_dies(opened: houses.Open, tmp_path: Path) -> None:
    with ground(Trial(SEED), tmp_path, opened) as place:
        ended = hit_workers(place)
        print(summary(ended))
        problems = problems_of_workers(ended)
    assert not problems, "\n".join([f"seed {SEED}, {len(problems)} problems:", *problems[:20]])
    assert stale_refusals(ended), "nobody was stale: the test shows nothing"


def test_every_fire_is_one_run_whoever_dies(opened: houses.Open, tmp_path: Path) -> None:
    with ground(Trial(SEED), tmp_path, opened) as place:
        ended = hit_schedulers(place)
        print(summary(ended))
        problems = problems_of_schedulers(ended)
    assert not problems, "\n".join([f"seed {SEED}, {len(problems)} problems:", *problems[:20]])
