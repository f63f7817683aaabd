"""The crash test for longer, with real children: ``make soak`` (SEED, RUNS, STORE).

python tests/crash/soak.py [--seed N] [--runs N] [--launcher engine|thread] [STORE …]
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from crash import houses, plan
from crash.checks import problems_of_schedulers, problems_of_workers, summary
from crash.driver import hit_schedulers, hit_workers
from crash.ground import ground
from postgres import run_postgres

STORES = ("sqlite", "postgres", "dynamodb")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="*", metavar="STORE", help=", ".join(STORES))
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--launcher", choices=("engine", "thread"), default="engine")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.stores) - set(STORES))
    if unknown:
        parser.error(f"there is no store {unknown[0]}; there are {', '.join(STORES)}")
    trial = trial_of(options.seed, options.runs, options.launcher)
    print(f"seed {trial.seed}: {trial}", flush=True)
    bad = [store for store in options.stores or STORES if not passes(store, trial)]
    return 1 if bad else 0


def trial_of(seed: int, runs: int, launcher: plan.Launcher) -> plan.Trial:
    """Blows in proportion to the runs; asked for at a speed that two processors bear."""
    return plan.Trial(
        seed,
        runs,
        slots=2 if launcher == "engine" else 3,
        lease=3.0,
        seconds=runs / (8 if launcher == "engine" else 24),
        kills=runs // 20,
        stalls=runs // 40,
        ends=runs // 80,
        launcher=launcher,
        patience=600.0,
    )


def passes(store: str, trial: plan.Trial) -> bool:
    """Whether all is well; says so. What is not is kept for a look."""
    good = True
    for hit, problems_of in ((hit_workers, problems_of_workers), (hit_schedulers, problems_of_schedulers)):
        folder = Path(tempfile.mkdtemp(prefix=f"bursty-soak-{store}-"))
        with opened(store) as house, ground(trial, folder, house) as place:
            ended = hit(place)
            problems = problems_of(ended)
            print(summary(ended), flush=True)
        for problem in problems:
            print(f"  {problem}", flush=True)
        if problems:
            good = False
            print(f"  all of it lies in {folder}")
        else:
            shutil.rmtree(folder)
    return good


@contextmanager
def opened(store: str) -> Generator[houses.Open]:
    if store != "postgres":
        yield houses.sqlite if store == "sqlite" else houses.dynamodb
        return
    for server in run_postgres():
        yield houses.postgres(server)


if __name__ == "__main__":
    sys.exit(main())
