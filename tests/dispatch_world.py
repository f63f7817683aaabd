"""A simulated world around the rules of dispatch: time, workers that work, hang, die and come up slowly, clients that
come and go. The driver does what ``serving.pool`` does, and every promise is checked where it could be broken."""

from __future__ import annotations

import copy
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bursty.core.crew import RESTART_BURST, RESTART_SHARE
from bursty.core.deadline import Dispatch
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
    Ticket,
    TooLate,
    Unstick,
    Worker,
)

FLUSH_SECONDS = 0.02
"""Outcomes of requests that were answered one by one lie in the worker's journal for up to so long."""
EPSILON = 1e-6
PROBES = 0.1
ENDLESS = float("inf")


@dataclass(frozen=True)
class Land:
    """What workers are like here. Seconds: of a request, of a call of a batch beside those of its requests, of a
    start, of taking up an invocation, and until a kill has done its work."""

    seconds: float = 0.001
    fixed: float = 0.0
    start: float = 0.5
    pickup: float = 0.0
    kill: float = 0.01
    restores: bool = True
    """Whether a worker that was demoted can be promoted again."""


@dataclass(eq=False)
class Ask:
    """A request. ``nature``: fine, slow, hang, poison, raises."""

    number: int
    nature: str = "fine"
    ends: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    late: list[str] = field(default_factory=list[str])
    """What became of it after it had its end."""
    begun: int = 0
    sent: int = 0
    deaths: int = 0
    """Workers that it killed, or hung until they were."""
    victim: int = 0
    """Workers that died of something else while it, or its batch, ran there."""
    prepared: int = 0
    waits: bool = False
    gone: bool = False


@dataclass(eq=False)
class Hand:
    """A simulated worker process."""

    number: int
    ready: bool = False
    tickets: list[Ticket] = field(default_factory=list[Ticket])
    first: int = 0
    running: int | None = None
    together: bool = False
    limit: int | None = None
    unreported: list[tuple[int, float, bool]] = field(default_factory=list[tuple[int, float, bool]])
    flush_at: float = 0.0
    told: str = ""
    """That it was killed, or is to end."""
    gone: bool = False
    niced: bool = False
    starts: bool = True


class World:
    """Driver, workers and clients of one ``Dispatch``."""

    def __init__(self, plan: Plan, land: Land | None = None, dice: random.Random | None = None) -> None:
        self.plan = plan
        self.land = land or Land()
        self.dice = dice
        """When somebody looks whether there was something to do that nobody would have looked for."""
        self.now = self.began = 1000.0
        self.dispatch = Dispatch(plan, self.now)
        self.hands: dict[int, Hand] = {}
        self.asks: list[Ask] = []
        self.tickets: list[Ticket] = []
        self.starts_fail = False
        self.cannot_open = False
        self.opens: list[float] = []
        self.kills: list[float] = []
        self.renewals: list[float] = []
        self.watch: list[int] = []
        """How many requests went together each time."""
        self.acts = 0
        self.happened = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._seqs = 0
        self._soon = False
        self._timer_at: float | None = None
        self._newest_sent = -1
        self.stir()

    # Time

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        if seconds < ENDLESS:
            heapq.heappush(self._events, (self.now + seconds, next(self._numbers), what))

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.until(self.now + seconds)

    def until(self, end: float) -> None:
        while True:
            if self._soon:
                self._soon = False
                self._act()
                continue
            at = min(self._events[0][0] if self._events else ENDLESS, self._timer_at or ENDLESS)
            if at > end:
                break
            self._check_nothing_is_missed(at)
            self.now = max(self.now, at)
            if self._timer_at is not None and self._timer_at <= self.now:
                self._timer_at = None
                self._soon = True
            while self._events and self._events[0][0] <= self.now:
                self.happened += 1
                heapq.heappop(self._events)[2]()
        self._check_nothing_is_missed(end)
        self.now = max(self.now, end)

    def _check_nothing_is_missed(self, at: float) -> None:
        """Between events and next times there is nothing to do."""
        if self.dice is None or at - self.now < 4 * EPSILON or self.dice.random() > PROBES:
            return
        when = self.dice.choice((0.01, 0.5, 1.0)) * (min(at, self.now + 100) - self.now - 2 * EPSILON)
        when += self.now + EPSILON
        found = copy.deepcopy(self.dispatch).orders(when)
        assert not found, f"{found} at {when}, and nobody would have asked before {at}"

    # The driver, as serving.pool is one

    def stir(self) -> None:
        self._soon = True

    def _act(self) -> None:
        self.acts += 1
        opens, dispatch = len(self.opens), self.dispatch
        orders = dispatch.orders(self.now)
        for order in orders:
            self._carry_out(order)
        if any(isinstance(order, Kill) for order in orders) and dispatch._missing() > 0:  # pyright: ignore[reportPrivateUsage]
            assert len(self.opens) > opens, "killed, and nobody takes its place"
        self._check_workers()
        at = self.dispatch.next_time(self.now)
        if at is None or self._soon:
            return
        assert at > self.now, "asked again at once: the event loop would turn without end"
        if self._timer_at is None or not self.now < self._timer_at <= at:
            self._timer_at = at

    def _carry_out(self, order: Order) -> None:
        match order:
            case Send(worker, tickets):
                self._send(worker, tickets)
            case TooLate(ticket):
                assert ticket.late_at <= self.now, "too early"
                self.end(ticket, "too late")
            case Prepare(ticket):
                assert self.plan.prepares
                ask: Ask = ticket.request
                ask.prepared += 1
                assert ask.prepared == 1
                assert not ask.ends, "a fallback for what has its answer"
            case Open():
                self._open()
            case Kill(worker):
                self.kills.append(self.now)
                self._kill(self.hands[worker.number])
            case Retire(worker):
                self._retire(self.hands[worker.number])
            case Demote(worker):
                self.hands[worker.number].niced = True
            case Unstick(worker):
                self._unstick(worker)

    def _open(self) -> None:
        self.opens.append(self.now)
        if self.cannot_open:
            self.dispatch.not_opened(self.now)
            self.stir()
            return
        hand = Hand(len(self.opens), starts=not self.starts_fail)
        self.hands[hand.number] = hand
        self.dispatch.opened(hand.number, self.now)
        self.after(self.land.start, lambda: self._started(hand))

    def _started(self, hand: Hand) -> None:
        if hand.gone or hand.told:
            return
        if not hand.starts:
            self._die(hand)
            return
        hand.ready = True
        self.dispatch.ready(hand.number, self.now)
        self.stir()

    def _kill(self, hand: Hand) -> None:
        assert not hand.gone
        if hand.told != "kill":
            hand.told = "kill"
            self.after(self.land.kill, lambda: self._die(hand, "kill"))

    def _retire(self, hand: Hand) -> None:
        assert hand.ready
        assert not hand.tickets, "it is busy"
        assert not hand.told
        hand.told = "retire"
        warm = sum(1 for other in self.hands.values() if other.ready and not other.told)
        assert warm >= self.plan.workers, "too few are left"
        self.after(self.land.kill, lambda: self._die(hand, "retire"))

    def _send(self, worker: Worker, tickets: list[Ticket]) -> None:
        hand = self.hands[worker.number]
        assert hand.ready
        assert not hand.told
        assert not hand.tickets, "two invocations at once"
        assert hand.limit is None, "it would not begin: its limit still stands"
        assert 1 <= len(tickets) <= (self.plan.batch or 64)
        self.watch.append(len(tickets))
        for ticket in tickets:
            self._check_sent(ticket, len(tickets))
        hand.tickets, hand.first = list(tickets), self._seqs
        hand.together = bool(self.plan.batch) and len(tickets) > 1
        self._seqs += len(tickets)
        self.dispatch.sent(worker, hand.first)
        if self.land.pickup:
            self.after(self.land.pickup, lambda: self._begin(hand, hand.first))
        else:
            self._begin(hand, hand.first)

    def _check_sent(self, ticket: Ticket, together: int) -> None:
        ask: Ask = ticket.request
        assert not ask.ends, f"sent after it was {ask.ends}"
        if not ask.sent:
            assert ask.number > self._newest_sent, "not in the order in which they came"
            self._newest_sent = ask.number
        if ask.deaths or ask.victim:
            assert together == 1, "tried again beside others"
        if not self.plan.repeat:
            assert not ask.begun, "run twice, and that was not wanted"
        ask.sent += 1
        ask.waits = False
        if self.plan.batch is None:
            assert not self._holders(ticket), "it waits at another worker, too"

    def _holders(self, ticket: Ticket) -> list[Hand]:
        return [hand for hand in self.hands.values() if ticket in self._runnable(hand)]

    def _runnable(self, hand: Hand) -> list[Ticket]:
        """What it may still begin, and what it runs."""
        if hand.told == "kill" and hand.running is None:
            return []
        at = 0 if hand.running is None else hand.running - hand.first
        end = len(hand.tickets) if hand.limit is None else max(hand.limit - hand.first, 0)
        return hand.tickets[at : max(end, at + (hand.running is not None))] if hand.tickets else []

    def _unstick(self, worker: Worker) -> None:
        hand = self.hands[worker.number]
        if hand.running is None:
            return
        hand.limit = hand.running + 1
        for seq, _, good in list(hand.unreported):
            self._answer(hand, seq, 0.0, good)
        self.dispatch.unstuck(worker, hand.running)
        self.stir()

    # Workers

    def _begin(self, hand: Hand, seq: int) -> None:
        if hand.gone or not hand.tickets:
            return
        stop = hand.first + len(hand.tickets)
        if hand.told == "kill":
            return
        if seq >= stop or (hand.limit is not None and seq >= hand.limit):
            self._end(hand, seq)
            return
        hand.running = seq
        taken = hand.tickets if hand.together else [hand.tickets[seq - hand.first]]
        self._check_begin(hand, taken)
        seconds, dies = self._duration(taken)
        if dies:
            self.after(seconds / 2, lambda: self._poisoned(hand, seq))
        else:
            self.after(seconds, lambda: self._finish(hand, seq, seconds))

    def _check_begin(self, hand: Hand, taken: list[Ticket]) -> None:
        for ticket in taken:
            ask: Ask = ticket.request
            ask.begun += 1
            others = [other for other in self._holders(ticket) if other is not hand and other.running is not None]
            if self.plan.batch is None:
                assert ask.begun == 1, "begun twice"
            assert all(self.dispatch.workers[other.number].revoked for other in others), "runs twice, and no hedge"

    def _duration(self, taken: list[Ticket]) -> tuple[float, bool]:
        """How long it takes, and whether it kills."""
        natures = [ticket.request.nature for ticket in taken]
        usual = self.land.seconds
        seconds = (self.land.fixed if self.plan.batch else 0.0) + usual * len(natures)
        if "poison" in natures:
            return seconds, True
        if "hang" in natures:
            return ENDLESS, False
        return seconds + natures.count("slow") * (50 * usual + 0.05), False

    def _poisoned(self, hand: Hand, seq: int) -> None:
        if not hand.gone and hand.running == seq:
            self._die(hand, "poison")

    def _finish(self, hand: Hand, seq: int, seconds: float) -> None:
        if hand.gone or hand.running != seq:
            return
        count = len(hand.tickets) if hand.together else 1
        for number in range(seq, seq + count):
            self._note(hand, number, seconds, hand.tickets[number - hand.first].request.nature != "raises")
        self._begin(hand, seq + count)

    def _note(self, hand: Hand, seq: int, seconds: float, good: bool) -> None:
        """Into the journal; what raised goes off at once."""
        if not good or self.now > hand.flush_at:
            self._flush(hand)
        hand.unreported.append((seq, seconds, good))
        if not good:
            self._flush(hand)

    def _flush(self, hand: Hand) -> None:
        found, hand.unreported = hand.unreported, []
        hand.flush_at = self.now + FLUSH_SECONDS
        for seq, seconds, good in found:
            self._answer(hand, seq, seconds, good)

    def _end(self, hand: Hand, stopped: int) -> None:
        hand.running = None
        self._flush(hand)
        hand.tickets = []
        worker = self.dispatch.workers[hand.number]
        if worker.revoked:
            hand.limit = None
        self.dispatch.ended(hand.number, self.now, stopped)
        if hand.niced:
            hand.niced = not self.land.restores
            if hand.niced and self.dispatch.replace(hand.number, self.now):
                self._retire(hand)
        self.stir()

    def _answer(self, hand: Hand, seq: int, seconds: float, good: bool) -> None:
        ticket = self.dispatch.answered(hand.number, seq, seconds if good else 0.0)
        if ticket is not None:
            self._told(ticket, "answer" if good else "fail")

    def _told(self, ticket: Ticket, what: str) -> None:
        late, ticket.answered = ticket.answered, True
        if late:
            ticket.request.late.append(what)
        else:
            self.end(ticket, what)

    def _die(self, hand: Hand, why: str = "crash") -> None:
        if hand.gone:
            return
        for seq, seconds, good in hand.unreported:
            self._answer(hand, seq, seconds, good)
        hand.gone = True
        del self.hands[hand.number]
        running = hand.running
        self._blame(hand, why)
        for ticket in self.dispatch.lost(hand.number, self.now, running):
            self._told(ticket, "fail")
        self.stir()

    def _blame(self, hand: Hand, why: str) -> None:
        if hand.running is None:
            return
        ran = hand.tickets if hand.together else [hand.tickets[hand.running - hand.first]]
        nature = "poison" if why == "poison" else "hang"
        culprits = [ticket.request for ticket in ran if ticket.request.nature == nature and why != "crash"]
        for ask in culprits:
            ask.deaths += 1
        for ticket in ran:
            if ticket.request not in culprits or len(ran) > 1:
                ticket.request.victim += 1

    def crash(self, index: int) -> None:
        """One of the workers dies for no reason of its own."""
        if self.hands:
            self._die(list(self.hands.values())[index % len(self.hands)])

    # Clients

    def ask(self, deadline: float = 0.1, nature: str = "fine") -> Ask:
        ask = Ask(len(self.asks), nature)
        ticket = Ticket(self.now, self.now + deadline, ask)
        self.asks.append(ask)
        self.tickets.append(ticket)
        if self.dispatch.take(ticket, self.now):
            ask.waits = True
            self.stir()
        else:
            self.end(ticket, "shed")
        return ask

    def hang_up(self, index: int) -> None:
        """As ``serving.service`` has it."""
        if not self.tickets:
            return
        ticket = self.tickets[index % len(self.tickets)]
        if not ticket.over and not ticket.answered:
            ticket.request.gone = True
            self.dispatch.give_up(ticket)
            self.end(ticket, "hung up")
            self.stir()

    def end(self, ticket: Ticket, how: str) -> None:
        ask: Ask = ticket.request
        ask.ends.append((how, self.now))
        ask.waits = False
        assert len(ask.ends) == 1, f"request {ask.number} has two ends: {ask.ends}"
        assert self.now <= ticket.late_at + EPSILON, f"{how} {self.now - ticket.late_at} s after its time"

    def renew(self) -> None:
        self.renewals.append(self.now)
        self.dispatch.renew()
        self.stir()

    def drain(self) -> None:
        self.dispatch.draining = True
        self.stir()

    # Checks

    @property
    def wanted(self) -> int:
        return self.plan.workers + self.plan.spares

    def _check_workers(self) -> None:
        workers = self.dispatch.workers
        assert set(workers) == set(self.hands)
        busy = [w for w in workers.values() if w.state is State.BUSY and not w.stalled]
        assert len(busy) <= self.plan.workers, "more at once than the plan allows"
        idle = [w for w in workers.values() if w.state is State.IDLE]
        assert sorted(w.number for w in idle) == sorted(w.number for w in self.dispatch.idle)
        assert all(not self.hands[w.number].tickets and not self.hands[w.number].told for w in idle)
        newest = [w for w in workers.values() if w.generation == self.dispatch.generation]
        assert len(newest) + self.dispatch.opening <= self.wanted + self.plan.workers
        assert len(workers) + self.dispatch.opening <= 2 * (self.wanted + self.plan.workers), "and the old ones"

    def check_ends(self) -> None:
        """Every request that is due has exactly one end; and what its end says is true."""
        for ticket in self.tickets:
            ask: Ask = ticket.request
            if ticket.late_at > self.now:
                continue
            assert ask.ends, f"request {ask.number} was forgotten"
            how = ask.ends[0][0]
            assert len(ask.late) <= 1
            if how == "answer":
                assert ask.nature in ("fine", "slow")
            if how == "fail" and ask.nature in ("fine", "slow"):
                assert ask.victim, "failed, and nothing happened to it"
            assert ask.deaths <= (1 if self.plan.batch is None else 3), "it kills again and again"

    def check_budget(self) -> None:
        """Over any time, starts are paid from a budget; so are kills."""
        start = max(self.land.start, 0.05)
        rate = RESTART_SHARE / start
        paid = sorted(self.opens)
        for low, first in enumerate(paid):
            for high in range(low, len(paid)):
                seconds = paid[high] - first
                renewals = sum(1 for at in self.renewals if first - 10 <= at <= paid[high])
                early = RESTART_SHARE / 0.05 * min(seconds, max(0.0, self.began + 3 * start - first))
                allowed = RESTART_BURST + self.wanted * (1 + renewals) + rate * seconds + early + 1
                assert high - low + 1 <= allowed, f"{high - low + 1} starts within {seconds} s"

    def check_rest(self) -> None:
        """When nothing happens any more: as at the beginning, and nobody is waked."""
        self.starts_fail = self.cannot_open = False
        self.run(400 + 30 * self.land.start)
        workers = list(self.dispatch.workers.values())
        assert [w.state for w in workers if w.state not in (State.IDLE, State.LATE)] == []
        assert all(w.generation == self.dispatch.generation for w in workers)
        assert len(workers) == self.wanted
        before = self.acts
        ask = self.ask(deadline=60.0)
        self.run(2 * (self.land.seconds + self.land.fixed + self.land.pickup) + self.plan.wait + 0.001)
        assert ask.ends
        assert ask.ends[0][0] == "answer"
        self.run(1000)
        assert self.acts - before < 20, "waked for nothing"
        self.check_empty()

    def check_empty(self) -> None:
        dispatch = self.dispatch
        assert not dispatch.waiting
        assert not dispatch.opening
        assert dispatch.next_time(self.now) is None
        assert all(not worker.tickets for worker in dispatch.workers.values())
        assert self.kept() == 0, "requests that are over are kept in memory"

    def kept(self) -> int:
        """Places that requests hold in the rules' memory."""
        dispatch: Any = self.dispatch
        return len(dispatch._queue) + len(dispatch._late) + len(dispatch._half)

    def count(self) -> Counter[str]:
        return Counter(ask.ends[0][0] if ask.ends else "waits" for ask in self.asks)
