"""The planner: which worker gets which calls, and what becomes of calls whose worker is lost. Pure; time is passed in.

Calls come in groups of one function, numbered from 0. The planner deals in spans (ranges of a group), so that ten
thousand small calls cost it a few steps, not ten thousand. It promises: every call is settled exactly once, or still
queued, or in flight; no call is handed out after it was settled; with workers that make progress it ends.

- *Batching*: guided self-scheduling (Polychronopoulos and Kuck 1987): an invocation carries half a worker's share of
  what is queued, but no more work than ``batch_seconds`` by the durations seen so far, and at least ``FLOOR_SECONDS``.
- *Stealing*: when a worker is idle and nothing is queued, calls that wait behind others are taken back.
- *Loss*: the call that ran when its worker was lost is run once more, alone; if that worker is lost too, the call
  fails.
  Where nobody knows which call ran, the span is run again in halves until the culprit is alone.
- *Retry*: a call that raised or timed out is tried again ``retries`` times, after exponential back-off with full
  jitter.
- *Stragglers*: a running call of a function declared idempotent that takes much longer than its like is doubled.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

from bursty.core.book import Book
from bursty.core.spans import Action, Fail, Flight, Group, Kill, Revoke, Send, Span, Worker
from bursty.values import Loss, Mark

FLOOR_SECONDS = 0.001
SMALL_SECONDS = 0.005
"""Work a worker up to which each gets its share in one go."""
PROBE = 2
"""Calls in the first invocations of a function of unknown duration."""
STEAL_AFTER = 0.002
"""Seconds between telling a worker to stop and believing its mark."""
STEAL_WORTH = 0.01
"""Seconds that a worker must have been in its call before what waits behind it is taken back."""
STRAGGLER_FACTOR = 3.0
STRAGGLER_SECONDS = 0.5
STRAGGLER_SAMPLE = 5
BARREN_LIMIT = 3
"""Workers lost in a row, none of which ran any call, before their calls fail."""
TICK = 0.01
PEEK = 0.02
"""How often finished outcomes are fetched from behind a long call."""
MAX_TICK = 0.25
START_SECONDS = 120.0
"""How long a worker may take from its first invocation to its first call: imports are no call's time."""
START_TICK = 1.0


class Plan(Book):
    """Plans for one pool of like workers."""

    # Handing out

    def assign(self, now: float) -> list[Send]:
        """Fill workers up to ``in_flight`` invocations, the emptiest first."""
        self._wake_delayed(now)
        sends: list[Send] = []
        for depth in range(self.traits.in_flight):
            for worker in self.workers.values():
                if not self.queue:
                    return sends
                if len(worker.flights) == depth and self._may_take(worker):
                    send = self._hand_out(worker, now)
                    if send is not None:
                        sends.append(send)
        return sends

    def _wake_delayed(self, now: float) -> None:
        while self.delayed and self.delayed[0][0] <= now:
            self.queue.appendleft(heapq.heappop(self.delayed)[2])

    def _hand_out(self, worker: Worker, now: float) -> Send | None:
        while self.queue:
            span = self._next_open(self.queue.popleft())
            if span is None:
                continue
            if span.alone and worker.flights:
                self.queue.appendleft(span)
                return None
            size = span.high - span.low if span.alone else self._size(span)
            taken = span
            if size < span.high - span.low:
                taken = Span(span.group, span.low, span.low + size, span.alone)
                self.queue.appendleft(Span(span.group, taken.high, span.high))
            flight = Flight(worker.next_seq, taken, taken.low, taken.high, now)
            worker.next_seq += size
            worker.flights.append(flight)
            return Send(worker.number, flight.seq, taken)
        return None

    def _next_open(self, span: Span) -> Span | None:
        """The first run of unsettled calls in ``span``; what is behind it goes back to the queue."""
        settled = self.groups[span.group].settled if span.group in self.groups else b""
        low = settled.find(0, span.low, span.high)
        if low < 0:
            return None
        high = settled.find(1, low, span.high)
        if 0 <= high < span.high:
            self.queue.appendleft(Span(span.group, high, span.high, span.alone))
            return Span(span.group, low, high, span.alone)
        return span if low == span.low else Span(span.group, low, span.high, span.alone)

    def _size(self, span: Span) -> int:
        group = self.groups[span.group]
        available = span.high - span.low
        if available == 1 or group.idempotent is False:
            return 1
        share = math.ceil(available / (2 * max(1, len(self.workers))))
        duration = self.durations.get(group.function)
        if duration is None:
            size = min(share, PROBE)
        else:
            each = max(duration, 1e-7)
            if available * each <= SMALL_SECONDS * len(self.workers):
                share = math.ceil(available / max(1, len(self.workers)))  # sharing it out in turns would cost more
            size = max(min(share, int(self.traits.batch_seconds / each)), int(FLOOR_SECONDS / each))
        if group.weight:
            size = min(size, self.traits.max_bytes // group.weight)
        return max(1, min(size, available))

    def lost(self, worker: int, loss: Loss, running: int | None, now: float) -> list[Fail]:
        """A worker is gone: queue again what it had not finished, and say which call fails by that."""
        found = self.workers.pop(worker, None)
        if found is None:
            return []
        unmarked = running is None and (self.traits.names_culprit or loss.kind == "start")
        if unmarked and found.victim is None and loss.kind not in ("closed", "cancelled") and not found.ran:
            self._barren += 1
            if self._barren >= BARREN_LIMIT:
                return self._fail_everything(found)
        fails: list[Fail] = []
        late = found.victim is not None and running != found.victim
        for flight in reversed(found.flights):
            fails.extend(self._lose_flight(flight, loss, running, now, late=late))
        return fails

    def _lose_flight(self, flight: Flight, loss: Loss, running: int | None, now: float, *, late: bool) -> list[Fail]:
        """``late``: the kill was meant for a call that had ended by then, so the one that ran is not to blame."""
        position = flight.position
        group = self.groups.get(flight.span.group)
        if group is None or position >= flight.high:
            return []
        if running is None and not self.traits.names_culprit and loss.kind != "closed":
            return self._halve(group, flight, position, now)
        culprit = None if running is None else flight.index(running)
        innocent = late and group.idempotent is not False
        if culprit is None or innocent or not position <= culprit < flight.high:
            self._requeue(flight, position)
            return []
        self._requeue(flight, culprit + 1)
        if position < culprit:
            self.queue.appendleft(Span(group.number, position, culprit))
        return self._blame(group, culprit, loss, now)

    def _halve(self, group: Group, flight: Flight, position: int, now: float) -> list[Fail]:
        if flight.high - position == 1:
            return self._blame(group, position, Loss("machine"), now)
        middle = (position + flight.high) // 2
        self.queue.appendleft(Span(group.number, middle, flight.high, alone=True))
        self.queue.appendleft(Span(group.number, position, middle, alone=True))
        return []

    def _blame(self, group: Group, index: int, loss: Loss, now: float) -> list[Fail]:
        """The call that ran when the worker was lost."""
        if group.settled[index] or self._doubled.pop((group.number, index), None) is not None:
            return []
        if loss.kind == "timeout":
            return [] if self._retry(group, index, now) else [Fail(group.number, index)]
        losses = group.losses.get(index, 0)
        if group.idempotent is not False and losses == 0:
            group.losses[index] = 1
            self.queue.append(Span(group.number, index, index + 1, alone=True))
            return []
        if group.idempotent is not False and self._retry(group, index, now):
            return []
        self.settle_range(group, index, index + 1)
        return [Fail(group.number, index)]

    def _fail_everything(self, worker: Worker) -> list[Fail]:
        """Workers don't even come up: every open call fails, or the caller would wait for ever."""
        self._barren = 0
        spans = [*self.queue, *(entry[2] for entry in self.delayed)]
        spans.extend(Span(f.span.group, f.position, f.high) for f in worker.flights)
        self.queue.clear()
        self.delayed.clear()
        fails: list[Fail] = []
        for span in spans:
            if (group := self.groups.get(span.group)) is not None:
                for low, high in self.settle_range(group, span.low, span.high):
                    fails.extend(Fail(group.number, index) for index in range(low, high))
        return fails

    def tick(self, now: float, mark: Callable[[int], Mark]) -> list[Action]:
        """Queue retries that are due, kill calls over their time, take calls back for idle workers, double
        stragglers.
        """
        actions: list[Action] = []
        self._wake_delayed(now)
        for worker in self.workers.values():
            if not worker.flights or worker.doomed:
                continue
            seen = mark(worker.number)
            if self._starts_too_long(worker, now, seen):
                worker.doomed = True
                actions.append(Kill(worker.number, "start", START_SECONDS))
                continue
            if worker.stop is not None:
                self._finish_steal(worker, now, seen)
            limit = self._over_time(worker, now, seen)
            if seen.seq is not None and limit is not None:
                actions.extend(self._doom(worker, seen.seq, "timeout", limit))
        idle = sum(1 for worker in self.workers.values() if not worker.flights and not worker.doomed)
        if idle and not self.queue:
            actions.extend(self._steal(now, mark) or self._double(now, mark))
        return actions

    def _starts_too_long(self, worker: Worker, now: float, mark: Mark) -> bool:
        """Whether it has had calls for long and begun none: it hangs in the import of their module."""
        waits = self.traits.names_culprit and not worker.ran and mark.seq is None
        return waits and now - worker.flights[0].sent > START_SECONDS

    def _over_time(self, worker: Worker, now: float, mark: Mark) -> float | None:
        if mark.seq is None:
            return None
        place = self.locate(worker.number, mark.seq)
        group = self.groups.get(place[0].span.group) if place else None
        if group is None or group.timeout is None or now - mark.started <= group.timeout:
            return None
        return group.timeout

    def _steal(self, now: float, mark: Callable[[int], Mark]) -> list[Action]:
        """From the worker with most calls waiting behind a long one."""
        best: tuple[int, Worker, int] | None = None
        for worker in self.workers.values():
            if not worker.flights or worker.doomed or worker.stop is not None or worker.is_alone:
                continue
            seen = mark(worker.number)
            if seen.seq is None or now - seen.started < STEAL_WORTH:
                continue
            last = worker.flights[-1]
            waiting = last.seq + last.high - last.span.low - 1 - seen.seq
            if waiting > 0 and (best is None or waiting > best[0]):
                best = (waiting, worker, seen.seq + 1)
        return [] if best is None else self.stop_at(best[1], best[2], now)

    def _finish_steal(self, worker: Worker, now: float, mark: Mark) -> None:
        """The worker was told to stop a while ago: what it has not marked by now is free. See supervise/shared.py."""
        if worker.stop is None or now - worker.stopped_at < STEAL_AFTER or mark.seq is None:
            return
        border = max(worker.stop, mark.seq + 1)
        for flight in list(reversed(worker.flights)):
            low = max(flight.index(border), flight.position)
            if low < flight.high:
                if flight.span.group in self.groups:
                    self.queue.appendleft(Span(flight.span.group, max(low, flight.span.low), flight.high))
                flight.high = max(low, flight.span.low)

    def _double(self, now: float, mark: Callable[[int], Mark]) -> list[Action]:
        for worker in self.workers.values():
            seen = mark(worker.number) if worker.flights and not worker.doomed else Mark()
            place = self.locate(worker.number, seen.seq) if seen.seq is not None else None
            group = self.groups.get(place[0].span.group) if place else None
            if place is None or group is None or group.idempotent is not True:
                continue
            key = (group.number, place[1])
            typical = self.durations.get(group.function, math.inf)
            slow = max(STRAGGLER_SECONDS, STRAGGLER_FACTOR * typical)
            enough = self.samples.get(group.function, 0) >= STRAGGLER_SAMPLE
            if enough and now - seen.started > slow and key not in self._doubled and not group.settled[place[1]]:
                self._doubled[key] = worker.number
                self.queue.append(Span(group.number, place[1], place[1] + 1, alone=True))
                return []
        return []

    def beaten(self, group: int, index: int, winner: int) -> list[Action]:
        """A doubled call is settled by ``winner``: end the one that is still at it."""
        if self._doubled.pop((group, index), None) is None or not self.traits.can_kill:
            return []
        for worker in self.workers.values():
            first = worker.flights[0] if worker.flights else None
            if worker.number != winner and first and first.span.group == group and first.position == index:
                return self._doom(worker, first.seq + index - first.span.low, "cancelled")
        return []

    def wait(self, now: float) -> float | None:
        """Seconds until ``tick`` or ``assign`` has something to do even if no worker reports; ``None``: never."""
        waits = [max(0.0, self.delayed[0][0] - now)] if self.delayed else []
        has_idle = any(not worker.flights for worker in self.workers.values())
        for worker in self.workers.values():
            if worker.stop is not None and worker.flights:
                waits.append(TICK)
            if worker.flights and not worker.ran:
                waits.append(START_TICK)
            for flight in worker.flights:
                group = self.groups.get(flight.span.group)
                if len(worker.flights) > 1 or flight.high - flight.position > 1:
                    waits.append(TICK if has_idle else PEEK)
                if group is not None and group.timeout is not None:
                    waits.append(min(max(group.timeout / 20, TICK), MAX_TICK))
                if group is not None and group.idempotent is True and has_idle:
                    waits.append(PEEK)
        return min(waits, default=None)


__all__ = ["Action", "Fail", "Flight", "Group", "Kill", "Plan", "Revoke", "Send", "Span", "Worker"]
