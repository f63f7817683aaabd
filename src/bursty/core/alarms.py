"""When requests get a fallback looked up, and when they get it."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator

from bursty.core.tickets import Ticket

SLACK = 256
"""So many that are done may lie behind one that isn't, beside as many as are not."""


class Alarms:
    """The times of requests under way. Those that are done are forgotten.

    Nearly all requests of an endpoint have the same time, so those that came first are due first: a queue; and a heap
    for those that asked for less time than one before them.
    """

    def __init__(self) -> None:
        self._in_order: deque[tuple[float, Ticket]] = deque()
        self._others: list[tuple[float, int, Ticket]] = []
        self._count = 0
        self._sweep_at = SLACK

    def __len__(self) -> int:
        return len(self._in_order) + len(self._others)

    def add(self, at: float, ticket: Ticket) -> None:
        in_order = self._in_order
        if not in_order or at >= in_order[-1][0]:
            in_order.append((at, ticket))
        else:
            self._count += 1
            heapq.heappush(self._others, (at, self._count, ticket))
        if len(in_order) + len(self._others) > self._sweep_at:
            self._sweep()

    def _sweep(self) -> None:
        """One that takes long keeps those behind it in memory no longer."""
        self._in_order = deque(entry for entry in self._in_order if not _is_done(entry[1]))
        self._others = [entry for entry in self._others if not _is_done(entry[2])]
        heapq.heapify(self._others)
        self._sweep_at = 2 * len(self) + SLACK

    def due(self, now: float) -> Iterator[Ticket]:
        """Those that are not done when their time has come; each once."""
        queue = self._in_order
        while queue and (queue[0][0] <= now or _is_done(queue[0][1])):
            ticket = queue.popleft()[1]
            if not _is_done(ticket):
                yield ticket
        heap = self._others
        while heap and (heap[0][0] <= now or _is_done(heap[0][2])):
            ticket = heapq.heappop(heap)[2]
            if not _is_done(ticket):
                yield ticket

    def next(self) -> float:
        """When the next is due; infinity: none is."""
        first = self._in_order[0][0] if self._in_order else float("inf")
        return min(first, self._others[0][0]) if self._others else first


def _is_done(ticket: Ticket) -> bool:
    return ticket.answered or ticket.over
