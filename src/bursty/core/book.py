"""The planner's book: which calls are queued, in flight and settled, and what workers report of them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

from bursty.core.spans import Action, Flight, Group, Kill, Revoke, Span, Worker
from bursty.values import BackendTraits, LossKind, Mark

BACKOFF_BASE = 0.1
BACKOFF_CAP = 30.0
MAX_FUNCTIONS = 1000
"""Functions whose durations are remembered."""


class Book:
    """Keeps account of one pool's calls.

    ``jitter`` gives random numbers from [0, 1); a test passes its own.
    """

    def __init__(self, traits: BackendTraits, jitter: Callable[[], float]) -> None:
        self.traits = traits
        self.groups: dict[int, Group] = {}
        self.workers: dict[int, Worker] = {}
        self.queue: deque[Span] = deque()
        self.delayed: list[tuple[float, int, Span]] = []
        self.durations: dict[str, float] = {}
        self.samples: dict[str, int] = {}
        self.retried = 0
        self._jitter = jitter
        self._order = 0
        self._barren = 0
        self._doubled: dict[tuple[int, int], int] = {}

    def add(self, group: Group) -> None:
        """Queue all calls of a group."""
        group.settled = bytearray(group.count)
        group.open = group.count
        self.groups[group.number] = group
        if group.count:
            self.queue.append(Span(group.number, 0, group.count))

    def know(self, number: int, low: int, high: int) -> None:
        """These calls of a group need not be made: their outcomes are known."""
        self.settle_range(self.groups[number], low, high)

    def can_extend(self, number: int) -> bool:
        """Whether the last calls of a group still wait at the end of the queue."""
        last = self.queue[-1] if self.queue else None
        return last is not None and last.group == number and last.high == self.groups[number].count and not last.alone

    def extend(self, number: int, count: int) -> None:
        """Queue ``count`` more calls of a group."""
        group = self.groups[number]
        low, group.count = group.count, group.count + count
        group.settled.extend(bytes(count))
        group.open += count
        last = self.queue[-1] if self.queue else None
        if last is not None and last.group == number and last.high == low and not last.alone:
            self.queue[-1] = Span(number, last.low, group.count)
        else:
            self.queue.append(Span(number, low, group.count))

    def join(self, worker: int, now: float) -> None:
        """A worker can take invocations."""
        self.workers[worker] = Worker(worker, idle_since=now)

    def forget(self, number: int) -> None:
        """Drop a group; all its calls are settled."""
        self.groups.pop(number, None)

    def drop(self, number: int) -> None:
        """Drop a group that has not begun, with its place in the queue."""
        self.forget(number)
        self.queue = deque(span for span in self.queue if span.group != number)

    @property
    def is_idle(self) -> bool:
        if self.queue or self.delayed:
            return False
        return all(not worker.flights for worker in self.workers.values())

    def idle_workers(self) -> list[Worker]:
        """Those that have nothing to do and were not told to end."""
        return [worker for worker in self.workers.values() if not worker.flights and not worker.doomed]

    def wanted(self) -> int:
        """How many more workers could be given a call at once: queued ones, and those that wait behind others."""
        enough = len(self.workers) + self.traits.workers
        free = waiting = 0
        for worker in self.workers.values():
            if worker.flights:
                waiting += sum(flight.high - flight.position for flight in worker.flights) - 1
            else:
                free += self._may_take(worker)
        for span in self.queue:
            waiting += span.high - span.low
            if waiting > enough:
                break
        return max(0, waiting - free)

    @property
    def has_doubles(self) -> bool:
        """Whether a call may be running twice."""
        return bool(self._doubled)

    def locate(self, worker: int, seq: int) -> tuple[Flight, int] | None:
        """The flight and the index of a worker's call; ``None`` when it was taken back or the worker is unknown."""
        found = self.workers.get(worker)
        if found is not None:
            for flight in found.flights:
                if flight.seq <= seq < flight.seq + flight.high - flight.span.low:
                    return flight, flight.index(seq)
        return None

    def settle(self, worker: int, seq: int, count: int, seconds: float) -> tuple[Group, list[tuple[int, int]]] | None:
        """``count`` calls from ``seq`` on gave values, in ``seconds`` together.

        Returns the group and the ranges of it that are settled by this; calls that were settled before are left out.
        """
        place = self.locate(worker, seq)
        if place is None:
            return None
        flight, low = place
        high = min(low + count, flight.high)
        self.workers[worker].ran = True
        self._barren = 0
        flight.position = max(flight.position, high)
        group = self.groups.get(flight.span.group)
        if group is None:
            return None
        self._measure(group.function, seconds / count, count)
        return group, self.settle_range(group, low, high)

    def settle_range(self, group: Group, low: int, high: int) -> list[tuple[int, int]]:
        ranges: list[tuple[int, int]] = []
        settled = group.settled
        while (start := settled.find(0, low, high)) >= 0:
            end = settled.find(1, start, high)
            end = high if end < 0 else end
            settled[start:end] = b"\1" * (end - start)
            group.open -= end - start
            ranges.append((start, end))
            low = end
        return ranges

    def _measure(self, function: str, each: float, count: int) -> None:
        known = self.durations.get(function)
        self.durations[function] = each if known is None else known + (each - known) * min(0.5, 0.1 * count)
        self.samples[function] = self.samples.get(function, 0) + count
        if len(self.durations) > MAX_FUNCTIONS:
            oldest = next(iter(self.durations))
            del self.durations[oldest], self.samples[oldest]

    def failed(self, worker: int, seq: int, seconds: float, now: float) -> tuple[Group, int, bool] | None:
        """A call raised: its group, index, and whether that is its outcome (else it is tried again)."""
        place = self.locate(worker, seq)
        if place is None:
            return None
        flight, index = place
        self.workers[worker].ran = True
        self._barren = 0
        flight.position = max(flight.position, index + 1)
        group = self.groups.get(flight.span.group)
        if group is None or group.settled[index]:
            return None
        self._measure(group.function, seconds, 1)
        return group, index, not self._retry(group, index, now)

    def _retry(self, group: Group, index: int, now: float) -> bool:
        tries = group.failures.get(index, 0)
        if tries >= group.retries:
            self.settle_range(group, index, index + 1)
            return False
        group.failures[index] = tries + 1
        self.retried += 1
        pause = self._jitter() * min(BACKOFF_CAP, BACKOFF_BASE * 2**tries)
        self._order += 1
        heapq.heappush(self.delayed, (now + pause, self._order, Span(group.number, index, index + 1)))
        return True

    def ended(self, worker: int, seq: int, stopped: int, now: float) -> list[Action]:
        """An invocation is over; calls from ``stopped`` on were not started, and are queued again."""
        found = self.workers.get(worker)
        if found is None:
            return []
        for flight in found.flights:
            if flight.seq == seq:
                found.flights.remove(flight)
                self._requeue(flight, max(flight.position, min(flight.index(stopped), flight.high)))
                break
        if found.flights:
            return []
        found.idle_since = now
        if found.stop is None:
            return []
        found.stop = None
        return [Revoke(worker, None)]

    def _requeue(self, flight: Flight, low: int, *, alone: bool = False) -> None:
        if low < flight.high and flight.span.group in self.groups:
            self.queue.appendleft(Span(flight.span.group, low, flight.high, alone))

    def _may_take(self, worker: Worker) -> bool:
        return worker.stop is None and not worker.doomed and not worker.is_alone

    def stop_at(self, worker: Worker, seq: int, now: float) -> list[Action]:
        if worker.stop is not None and worker.stop <= seq:
            return []
        worker.stop = seq
        worker.stopped_at = now
        return [Revoke(worker.number, seq)]

    def cancel(self, number: int, index: int, now: float, mark: Callable[[int], Mark]) -> list[Action]:
        """Nobody wants this call any more; its outcome is dropped. ``mark``: what a worker does now."""
        group = self.groups.get(number)
        if group is None or group.settled[index]:
            return []
        self.settle_range(group, index, index + 1)
        for worker in self.workers.values():
            for flight in worker.flights:
                if flight.span.group == number and flight.position <= index < flight.high:
                    seq = flight.seq + index - flight.span.low
                    return self._cancel_in_flight(worker, seq, now, mark(worker.number).seq)
        return []

    def _cancel_in_flight(self, worker: Worker, seq: int, now: float, running: int | None) -> list[Action]:
        """Kill it only while it runs: what is behind it has not deserved that."""
        if running == seq:
            return self._doom(worker, seq, "cancelled") if self.traits.can_kill else []
        return self.stop_at(worker, seq, now) if running is None or running < seq else []

    @staticmethod
    def _doom(worker: Worker, seq: int, kind: LossKind, limit: float | None = None) -> list[Action]:
        """Kill a worker for the sake of a call. Should that end first, the worker must not begin another."""
        worker.doomed = True
        worker.victim = seq
        stop = seq + 1 if worker.stop is None else min(worker.stop, seq + 1)
        return [Revoke(worker.number, stop), Kill(worker.number, kind, limit)]
