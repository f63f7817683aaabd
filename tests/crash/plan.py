"""What befalls whom, and when: drawn from a seed before anything runs, as plain data."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

SKEW = 2.0
"""Clocks are off by at most so many seconds, to either side."""

Launcher = Literal["thread", "engine"]
Kind = Literal["kill", "stall", "end"]


@dataclass(frozen=True, slots=True)
class Trial:
    """``seconds``: how long runs are asked for and blows fall. ``lease``: of workers, in seconds. ``launcher``: jobs in
    threads of the workers, or in real children. ``patience``: seconds until what is not over by then counts as stuck.
    """

    seed: int
    runs: int = 300
    workers: int = 8
    slots: int = 3
    lease: float = 2.0
    seconds: float = 12.0
    kills: int = 16
    stalls: int = 8
    ends: int = 4
    launcher: Launcher = "thread"
    fires: int = 1000
    schedulers: int = 4
    patience: float = 120.0


@dataclass(frozen=True, slots=True)
class Order:
    """A run that somebody asks for ``at`` seconds from the start, and wants cancelled ``cancel_at`` (``None``: not)."""

    number: int
    at: float
    job: str
    inputs: dict[str, Any]
    cancel_at: float | None = None


@dataclass(frozen=True, slots=True)
class Blow:
    """``kill``: SIGKILL. ``stall``: SIGSTOP for ``seconds``, then SIGCONT. ``end``: SIGTERM, an end in good order.

    ``place``: whom it hits. Who is gone is replaced at once.
    """

    at: float
    kind: Kind
    place: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Outage:
    """The store is away. ``hard``: as after a crash."""

    at: float
    seconds: float
    hard: bool


def orders(trial: Trial) -> list[Order]:
    """In the order of their times; the last is asked for when three quarters of the time are over."""
    draw = random.Random(f"{trial.seed} orders")
    times = sorted(draw.uniform(0, 0.75 * trial.seconds) for _ in range(trial.runs))
    return [_order(draw, number, at, trial) for number, at in enumerate(times)]


def _order(draw: random.Random, number: int, at: float, trial: Trial) -> Order:
    job = draw.choices(("brief", "flaky", "lasting"), (5, 3, 2))[0]
    inputs: dict[str, Any] = {"seconds": round(draw.uniform(0.01, 0.1), 3)}
    if job == "flaky":
        inputs["failures"] = draw.choice((0, 1, 1, 2, 9))
    if job == "lasting":
        inputs["seconds"] = round(trial.lease * draw.uniform(1.2, 2.0), 3)
    cancel_at = at + draw.uniform(0, 2) if draw.random() < 0.05 else None
    return Order(number, at, job, inputs, cancel_at)


def blows(trial: Trial, skew: float) -> list[Blow]:
    """On the workers. ``skew``: how much longer than its lease a run is left to a stalled one. Two stalls hit the deaf
    one at the first place, which does not hear that its runs are others' by then."""
    draw = random.Random(f"{trial.seed} blows")
    found: list[Blow] = []

    def fall(kind: Kind, times: int) -> None:
        for number in range(times):
            seconds = (trial.lease + skew) * draw.uniform(1.1, 1.6) if kind == "stall" else 0.0
            place = 0 if kind == "stall" and number < 2 else draw.randrange(trial.workers)
            found.append(Blow(draw.uniform(0.5, trial.seconds), kind, place, seconds))

    fall("kill", trial.kills)
    fall("stall", trial.stalls)
    fall("end", trial.ends)
    return sorted(found, key=lambda blow: blow.at)


def scheduler_kills(trial: Trial) -> list[tuple[float, int]]:
    """Whoever is at a place is killed once, in the midst of the backlog: after which share of it, and where."""
    draw = random.Random(f"{trial.seed} schedulers")
    shares = sorted(draw.uniform(0.05, 0.8) for _ in range(trial.schedulers))
    return list(zip(shares, draw.sample(range(trial.schedulers), trial.schedulers), strict=True))


def outages(trial: Trial) -> Sequence[Outage]:
    """Two: one in good order, one hard."""
    draw = random.Random(f"{trial.seed} outages")
    first = Outage(trial.seconds * draw.uniform(0.2, 0.35), draw.uniform(1.5, 3.0), hard=False)
    second = Outage(trial.seconds * draw.uniform(0.6, 0.75), draw.uniform(1.5, 3.0), hard=True)
    return first, second


def clock_offset(trial: Trial, serial: int) -> float:
    """How much the clock of the process with this number is off, in seconds."""
    return random.Random(f"{trial.seed} clock {serial}").uniform(-SKEW, SKEW)
