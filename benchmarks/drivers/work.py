"""The functions that peers call, in a module so that every peer can import them, and what is expected of them.

Standard library only; numpy is imported by the workload that needs it, so that a cold start does not pay for it.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

ARRAY_BYTES = 1_000_000
UNEVEN_SECONDS = 6.0
UNEVEN_SIGMA = 1.5


def same(x: Any) -> Any:
    """The no-op."""
    return x


def plus_one(array: Any) -> Any:
    """A new array of the same size."""
    return array + 1


def rest(seconds: float) -> int:
    """Take this long without a core, so that the makespan tells of scheduling and not of who else uses the machine."""
    time.sleep(seconds)
    return os.getpid()


def arrays(calls: int, seed: int) -> list[Any]:
    """Arrays of 1 MB, no two alike and none seen in another round: nobody may save work by content."""
    import numpy as np

    generator = np.random.default_rng(seed)
    return [generator.random(ARRAY_BYTES // 8) for _ in range(calls)]


def check_arrays(given: list[Any], got: list[Any]) -> None:
    import numpy as np

    if len(given) != len(got) or not all(np.array_equal(a + 1, b) for a, b in zip(given, got, strict=True)):
        raise AssertionError("the arrays that came back are not those expected")


def durations(calls: int, seed: int, total: float = UNEVEN_SECONDS) -> list[float]:
    """Heavy-tailed call times (log-normal) that add up to ``total`` seconds."""
    generator = random.Random(seed)
    raw = [generator.lognormvariate(0, UNEVEN_SIGMA) for _ in range(calls)]
    return [total * value / sum(raw) for value in raw]


def ideal_makespan(times: list[float], workers: int) -> float:
    """No schedule is shorter than this."""
    return max(sum(times) / workers, max(times))


def greedy_makespan(times: list[float], workers: int) -> float:
    """What one call at a time, in this order and without any overhead, takes."""
    free = [0.0] * workers
    for seconds in times:
        first = min(range(workers), key=free.__getitem__)
        free[first] += seconds
    return max(free)
