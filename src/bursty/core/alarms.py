"""When requests get a fallback looked up, and when they get it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from bursty.core.tickets import Ticket


class Alarms:
    """The deadlines of requests under way.

    Nearly all requests of an endpoint have the same time, so those that came first are due first: queues, not heaps.
    """

    def __init__(self) -> None:
        self._timed: deque[Ticket] = deque()
        self._unprepared: deque[Ticket] = deque()
        self._short: list[Ticket] = []
        """Those that asked for less time than one before them."""

    def add(self, ticket: Ticket, prepare: bool) -> None:
        """``prepare``: it is to be named by ``half_over``."""
        if self._timed and ticket.late_at < self._timed[-1].late_at:
            self._short.append(ticket)
        else:
            self._timed.append(ticket)
            if prepare:
                self._unprepared.append(ticket)

    def half_over(self, now: float) -> Iterator[Ticket]:
        """Those that still wait when half of their time is over; each once."""
        waiting = self._unprepared
        while waiting and (_is_done(waiting[0]) or _half(waiting[0]) <= now):
            ticket = waiting.popleft()
            if not _is_done(ticket):
                yield ticket

    def too_late(self, now: float) -> Iterator[Ticket]:
        """Those that still wait when their time is over; each once."""
        while self._timed and (_is_done(self._timed[0]) or self._timed[0].late_at <= now):
            ticket = self._timed.popleft()
            if not _is_done(ticket):
                yield ticket
        if self._short:
            due = [ticket for ticket in self._short if ticket.late_at <= now and not _is_done(ticket)]
            self._short = [ticket for ticket in self._short if ticket.late_at > now and not _is_done(ticket)]
            yield from due

    def times(self) -> list[float]:
        """When something is due, among other times."""
        found = [ticket.late_at for ticket in self._short]
        if self._timed:
            found.append(self._timed[0].late_at)
        if self._unprepared:
            found.append(_half(self._unprepared[0]))
        return found


def _is_done(ticket: Ticket) -> bool:
    return ticket.answered or ticket.over


def _half(ticket: Ticket) -> float:
    return (ticket.arrived + ticket.late_at) / 2
