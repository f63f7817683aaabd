"""The rules of the deadline test: which requests misbehave, when each is sent, and what an answer counts as."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.hosting import TOLERANCE, Truth
from harness.loads import Answer, quantile
from harness.peers import Workload
from harness.served import Wire
from harness.targets import Verdict

DEADLINE = 0.100
GRACE = 0.020
PATIENCE = 5.0
"""What is not answered by then never is. Seconds."""
COST: Mapping[str, float] = {"python": 0.5, "c": 0.5, "segfault": 1.5, "loop": 1.0}
"""Seconds of a core that one burns. A loop: until bursty's hard limit, a second. A segfault: a new process that imports
scikit-learn and loads the forest."""
SHARE_OF_CPU = 0.20
MOST_OF_REQUESTS = 0.01
MIXED = "mixed"
SCENARIOS: Mapping[str, tuple[str, ...]] = {"none": (), **{kind: (kind,) for kind in COST}, MIXED: tuple(COST)}
TITLES = {
    "none": "no faults",
    "python": "some burn 500 ms in Python",
    "c": "some burn 500 ms in C, holding the GIL",
    "segfault": "some segfault",
    "loop": "some loop for ever",
    MIXED: "all of these",
}
NO_IDEA = (1 / 3, 1 / 3, 1 / 3)


@dataclass(frozen=True)
class Shot:
    """A request to be sent ``due`` seconds after the start, about this row of the flowers."""

    due: float
    row: int
    fault: str | None


def fault_rates(kinds: Sequence[str], rate: float, cores: int) -> dict[str, float]:
    """How many of each kind a second: together they burn a fifth of all cores, and are few among all requests."""
    budget = SHARE_OF_CPU * cores / max(1, len(kinds))
    return {kind: min(budget / COST[kind], MOST_OF_REQUESTS * rate) for kind in kinds}


def plan(kinds: Sequence[str], rate: float, seconds: float, rows: int, cores: int, seed: int) -> list[Shot]:
    """Arrivals of a Poisson process, with exactly as many faults as their rates say, at random places among them."""
    dice = random.Random(seed)
    times: list[float] = []
    now = dice.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += dice.expovariate(rate)
    faults = [
        kind for kind, each in fault_rates(kinds, rate, cores).items() for _ in range(max(1, round(each * seconds)))
    ]
    places = dict(zip(dice.sample(range(len(times)), min(len(faults), len(times))), faults, strict=False))
    return [Shot(due, dice.randrange(rows), places.get(number)) for number, due in enumerate(times)]


def requests_of(shots: Sequence[Shot]) -> list[tuple[int, str | None]]:
    """The different ones."""
    return list(dict.fromkeys((shot.row, shot.fault) for shot in shots))


@dataclass(frozen=True)
class Tally:
    """What became of all requests of one run. Shares are percent of all, ``fresh`` of those without a fault. Seconds,
    counted from when a request was meant to be sent; one without an answer counts as all of the patience."""

    rate: float
    requests: int
    faults: int
    in_time: float
    wrong: float
    errors: float
    fallbacks: float
    fresh: float
    p50: float
    p99: float
    p999: float
    most: float
    lag: float
    """By how much the generator was late, at the 99.9th percentile."""
    restarts: int

    @property
    def late(self) -> float:
        """Not answered in time with something right or marked."""
        return 100 - self.in_time


def kind_of(answer: Answer, row: int, wire: Wire, truth: Truth) -> str:
    """``fresh``, ``fallback`` (marked as one), ``wrong`` or ``error``."""
    if answer.status != 200:
        return "error"
    try:
        said: Any = json.loads(answer.body)
        probabilities = wire.told(said)
    except (ValueError, LookupError, TypeError):
        return "wrong"
    right = truth.is_right(row, probabilities)
    if not is_marked(answer.head, said):
        return "fresh" if right else "wrong"
    default = len(probabilities) == len(NO_IDEA) and all(
        abs(one - other) < TOLERANCE for one, other in zip(probabilities, NO_IDEA, strict=True)
    )
    return "fallback" if right or default else "wrong"


def is_marked(head: str, said: Any) -> bool:
    """bursty says it in a header; who writes a fallback by hand may say it in the body."""
    for line in head.lower().split("\r\n"):
        name, _, value = line.partition(":")
        if name == "bursty-answer":
            return value.strip() != "fresh"
    return isinstance(said, dict) and said.get("fallback") is True


def tally(
    answers: Sequence[Answer],
    shots: Sequence[Shot],
    wire: Wire,
    truth: Truth,
    *,
    rate: float,
    restarts: int,
) -> Tally:
    """``answers`` may come in any order: they are matched by when they were due."""
    by_time = {answer.due: answer for answer in answers}
    counts = dict.fromkeys(("fresh", "fallback", "wrong", "error"), 0)
    times: list[float] = []
    in_time = fresh = 0
    for shot in shots:
        answer = by_time.get(shot.due) or Answer(shot.due, 0, None, None, 0, "", "")
        kind = kind_of(answer, shot.row, wire, truth)
        counts[kind] += 1
        took = PATIENCE if answer.done is None else answer.done - shot.due
        times.append(took)
        if kind in ("fresh", "fallback") and took <= DEADLINE + GRACE:
            in_time += 1
            fresh += kind == "fresh" and shot.fault is None
    times.sort()
    lags = sorted(answer.sent - answer.due for answer in answers if answer.sent is not None) or [PATIENCE]
    faults = sum(shot.fault is not None for shot in shots)
    total, without = max(1, len(shots)), max(1, len(shots) - faults)
    return Tally(
        rate=rate,
        requests=len(shots),
        faults=faults,
        in_time=100 * in_time / total,
        wrong=100 * counts["wrong"] / total,
        errors=100 * counts["error"] / total,
        fallbacks=100 * counts["fallback"] / total,
        fresh=100 * fresh / without,
        p50=quantile(times, 0.5),
        p99=quantile(times, 0.99),
        p999=quantile(times, 0.999),
        most=times[-1],
        lag=quantile(lags, 0.999),
        restarts=restarts,
    )


MOST_LATE, MOST_WRONG, LEAST_FRESH, MOST_LAG = 0.1, 0.0, 95.0, 0.002


def verdicts(scenario: str, found: Tally | None) -> list[Verdict]:
    """Of bursty. Shares that stay below a limit are percent of requests."""
    title = TITLES[scenario]
    promises = (
        ("late", f"{title}: at least {100 - MOST_LATE}% answered within the deadline and 20 ms", MOST_LATE),
        ("wrong", f"{title}: no answer is wrong", MOST_WRONG),
        ("stale", f"{title}: at least {LEAST_FRESH:g}% of those without a fault answered fresh", 100 - LEAST_FRESH),
    )
    if found is None:
        return [Verdict(name, promise, "UNKNOWN", note="bursty did not run") for name, promise, _ in promises]
    values = (found.late, found.wrong, 100 - found.fresh)
    return [judged(name, promise, value, limit) for (name, promise, limit), value in zip(promises, values, strict=True)]


def judged(name: str, promise: str, value: float, limit: float, note: str = "") -> Verdict:
    share = value / limit if limit else float(value > 0)
    return Verdict(name, promise, "PASS" if value <= limit else "MISS", value, limit, share, note)


WORKLOADS = (*(Workload(name, name, 0, "%") for name in ("late", "wrong", "stale")), Workload("lag", "lag", 0))


def plain(found: Tally) -> dict[str, Any]:
    return asdict(found)
