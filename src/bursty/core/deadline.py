"""The rules of dispatch: which waiting request goes to which worker, and what is done when time runs out.

Pure: time (monotonic seconds) and events come in, orders come out; a driver carries them out (``serving.pool`` on an
event loop, the Lambda handler in a plain loop). DESIGN section 6.

A worker is starting, then idle or busy with one invocation of one or several tickets. When nobody waits any more for
what it does, it is late: it runs on, so that its result can still be kept, but another worker takes its place;
past the hard limit it is killed. Kills and losses are paid from a budget, so that bad requests can't make the
machine do nothing but start workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bursty.core.alarms import Alarms
from bursty.core.pace import Budget, Pace
from bursty.core.tickets import (
    Demote,
    Kill,
    Open,
    Order,
    Plan,
    Prepare,
    Retire,
    Send,
    State,
    Tally,
    Ticket,
    TooLate,
    Unstick,
    Worker,
)

TURN = 1e-3
"""Quick requests that wait are sent together, as many as take about so long."""
MOST_TOGETHER = 64
STALL = 0.004
STALL_FACTOR = 8
"""A request that runs so many times longer than usual, and longer than STALL, keeps those behind it no longer."""
RESTART_SHARE = 0.2
"""Of one core: what may go into starting workers anew."""
RESTART_BURST = 4.0
SURPLUS_SECONDS = 30.0
"""Workers beyond the plan (others were late) are let go when they had nothing to do for so long."""
LEAST_RESTART = 0.05
"""Seconds that a start is taken to cost at least."""


class Dispatch:
    """The state of one endpoint's queue and workers."""

    def __init__(self, plan: Plan, now: float) -> None:
        self.plan = plan
        self.queue: deque[Ticket] = deque()
        self.workers: dict[int, Worker] = {}
        self.idle: list[Worker] = []
        self.opening = 0
        self.generation = 0
        self.pace = Pace()
        self.start_pace = Pace(LEAST_RESTART)
        self.tally = Tally()
        self.draining = False
        self._alarms = Alarms()
        self._budget = Budget(
            RESTART_SHARE / LEAST_RESTART, RESTART_BURST, RESTART_BURST + plan.workers + plan.spares, now
        )
        self._failed_starts = 0
        self._open_after = now

    # Requests

    def take(self, ticket: Ticket, now: float) -> bool:
        """Queue a request; ``False``: shed it, for it would wait longer than it has time, or too many wait."""
        if self.draining or self._is_hopeless(ticket, now):
            self.tally.shed += 1
            ticket.answered = ticket.over = True
            return False
        ticket.waiting = True
        self.queue.append(ticket)
        self._alarms.add(ticket, self.plan.prepares)
        return True

    def _is_hopeless(self, ticket: Ticket, now: float) -> bool:
        waiting = len(self.queue)
        if waiting >= self.plan.queue or (self._failed_starts and not self.has_workers()):
            return True
        seconds = self.pace.seconds
        if not waiting or self.idle or seconds is None:
            return False
        return now + (waiting / self.plan.workers + 1) * seconds > ticket.late_at

    def has_workers(self) -> bool:
        """Whether any worker is warm, or about to be."""
        return any(worker.state is not State.ENDING for worker in self.workers.values())

    def expected_wait(self) -> float:
        """Seconds after which one more try makes sense: for Retry-After."""
        return len(self.queue) / self.plan.workers * (self.pace.seconds or 0.0)

    def give_up(self, ticket: Ticket) -> None:
        """Its client hung up."""
        ticket.answered = True
        if ticket.waiting:
            ticket.waiting, ticket.over = False, True

    # Workers

    def opened(self, number: int, now: float) -> Worker:
        """The worker that an ``Open`` asked for has this number."""
        self.opening -= 1
        self.tally.opened += 1
        worker = self.workers[number] = Worker(number, self.generation, now)
        return worker

    def not_opened(self, now: float) -> None:
        """There is no worker to be had now."""
        self.opening -= 1
        self._start_failed(now)

    def ready(self, number: int, now: float) -> None:
        """A worker that was starting has warmed up."""
        worker = self.workers[number]
        if worker.state is State.STARTING:
            self.start_pace.note(max(now - worker.since, LEAST_RESTART))
            self._budget.rate = RESTART_SHARE / max(self.start_pace.seconds or 0, LEAST_RESTART)
            self._failed_starts = 0
            self._rest(worker)

    def answered(self, number: int, seq: int, seconds: float) -> Ticket | None:
        """A worker gave the answer to call ``seq`` after so many seconds; the ticket, or ``None`` when it is over."""
        worker = self.workers.get(number)
        ticket = self._ticket(worker, seq)
        if worker is None or ticket is None:
            return None
        size = len(worker.tickets) if self.plan.batch else 1
        self.pace.note(seconds / size)
        if ticket.over:
            return None
        ticket.over, ticket.waiting = True, False
        return ticket

    def ended(self, number: int, now: float, stopped: int | None = None) -> None:
        """A worker is through with its invocation; calls from ``stopped`` on were not started."""
        worker = self.workers.get(number)
        if worker is None or worker.state not in (State.BUSY, State.LATE):
            return
        left = [ticket for ticket in worker.tickets if not ticket.over and ticket.worker is worker]
        if stopped is not None and stopped < worker.first + len(worker.tickets):
            left = [ticket for ticket in left if ticket.seq >= stopped]
        worker.tickets = []
        worker.revoked = False
        worker.since = now
        self._again(left)
        self._rest(worker)

    def lost(self, number: int, now: float, running: int | None) -> list[Ticket]:
        """A worker is gone, while it ran call ``running``. The tickets that fail with it: what is known to have
        killed it. The others of its invocation are tried again."""
        worker = self.workers.pop(number, None)
        if worker is None:
            return []
        if worker in self.idle:
            self.idle.remove(worker)
        if worker.state is State.STARTING:
            self._start_failed(now)
            return []
        if worker.state is not State.ENDING or worker.tickets:
            self.tally.lost += 1
        left = [ticket for ticket in worker.tickets if not ticket.over and ticket.worker is worker]
        culprits = [ticket for ticket in left if self._may_not_repeat(ticket, running, len(worker.tickets))]
        for ticket in culprits:
            ticket.over = True
        self._again([ticket for ticket in left if not ticket.over])
        return culprits

    def _may_not_repeat(self, ticket: Ticket, running: int | None, together: int) -> bool:
        if not self.plan.repeat or ticket.tries >= 2:
            return True
        if self.plan.batch and together > 1:
            return False  # any of them may have done it: each is tried alone
        return running is None or ticket.seq == running

    def unstuck(self, worker: Worker, running: int | None) -> None:
        """After ``Unstick``: ``running`` is what the worker runs; what comes behind it will not be begun there."""
        worker.revoked = True
        if running is None:
            return
        self._again([ticket for ticket in worker.tickets if ticket.seq > running and ticket.worker is worker])

    def retire(self, number: int) -> bool:
        """Take an idle worker out of the game; the driver lets it end."""
        worker = self.workers[number]
        if worker.state is not State.IDLE:
            return False
        self.idle.remove(worker)
        worker.state = State.ENDING
        return True

    def renew(self) -> None:
        """Replace all workers, one after the other, while the old ones go on: a newer model is to be loaded."""
        self.generation += 1

    def _again(self, tickets: Sequence[Ticket]) -> None:
        """Back to the front of the queue, each to be sent alone: one of them may be the culprit."""
        for ticket in reversed(tickets):
            if ticket.over:
                continue
            if ticket.answered:
                ticket.over = True
                continue
            ticket.tries += 1
            ticket.alone = True
            ticket.waiting = True
            ticket.worker = None
            self.queue.appendleft(ticket)

    def _ticket(self, worker: Worker | None, seq: int) -> Ticket | None:
        if worker is None or not 0 <= seq - worker.first < len(worker.tickets):
            return None
        return worker.tickets[seq - worker.first]

    def _rest(self, worker: Worker) -> None:
        if worker.state is not State.ENDING:
            worker.state = State.IDLE
            self.idle.append(worker)

    def _start_failed(self, now: float) -> None:
        self._failed_starts += 1
        self.tally.failed_starts += 1
        self._open_after = now + min(30.0, 0.25 * 2 ** min(self._failed_starts, 10))

    # Decisions

    def orders(self, now: float) -> list[Order]:
        """What is to be done now. To be asked after events, and at ``next_time``."""
        found: list[Order] = []
        self._expire(now, found)
        self._judge(now, found)
        self._populate(now, found)
        self._hand_out(now, found)
        return found

    def _expire(self, now: float, found: list[Order]) -> None:
        found.extend(Prepare(ticket) for ticket in self._alarms.half_over(now))
        for ticket in self._alarms.too_late(now):
            ticket.answered = True
            self.tally.late += 1
            if ticket.waiting:
                ticket.waiting, ticket.over = False, True
            found.append(TooLate(ticket))

    def _judge(self, now: float, found: list[Order]) -> None:
        """Workers that take long."""
        usual = self.pace.seconds
        stall = max(STALL, STALL_FACTOR * usual) if usual is not None else None
        for worker in self.workers.values():
            if worker.state is State.BUSY:
                if all(ticket.answered or ticket.over for ticket in worker.tickets):
                    worker.state = State.LATE
                    found.append(Demote(worker))
                elif stall is not None and now - worker.since > stall and len(worker.tickets) > 1:
                    self._hurry(worker, stall, now, found)
            if (
                worker.state in (State.BUSY, State.LATE)
                and now - worker.since > self.plan.limit
                and self._budget.has(now)
            ):
                self._budget.take()
                self.tally.kills += 1
                worker.state = State.ENDING
                found.append(Kill(worker))

    def _hurry(self, worker: Worker, stall: float, now: float, found: list[Order]) -> None:
        if worker.revoked:
            return
        if not self.plan.batch:
            found.append(Unstick(worker))
        elif self.plan.repeat and now - worker.since > stall * len(worker.tickets):
            worker.revoked = True  # hedge: the batch hangs on one of them, and who knows which
            self._again([ticket for ticket in worker.tickets if not ticket.over])

    def _populate(self, now: float, found: list[Order]) -> None:
        """As many workers as the plan says, beside those that are late or of an older generation; not many more."""
        wanted = self.plan.workers + self.plan.spares
        new = [w for w in self.workers.values() if w.generation == self.generation]
        counted = sum(1 for w in new if w.state in (State.STARTING, State.IDLE, State.BUSY))
        missing = wanted - counted - self.opening
        if missing > 0:
            room = wanted + self.plan.workers - len(new) - self.opening  # late ones are not forgotten, nor endless
            self._open(min(missing, room), now, found)
            return
        ready = sum(1 for w in new if w.state in (State.IDLE, State.BUSY))
        for worker in list(self.idle):
            is_old = worker.generation != self.generation and ready >= self.plan.workers
            is_surplus = missing < 0 and now - worker.since > SURPLUS_SECONDS
            if is_old or is_surplus:
                missing += not is_old
                self.retire(worker.number)
                found.append(Retire(worker))

    def _open(self, count: int, now: float, found: list[Order]) -> None:
        for _ in range(count):
            if self.draining or now < self._open_after or not self._budget.has(now):
                return
            self._budget.take()
            self.opening += 1
            found.append(Open())

    def _hand_out(self, now: float, found: list[Order]) -> None:
        queue, idle = self.queue, self.idle
        while idle and queue:
            busy = sum(1 for w in self.workers.values() if w.state is State.BUSY)
            if busy >= self.plan.workers:
                return
            if self._is_worth_waiting(now, busy):
                return
            tickets = self._pick(min(len(idle), self.plan.workers - busy))
            if not tickets:
                return
            worker = self._best(idle)
            worker.state, worker.since, worker.tickets = State.BUSY, now, tickets
            found.append(Send(worker, tickets))

    def _best(self, idle: list[Worker]) -> Worker:
        """The newest generation first; the one used last, for its caches are warm."""
        for index in range(len(idle) - 1, -1, -1):
            if idle[index].generation == self.generation:
                return idle.pop(index)
        return idle.pop()

    def _is_worth_waiting(self, now: float, busy: int) -> bool:
        """Whether a batch should wait for company: only while others are being served, who may come back."""
        plan = self.plan
        if not plan.batch or not plan.wait or not busy or len(self.queue) >= plan.batch:
            return False
        return now < self.queue[0].arrived + plan.wait

    def _pick(self, free: int) -> list[Ticket]:
        """The next invocation's tickets."""
        queue, most = self.queue, self.plan.batch
        if most is None:
            seconds = self.pace.seconds
            room = int(TURN / seconds) if seconds else 1
            most = max(1, min(MOST_TOGETHER, room, -(-len(queue) // free)))
        tickets: list[Ticket] = []
        while queue and len(tickets) < most:
            ticket = queue[0]
            if ticket.alone and tickets:
                break
            queue.popleft()
            if not ticket.waiting:
                continue
            ticket.waiting = False
            tickets.append(ticket)
            if ticket.alone:
                break
        return tickets

    def sent(self, worker: Worker, first: int) -> None:
        """The tickets of a ``Send`` have the numbers from ``first`` on."""
        worker.first = first
        for number, ticket in enumerate(worker.tickets, first):
            ticket.seq, ticket.worker = number, worker

    def next_time(self, now: float) -> float | None:
        """When ``orders`` must be asked again if nothing happens before."""
        times = self._alarms.times()
        usual = self.pace.seconds
        for worker in self.workers.values():
            if worker.state in (State.BUSY, State.LATE):
                times.append(
                    max(
                        worker.since + self.plan.limit,
                        now + self._budget.wait() if now - worker.since > self.plan.limit else 0,
                    )
                )
            if worker.state is State.BUSY and len(worker.tickets) > 1 and not worker.revoked and usual is not None:
                factor = len(worker.tickets) if self.plan.batch else 1
                times.append(worker.since + factor * max(STALL, STALL_FACTOR * usual) + 1e-4)
        if self.plan.wait and self.queue and self.idle:
            times.append(self.queue[0].arrived + self.plan.wait)
        if not self.draining and len(self.workers) + self.opening < self.plan.workers + self.plan.spares:
            times.append(max(self._open_after, now + self._budget.wait()))
        return max(now, min(times)) if times else None
