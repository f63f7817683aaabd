"""The workers of an endpoint: how many there are, and what starting them may cost. The lower half of ``core.deadline``.

Starts are paid from a budget, and nobody is killed whose place can't be taken, so that bad requests can't make the
machine do nothing but start workers.
"""

from __future__ import annotations

from collections.abc import Iterator

from bursty.core.pace import Budget, Pace
from bursty.core.tickets import Kill, Open, Order, Plan, Retire, State, Tally, Worker

RESTART_SHARE = 0.2
"""Of one core: what may go into starting workers anew."""
RESTART_BURST = 4.0
LEAST_RESTART = 0.05
"""Seconds that a start is taken to cost at least."""
SURPLUS_SECONDS = 30.0
"""Workers beyond the plan (others were late) are let go when they had nothing to do for so long."""
START_LIMIT = 600.0
"""A worker that isn't warm after so long is taken for one that hangs."""
END_LIMIT = 30.0
"""One that is to end, and didn't after so long, is killed."""
MOST_BACK_OFF = 30.0
AT_ONCE = float("-inf")


class Crew:
    """Starting, idle, busy, late and ending workers, by their numbers at the backend."""

    def __init__(self, plan: Plan, now: float) -> None:
        self.plan = plan
        self.wanted = plan.workers + plan.spares
        self.workers: dict[int, Worker] = {}
        self.idle: list[Worker] = []
        self.opening = 0
        self.generation = 0
        self.start_pace = Pace(LEAST_RESTART)
        self.tally = Tally()
        self.draining = False
        self._budget = Budget(RESTART_SHARE / LEAST_RESTART, RESTART_BURST, RESTART_BURST + self.wanted, now)
        self._failed_starts = 0
        self._open_after = now
        self._watch_at = AT_ONCE
        """There is nothing to be done about workers before, unless something happens to them."""

    def has_workers(self) -> bool:
        """Whether any worker is warm, or about to be."""
        return any(worker.state is not State.ENDING for worker in self.workers.values())

    # What happens to them

    def opened(self, number: int, now: float) -> Worker:
        """The worker that an ``Open`` asked for has this number."""
        self.opening -= 1
        self.tally.opened += 1
        worker = self.workers[number] = Worker(number, self.generation, now)
        self._watch_at = min(self._watch_at, now + START_LIMIT)
        return worker

    def not_opened(self, now: float) -> None:
        """There is no worker to be had now."""
        self.opening -= 1
        self._start_failed(now)
        self._watch_at = min(self._watch_at, self._open_after)

    def ready(self, number: int, now: float) -> None:
        """A worker that was starting has warmed up."""
        worker = self.workers[number]
        if worker.state is State.STARTING:
            self.start_pace.note(max(now - worker.since, LEAST_RESTART))
            self._budget.set_rate(RESTART_SHARE / (self.start_pace.seconds or LEAST_RESTART), now)
            self._failed_starts = 0
            self._rest(worker, now)
            self._watch_at = AT_ONCE

    def replace(self, number: int, now: float) -> bool:
        """Take an idle worker that is not what it was out of the game, if there are others for its work; the driver
        lets it end."""
        worker = self.workers[number]
        if worker.state is not State.IDLE or self._warm() <= self.wanted:
            return False
        self._end(worker, now)
        return True

    def renew(self) -> None:
        """Replace all workers, one after the other, while the old ones go on: a newer model is to be loaded."""
        self.generation += 1
        self._budget.give(self.wanted)
        self._watch_at = AT_ONCE

    def stood_still(self, seconds: float) -> None:
        """The machine was frozen for so long: workers that were starting could not go on. (A late one is as late as it
        is: nobody waits for it.)"""
        for worker in self.workers.values():
            if worker.state is State.STARTING:
                worker.since += seconds

    def _rest(self, worker: Worker, now: float) -> None:
        worker.state, worker.since = State.IDLE, now
        self.idle.append(worker)

    def _end(self, worker: Worker, now: float) -> None:
        if worker.state is State.IDLE:
            self.idle.remove(worker)
        worker.state, worker.since = State.ENDING, now
        self._watch_at = AT_ONCE

    def _start_failed(self, now: float) -> None:
        self._failed_starts += 1
        self.tally.failed_starts += 1
        self._open_after = now + min(MOST_BACK_OFF, 0.25 * 2 ** min(self._failed_starts, 10))

    # How many there should be

    def _populate(self, now: float, found: list[Order]) -> None:
        """As many workers as the plan says, beside those that are late or of an older generation."""
        for _ in range(self._missing()):
            if now < self._open_after or not self._budget.take(now):
                break
            self.opening += 1
            found.append(Open())
        for worker in list(self._too_many(now)):
            self._end(worker, now)
            found.append(Retire(worker))

    def _missing(self) -> int:
        """How many are to be started. Late ones are not forgotten: there are not many more than the plan says."""
        if self.draining:
            return 0
        useful = new = 0
        for worker in self.workers.values():
            if worker.generation == self.generation:
                new += 1
                useful += worker.state <= State.BUSY
        most = self.wanted + self.plan.workers
        return min(self.wanted - useful, most - new, 2 * most - len(self.workers)) - self.opening

    def _warm(self) -> int:
        """How many can work."""
        return sum(1 for w in self.workers.values() if State.IDLE <= w.state <= State.BUSY and not w.stalled)

    def _too_many(self, now: float) -> Iterator[Worker]:
        """Idle ones that can be spared: the old ones when newer ones are warm, and what had nothing to do."""
        spare = self._warm() - self.wanted
        for worker in sorted(self.idle, key=lambda w: w.generation) if spare > 0 else ():
            is_old = worker.generation != self.generation
            if spare > 0 and (is_old or now >= worker.since + SURPLUS_SECONDS):
                spare -= 1
                yield worker

    # What takes too long

    def _limit_of(self, worker: Worker) -> float:
        """How long it may be in the state that it is in, seconds."""
        match worker.state:
            case State.IDLE:
                return float("inf")
            case State.STARTING:
                return START_LIMIT
            case State.ENDING:
                return END_LIMIT
            case _:
                return self.plan.limit

    def _kill(self, now: float, found: list[Order]) -> None:
        for worker in self.workers.values():
            limit = self._limit_of(worker)
            if now < worker.since + limit:
                continue
            if worker.state is not State.ENDING:
                if not self._may_kill(worker, now):
                    continue
                self.tally.kills += 1
                if worker.state is State.STARTING:
                    self._start_failed(now)
            self._end(worker, now)
            found.append(Kill(worker, limit))

    def _may_kill(self, worker: Worker, now: float) -> bool:
        """Whether its place is taken already, or can be: better a slow one than none."""
        has_place = worker.generation == self.generation and worker.state <= State.BUSY
        return self._missing() + has_place <= 0 or self._open_at(now) <= now

    def _open_at(self, now: float) -> float:
        """When a worker may be started."""
        return max(self._open_after, self._budget.when(now))

    def _times(self, now: float) -> Iterator[float]:
        """When one of them takes too long, can be paid, or had nothing to do for long; or earlier."""
        for worker in self.workers.values():
            at = worker.since + self._limit_of(worker)
            yield at if now < at else self._open_at(now)  # which is why it was not killed
            if worker.state is State.BUSY:
                yield worker.look_at
        if self._missing() > 0:
            yield self._open_at(now)
        if len(self.workers) > self.wanted and self._warm() > self.wanted:
            yield now + SURPLUS_SECONDS
            yield from (worker.since + SURPLUS_SECONDS for worker in self.idle)
