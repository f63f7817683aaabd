"""What the planner deals in: groups of calls, spans of them, flights on workers; and the actions it decides on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from bursty.values import LossKind


@dataclass(slots=True)
class Group:
    """Calls of one function that share their options. ``weight``: bytes of a call's arguments, roughly."""

    number: int
    function: str
    count: int
    retries: int = 0
    timeout: float | None = None
    idempotent: bool | None = None
    weight: int = 0
    settled: bytearray = field(default_factory=bytearray)
    open: int = 0
    failures: dict[int, int] = field(default_factory=dict[int, int])
    losses: dict[int, int] = field(default_factory=dict[int, int])

    def attempt(self, index: int) -> int:
        """Which try at this call is the next or present one, from 1."""
        return 1 + self.failures.get(index, 0) + self.losses.get(index, 0)


@dataclass(frozen=True, slots=True)
class Span:
    """Calls ``low`` to ``high - 1`` of a group. ``alone``: an invocation of its own, with nothing before or behind
    it.
    """

    group: int
    low: int
    high: int
    alone: bool = False


@dataclass(slots=True)
class Flight:
    """An invocation on a worker: its calls are numbered from ``seq`` there; those before ``position`` are settled."""

    seq: int
    span: Span
    position: int
    high: int
    sent: float

    def index(self, seq: int) -> int:
        return self.span.low + seq - self.seq


@dataclass(slots=True)
class Worker:
    """What the planner knows of a worker. ``stop``: the call number that it was told to stop at, since ``stopped_at``.
    ``doomed``: nothing more is given to it; ``victim``: the call for whose sake it is being killed.
    """

    number: int
    next_seq: int = 0
    flights: deque[Flight] = field(default_factory=deque[Flight])
    stop: int | None = None
    stopped_at: float = 0.0
    doomed: bool = False
    victim: int | None = None
    ran: bool = False
    idle_since: float = 0.0

    @property
    def is_alone(self) -> bool:
        return bool(self.flights) and any(flight.span.alone for flight in self.flights)


@dataclass(frozen=True, slots=True)
class Send:
    """Give a worker an invocation."""

    worker: int
    seq: int
    span: Span


@dataclass(frozen=True, slots=True)
class Revoke:
    """Tell a worker not to start calls from ``seq`` on (``None``: it may again)."""

    worker: int
    seq: int | None


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker: its call runs too long, or nobody wants it any more."""

    worker: int
    kind: LossKind
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """A call's outcome is that its worker was lost."""

    group: int
    index: int


Action = Send | Revoke | Kill
