"""The rules of dispatch: which waiting request goes to which worker, and what is done when time runs out.

Pure: time (monotonic seconds) and events come in, orders come out; a driver carries them out (``serving.pool`` on an
event loop, the Lambda handler in a plain loop). DESIGN section 6.

A worker is starting, then idle or busy with one invocation of one or several tickets. When nobody waits any more for
what it does, it is late: it runs on, so that its result can still be kept, but another worker takes its place;
past the hard limit it is killed (see ``core.crew``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bursty.core.alarms import Alarms
from bursty.core.batching import Batches
from bursty.core.crew import AT_ONCE, Crew
from bursty.core.pace import Pace
from bursty.core.tickets import (
    Demote,
    Order,
    Plan,
    Prepare,
    Send,
    State,
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
"""A request that runs so many times longer than usual, and longer than STALL, keeps the others waiting no longer."""
MARGIN = 1.5
"""What is begun for a request that is nearly late should be done in time even if it takes so many times longer."""
MOST_TRIES = 2
"""So often a request is run again that may have been the reason why others have no answer."""
SLACK = 256
"""Places in the queue that requests may hold which left it, beside as many as there are that wait."""
NEVER = float("inf")


class Dispatch(Crew):
    """The state of one endpoint's queue and workers."""

    def __init__(self, plan: Plan, now: float) -> None:
        super().__init__(plan, now)
        self.waiting = 0
        """How many requests wait for a worker."""
        self.pace = Pace()
        """Of a request."""
        self._turn = Pace()
        """Of an invocation, from when it is sent until the worker can be sent the next."""
        self._batches = Batches(plan.batch, plan.wait) if plan.batch else None
        self._queue: deque[Ticket] = deque()
        self._late = Alarms()
        self._half = Alarms()

    # Requests

    def take(self, ticket: Ticket, now: float) -> bool:
        """Queue a request; ``False``: shed it, for it would wait longer than it has time, or too many wait."""
        if self.draining or self._is_hopeless(ticket, now):
            self.tally.shed += 1
            ticket.answered = ticket.over = True
            return False
        ticket.waiting = True
        self.waiting += 1
        self._queue.append(ticket)
        self._late.add(ticket.late_at, ticket)
        if self.plan.prepares:
            self._half.add((ticket.arrived + ticket.late_at) / 2, ticket)
        return True

    def _is_hopeless(self, ticket: Ticket, now: float) -> bool:
        waiting, turn = self.waiting, self._turn.seconds
        if waiting >= self.plan.queue or (self._failed_starts and not self.has_workers()):
            return True
        if not waiting or turn is None or now + (waiting + 2) * turn <= ticket.late_at:
            return False
        return now + self._least_wait(now, turn) > ticket.late_at

    def _least_wait(self, now: float, turn: float) -> float:
        """Seconds until who comes now has an answer, if all goes on as usual."""
        workers = self.plan.workers
        busy = [w for w in self.workers.values() if w.state is State.BUSY and not w.stalled]
        free = sorted([max(w.since + turn - now, 0.0) for w in busy])
        free = [0.0] * (workers - len(free)) + free
        rounds, place = divmod(self.waiting // self._most_together(), workers)
        seconds = free[place] + (rounds + 1) * turn
        if self.plan.batch and self.pace.seconds is not None:  # there may be fewer in a batch than usual
            seconds = min(seconds, (self.waiting // workers + 1) * self.pace.seconds)
        return seconds

    def expected_wait(self) -> float:
        """Seconds after which one more try makes sense: for Retry-After."""
        return self.waiting / self.plan.workers * (self.pace.seconds or 0.0)

    def give_up(self, ticket: Ticket) -> None:
        """Its client hung up."""
        ticket.answered = True
        self._miss(ticket)

    def _miss(self, ticket: Ticket) -> None:
        """It goes without an answer."""
        if ticket.waiting:
            ticket.over = True
            self._leave(ticket)
        elif ticket.worker is not None:
            ticket.worker.missed = True
            self._watch_at = AT_ONCE

    def _leave(self, ticket: Ticket) -> None:
        """It waits no more. Its place is cleared when the queue gets there, or has too many of the kind."""
        if ticket.waiting:
            ticket.waiting = False
            self.waiting -= 1
            if len(self._queue) > 2 * self.waiting + SLACK:
                self._queue = deque(one for one in self._queue if one.waiting)

    # What workers say

    def answered(self, number: int, seq: int, seconds: float) -> Ticket | None:
        """A worker gave an answer to call ``seq`` after so many seconds (0: unknown); the ticket, unless it is over."""
        worker = self.workers.get(number)
        if worker is None or not 0 <= seq - worker.first < len(worker.tickets):
            return None
        ticket = worker.tickets[seq - worker.first]
        worker.heard = max(worker.heard, seq + 1)
        if seconds > 0:
            self._note_pace(worker, seq, seconds)
        if ticket.over:
            return None
        ticket.over = True
        self._leave(ticket)
        if worker.missed or ticket.alone:  # it, or another one, may be at what nobody waits for
            self._watch_at = AT_ONCE
        return ticket

    def _note_pace(self, worker: Worker, seq: int, seconds: float) -> None:
        if self._batches is None:
            self.pace.note(seconds)
        elif seq == worker.first:  # it stands for all of its batch
            self.pace.note(seconds / len(worker.tickets))
            self._batches.note(len(worker.tickets), seconds)

    def ended(self, number: int, now: float, stopped: int | None = None) -> None:
        """A worker is through with its invocation; calls from ``stopped`` on were not started."""
        worker = self.workers.get(number)
        if worker is None or worker.state not in (State.BUSY, State.LATE):
            return
        self._turn.note(now - worker.since)
        if worker.state is State.LATE or worker.stalled or worker.generation != self.generation:
            self._watch_at = AT_ONCE
        left = self._left_of(worker)
        worker.tickets = []
        worker.missed = worker.stalled = worker.revoked = False
        self._again([ticket for ticket in left if stopped is None or ticket.seq < stopped], suspects=True)
        if stopped is not None:
            self._again([ticket for ticket in left if ticket.seq >= stopped], suspects=False)
        self._rest(worker, now)

    def lost(self, number: int, now: float, running: int | None) -> list[Ticket]:
        """A worker is gone, while it ran call ``running`` (``None``: it had begun nothing). The tickets that fail with
        it: what is known to have killed it. The others of its invocation are tried again."""
        worker = self.workers.pop(number, None)
        if worker is None:
            return []
        self._watch_at = AT_ONCE
        if worker.state is State.IDLE:
            self.idle.remove(worker)
        if worker.state is State.STARTING:
            self._start_failed(now)
        elif worker.state is not State.ENDING or worker.tickets:
            self.tally.lost += 1
        together = bool(self.plan.batch) and len(worker.tickets) > 1
        left = self._left_of(worker)
        culprits = [ticket for ticket in left if self._fails(ticket, running, together)]
        for ticket in culprits:
            ticket.over = True
        self._again([ticket for ticket in left if not ticket.over], suspects=together or running is None)
        return culprits

    def _fails(self, ticket: Ticket, running: int | None, together: bool) -> bool:
        """Whether it is not tried again when its worker is lost."""
        if not self.plan.repeat:
            return running is not None and (together or ticket.seq <= running)
        if ticket.tries >= MOST_TRIES:
            return True
        return not together and ticket.seq == running  # else any of them may have done it: each is tried alone

    def unstuck(self, worker: Worker, running: int | None) -> None:
        """After ``Unstick``: ``running`` is what the worker runs; what comes behind it will not be begun there."""
        worker.revoked, worker.look_at = True, NEVER
        if running is not None:
            self._again([ticket for ticket in self._left_of(worker) if ticket.seq > running], suspects=False)

    def _left_of(self, worker: Worker) -> list[Ticket]:
        """What is to be answered by it and nobody else."""
        return [ticket for ticket in worker.tickets if not ticket.over and ticket.worker is worker]

    def _again(self, tickets: Sequence[Ticket], suspects: bool) -> None:
        """Back to the front of the queue. Each suspect is sent alone: one of them may be the culprit."""
        for ticket in reversed(tickets):
            ticket.worker = None
            if ticket.answered:
                ticket.over = True
                continue
            if suspects:
                ticket.tries += 1
                ticket.alone = True
            ticket.waiting = True
            self.waiting += 1
            self._queue.appendleft(ticket)

    # Decisions

    def orders(self, now: float) -> list[Order]:
        """What is to be done now. To be asked after events, and at ``next_time``."""
        found: list[Order] = []
        self._expire(now, found)
        if now >= self._watch_at:
            self._judge(now, found)
            self._kill(now, found)
            self._populate(now, found)
            self._watch_at = min(self._times(now), default=NEVER)
        self._hand_out(now, found)
        return found

    def _expire(self, now: float, found: list[Order]) -> None:
        for ticket in self._late.due(now):
            ticket.answered = True
            self.tally.late += 1
            self._miss(ticket)
            found.append(TooLate(ticket))
        found.extend(Prepare(ticket) for ticket in self._half.due(now))

    def _judge(self, now: float, found: list[Order]) -> None:
        """Workers for whose answers nobody waits, and those that keep others waiting."""
        for worker in self.workers.values():
            if worker.state is not State.BUSY or worker.heard == worker.first + len(worker.tickets):
                continue
            if all(ticket.answered or ticket.over for ticket in worker.tickets):
                worker.state = State.LATE
                found.append(Demote(worker))
            elif worker.look_at <= now:
                self._hurry(worker, now, found)

    def _hurry(self, worker: Worker, now: float, found: list[Order]) -> None:
        worker.stalled = True
        worker.look_at = NEVER
        if len(worker.tickets) == 1:
            return
        if not self.plan.batch:
            worker.look_at = now + STALL  # unless it is unstuck
            found.append(Unstick(worker))
        elif self.plan.repeat:
            worker.revoked = True  # hedge: the batch hangs on one of them, and who knows which
            self._again([ticket for ticket in self._left_of(worker) if not ticket.answered], suspects=True)

    def _patience(self, count: int) -> float:
        """Seconds after which an invocation of so many tickets is looked at."""
        usual, turn = self.pace.seconds, self._turn.seconds
        if usual is None or turn is None:
            return NEVER
        if not self.plan.batch:
            return max(STALL, STALL_FACTOR * usual)
        return max(STALL * count, STALL_FACTOR * usual * count, STALL_FACTOR * turn)

    def _busy(self) -> int:
        """How many work. One that stalls is no help: a spare one may take its place."""
        return sum([w.state is State.BUSY and not w.stalled for w in self.workers.values()])

    def _hand_out(self, now: float, found: list[Order]) -> None:
        if not self.waiting or not self.idle:
            return
        free = min(len(self.idle), self.plan.workers - self._busy())
        while free > 0 and self.waiting and now >= self._gathers_until():
            self._pass_over(now)
            if self._batches is not None:
                self._batches.is_sent(self._present(), now)
            tickets = self._pick(free)
            worker = self._best()
            worker.state, worker.since, worker.tickets = State.BUSY, now, tickets
            worker.look_at = now + self._patience(len(tickets))
            self._watch_at = min(self._watch_at, worker.look_at, now + self.plan.limit)
            found.append(Send(worker, tickets))
            free -= 1

    def _best(self) -> Worker:
        """The newest generation first; the one used last, for its caches are warm."""
        for index in range(len(self.idle) - 1, -1, -1):
            if self.idle[index].generation == self.generation:
                return self.idle.pop(index)
        return self.idle.pop()

    def _gathers_until(self) -> float:
        """Until when the batch that is next waits for company."""
        if self._batches is None or not self.plan.wait or (first := self._first()).alone:
            return -NEVER
        return self._batches.until(first.arrived, self.waiting, self._present())

    def _present(self) -> int:
        """Requests that are not over."""
        return self.waiting + sum([len(w.tickets) for w in self.workers.values() if w.state is State.BUSY])

    def _first(self) -> Ticket:
        """Who waits at the front."""
        while not self._queue[0].waiting:
            self._queue.popleft()
        return self._queue[0]

    def _pass_over(self, now: float) -> None:
        """Those for whom it is too late, as things usually go, while there are others who can still be in time: else
        all answers would be late when there is more to do than can be done."""
        turn = self._turn
        if turn.seconds is None or turn.most is None:
            return
        in_time = now + min(turn.most, MARGIN * turn.seconds)
        while self._first().late_at < in_time:
            while not self._queue[-1].waiting:
                self._queue.pop()
            if self._queue[-1].late_at < in_time:
                return
            self._leave(self._queue[0])

    def _most_together(self) -> int:
        """Requests in an invocation."""
        if self.plan.batch:
            return self.plan.batch
        seconds = self.pace.seconds
        return max(1, min(MOST_TOGETHER, int(TURN / seconds))) if seconds else 1

    def _pick(self, free: int) -> list[Ticket]:
        """The next invocation's tickets."""
        if self._batches is not None:
            most = self._batches.share(self.waiting, free)
        else:
            most = min(self._most_together(), -(-self.waiting // free))
        tickets: list[Ticket] = []
        while self.waiting and len(tickets) < most:
            ticket = self._first()
            if ticket.alone and tickets:
                break
            self._queue.popleft()
            ticket.waiting = False
            self.waiting -= 1
            tickets.append(ticket)
            if ticket.alone:
                break
        return tickets

    def sent(self, worker: Worker, first: int) -> None:
        """The tickets of a ``Send`` have the numbers from ``first`` on."""
        worker.first = worker.heard = first
        for number, ticket in enumerate(worker.tickets, first):
            ticket.seq, ticket.worker = number, worker

    def next_time(self, now: float) -> float | None:
        """When ``orders`` must be asked again if nothing happens before."""
        at = min(self._late.next(), self._half.next(), self._watch_at)
        if self.plan.wait and self.waiting and self.idle and self._busy() < self.plan.workers:
            at = min(at, self._gathers_until())
        return None if at == NEVER else max(now, at)
