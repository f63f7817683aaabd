"""What dispatch talks about: requests under way, workers, and the orders that are given. See ``core.deadline``."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Plan:
    """How an endpoint is served. Times in seconds.

    ``workers`` score at once, ``spares`` wait warm beside them. ``batch``: requests scored in one call of the user's
    function, at most; ``None``: one by one. ``wait``: how long the first of a batch may wait for others. ``limit``:
    a worker is killed when an invocation takes longer. ``queue``: requests that may wait. ``repeat``: whether a
    request may be run again when its worker was lost without being the culprit. ``prepares``: whether a fallback is
    looked up beforehand.
    """

    workers: int
    spares: int = 1
    batch: int | None = None
    wait: float = 0.0
    limit: float = 10.0
    queue: int = 1024
    repeat: bool = True
    prepares: bool = False


class Ticket:
    """A request under way. ``late_at``: when it gets a fallback. ``answered``: nobody waits for it any more."""

    __slots__ = ("alone", "answered", "arrived", "late_at", "over", "request", "seq", "tries", "waiting", "worker")

    def __init__(self, arrived: float, late_at: float, request: Any = None) -> None:
        self.arrived = arrived
        self.late_at = late_at
        self.request = request
        self.waiting = False
        self.answered = False
        self.over = False
        self.alone = False
        self.tries = 0
        self.seq = -1
        self.worker: Worker | None = None


class State(enum.IntEnum):
    STARTING = 0
    IDLE = 1
    BUSY = 2
    LATE = 3
    ENDING = 4


class Worker:
    """A worker process, by its number at the backend.

    ``since``: when it came into its state, or was sent what it works at. ``first``: the number of its first ticket;
    ``heard``: of the first whose answer has not come yet. ``look_at``: when to look whether it hangs. ``missed``:
    nobody waits any more for some of what it works at. ``stalled``: it
    takes so long that another may take its place. ``revoked``: its tickets, or those that it has not begun, were given
    to others.
    """

    __slots__ = (
        "first",
        "generation",
        "heard",
        "look_at",
        "missed",
        "number",
        "revoked",
        "since",
        "stalled",
        "state",
        "tickets",
    )

    def __init__(self, number: int, generation: int, now: float) -> None:
        self.number = number
        self.generation = generation
        self.state = State.STARTING
        self.since = now
        self.tickets: list[Ticket] = []
        self.first = 0
        self.heard = 0
        self.look_at = float("inf")
        self.missed = False
        self.stalled = False
        self.revoked = False


# Orders to the driver


@dataclass(frozen=True, slots=True)
class Open:
    """Start a worker and tell its number by ``Dispatch.opened``."""


@dataclass(frozen=True, slots=True)
class Send:
    worker: Worker
    tickets: list[Ticket]


@dataclass(frozen=True, slots=True)
class Kill:
    """It takes longer than ``limit`` seconds."""

    worker: Worker
    limit: float


@dataclass(frozen=True, slots=True)
class Retire:
    """Not needed any more; let it end in good order."""

    worker: Worker


@dataclass(frozen=True, slots=True)
class Demote:
    """Let it have what the others leave of the CPU: nobody waits for it."""

    worker: Worker


@dataclass(frozen=True, slots=True)
class Unstick:
    """Those behind the request that it runs wait too long: revoke them and tell ``Dispatch.unstuck`` who runs."""

    worker: Worker


@dataclass(frozen=True, slots=True)
class Prepare:
    """Half of its time is over: look for a fallback."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class TooLate:
    """Time is up: answer with a fallback."""

    ticket: Ticket


Order: TypeAlias = Open | Send | Kill | Retire | Demote | Unstick | Prepare | TooLate


@dataclass(slots=True)
class Tally:
    """What happened so far, for metrics."""

    shed: int = 0
    late: int = 0
    kills: int = 0
    lost: int = 0
    opened: int = 0
    failed_starts: int = 0
