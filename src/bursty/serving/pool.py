"""Drives an endpoint's dispatch on an event loop: carries out the orders of ``core.deadline`` at the local backend."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from bursty.backends.local import LocalBackend
from bursty.core.answers import WARM, Stamp, unpack_answer
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
from bursty.engine.code import Code
from bursty.errors import BurstyError
from bursty.runtime.faults import describe_error
from bursty.serving.losses import with_output, words_of
from bursty.values import (
    Answered,
    Asked,
    Batch,
    Buffer,
    Call,
    Ended,
    Event,
    Frame,
    Invocation,
    Layout,
    Loss,
    Lost,
    Output,
    Payload,
    Status,
    WorkerSpec,
)

WATCH_SECONDS = 0.1
"""How often the backend looks after memory, where no cgroup does."""
IDLE_NICE, LATE_NICE = 0, 19
LONGEST_LINE = 8192
"""Characters that a worker may write without ending a line before they are passed on."""
Say = Callable[[str], None]


class Listener(Protocol):
    """Whoever asked: told what came of its tickets. ``late``: the ticket has its fallback already."""

    def answer(self, ticket: Ticket, answer: Buffer, late: bool, stamp: str) -> None: ...

    def fail(self, ticket: Ticket, why: str, late: bool) -> None:
        """It killed its worker, or ran with one that died; or its code could not be run at all."""
        ...

    def prepare(self, ticket: Ticket) -> None: ...

    def too_late(self, ticket: Ticket) -> None: ...


class Floor:
    """All endpoint workers of a server: one backend, watched by the event loop, shared by the pools."""

    def __init__(self, backend: LocalBackend, desk: Callable[[Frame, Callable[[Frame], None]], None], say: Say) -> None:
        self.backend = backend
        self.say = say
        self._desk = desk
        self._pools: dict[int, Pool] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Called on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.backend.fileno(), self._turn)
        self._look()

    def open(self, pool: Pool, spec: WorkerSpec) -> int:
        number = self.backend.open(spec)
        self._pools[number] = pool
        return number

    def _look(self) -> None:
        assert self._loop is not None
        self._turn()
        self._watch = self._loop.call_later(WATCH_SECONDS, self._look)

    def _turn(self) -> None:
        for event in self.backend.poll(0):
            try:
                self.take(event)
            except Exception as error:  # those behind it must not be lost, for somebody waits for each
                assert self._loop is not None
                about = f"an event of worker {event.worker} could not be taken"
                self._loop.call_exception_handler({"message": about, "exception": error})

    def take(self, event: Event) -> None:
        """Pass it on to the pool of its worker."""
        pool = self._pools.get(event.worker)
        if pool is None:
            return
        match event:
            case Batch(seqs=seqs, wall=wall, values=values):
                for seq, seconds, value in zip(seqs, wall, values, strict=True):
                    pool.answered(event.worker, seq, seconds, value)  # pyright: ignore[reportArgumentType]
            case Answered(outcome=outcome):
                part = outcome.payload.parts[0]
                if outcome.status is Status.OK:
                    pool.answered(event.worker, outcome.seq, outcome.wall, part)  # pyright: ignore[reportArgumentType]
                else:
                    pool.raised(event.worker, outcome.seq, describe_error(outcome.payload))
            case Ended(stopped=stopped):
                pool.ended(event.worker, stopped)
            case Lost(loss=loss, running=running):
                del self._pools[event.worker]
                pool.lost(event.worker, loss, running)
            case Output(text=text):
                pool.wrote(event.worker, text)
            case Asked():
                self._answer(event)

    def _answer(self, event: Asked) -> None:
        """Answered later, from any thread, as a session does it."""
        number = event.frame.meta["ask"]

        def reply(frame: Frame) -> None:
            self.backend.tell(event.worker, Frame({**frame.meta, "kind": "answer", "ask": number}, frame.parts))

        if event.frame.meta["kind"] in ("submit", "cancel"):
            hint = "Start a job, or do it in a mounted app: an endpoint's worker answers one request at a time."
            reply(Frame({"error": "endpoints can't make calls on other workers", "hint": hint}))
        else:
            self._desk(event.frame, reply)

    def close(self) -> None:
        """Kill what is left."""
        if self._loop is not None:
            self._loop.remove_reader(self.backend.fileno())
            if self._watch is not None:
                self._watch.cancel()
        self.backend.close()


class Pool:
    """The workers of one endpoint. All methods are called on the event loop."""

    def __init__(
        self, floor: Floor, plan: Plan, code: Code, spec: WorkerSpec, listener: Listener, label: str, version: str
    ) -> None:
        self.dispatch = Dispatch(plan, time.monotonic())
        self.stamps: dict[int, Stamp] = {}
        """What each warm worker answers with."""
        self.batches: list[int] = []
        """Sizes of invocations since somebody looked."""
        self.trouble = ""
        """Why workers can't start, in words."""
        self.on_ready: Callable[[Stamp], None] = lambda _: None
        self._floor = floor
        self._code = code
        self._spec = spec
        self._listener = listener
        self._label = label
        self._version = version
        self._knows: set[int] = set()
        self._demoted: set[int] = set()
        self._held: dict[int, str] = {}
        """What workers wrote, without an end of line yet."""
        self._next = 0
        self._loop = asyncio.get_running_loop()
        self._soon = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.closed = False

    # Requests

    def submit(self, ticket: Ticket, now: float) -> bool:
        """Queue a request; ``False``: it is shed."""
        if not self.dispatch.take(ticket, now):
            return False
        self.stir()
        return True

    def stir(self) -> None:
        """Decide what to do once this turn of the event loop is over, so that requests of one turn go together."""
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._act)

    def _act(self) -> None:
        self._soon = False
        if self.closed:
            return
        now = time.monotonic()
        for order in self.dispatch.orders(now):
            self._carry_out(order, now)
        self._set_timer(now)

    def _set_timer(self, now: float) -> None:
        at = self.dispatch.next_time(now)
        if at is None or self._soon:
            return
        if self._timer is not None:
            if now < self._timer_at <= at:
                return  # it comes early enough, and asks again
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - now, 0.0), self._rung)

    def _rung(self) -> None:
        self._timer = None
        self._act()

    def _carry_out(self, order: Order, now: float) -> None:
        backend = self._floor.backend
        match order:
            case Send(worker, tickets):
                self._send(worker, tickets)
            case TooLate(ticket):
                self._listener.too_late(ticket)
            case Prepare(ticket):
                self._listener.prepare(ticket)
            case Open():
                self._open(now)
            case Kill(worker, limit):
                backend.kill(worker.number, "timeout", limit)
            case Retire(worker):
                backend.retire(worker.number)
            case Demote(worker):
                if backend.favour(worker.number, LATE_NICE):
                    self._demoted.add(worker.number)
            case Unstick(worker):
                self._unstick(worker)

    def _open(self, now: float) -> None:
        try:
            number = self._floor.open(self, self._spec)
        except (BurstyError, OSError) as error:
            self.trouble = str(error)
            self._floor.say(f"{self._label}: no worker can be started: {error}")
            self.dispatch.not_opened(now)
            return
        self.dispatch.opened(number, now)
        self._invoke(number, [WARM])

    def _send(self, worker: Worker, tickets: list[Ticket]) -> None:
        if len(self.batches) < 10_000:
            self.batches.append(len(tickets))
        first = self._invoke(worker.number, [ticket.request.data for ticket in tickets])
        self.dispatch.sent(worker, first)

    def _invoke(self, number: int, requests: Sequence[Buffer]) -> int:
        first, self._next = self._next, self._next + len(requests)
        code = None if number in self._knows else self._code.payload
        self._knows.add(number)
        calls = tuple([Call(Payload((request,))) for request in requests])
        invocation = Invocation(
            first, len(calls), self._code.digest, self._label, Layout.REQUESTS, code=code, calls=calls
        )
        self._floor.backend.send(number, invocation)
        return first

    def _unstick(self, worker: Worker) -> None:
        backend = self._floor.backend
        running = backend.mark(worker.number).seq
        if running is None:
            return
        backend.revoke(worker.number, running + 1)
        for event in backend.peek(worker.number):
            self._floor.take(event)
        running = backend.mark(worker.number).seq
        self.dispatch.unstuck(worker, running)
        self.stir()

    # What workers say

    def answered(self, number: int, seq: int, seconds: float, value: Buffer) -> None:
        worker = self.dispatch.workers.get(number)
        if worker is not None and worker.state is State.STARTING:
            self._warmed(number, value)
            return
        ticket = self.dispatch.answered(number, seq, seconds)
        if ticket is not None:
            late, ticket.answered = ticket.answered, True
            self._listener.answer(ticket, value, late, str(self.stamps[number]))

    def _warmed(self, number: int, value: Buffer) -> None:
        """The answer to the first request of all: it is loaded, or says why it can't be."""
        import msgspec

        answer = unpack_answer(value)
        if answer.status != 200:
            self._not_warm(number, str(msgspec.json.decode(answer.body).get("detail", "")))
            return
        models: dict[str, int] = msgspec.json.decode(answer.body)["models"]
        self.stamps[number] = Stamp(self._version, tuple(f"{name}@{models[name]}" for name in sorted(models)))

    def _is_ready(self, number: int) -> None:
        self.trouble = ""
        self.dispatch.ready(number, time.monotonic())
        if self.dispatch.workers[number].generation == self.dispatch.generation:  # else it is about to be replaced
            self.on_ready(self.stamps[number])
        self.stir()

    def _not_warm(self, number: int, why: str) -> None:
        if why != self.trouble:
            self._floor.say(f"{self._label}: can't start: {why}")
        self.trouble = why
        self._floor.backend.kill(number, "cancelled")

    def raised(self, number: int, seq: int, about: dict[str, Any]) -> None:
        """It escaped the endpoint: its module can't be imported, or something that is no ``Exception``."""
        why = f"{about['type']}: {about['message']}"
        worker = self.dispatch.workers.get(number)
        if worker is not None and worker.state is State.STARTING:
            self._not_warm(number, f"{why}\n{about['traceback']}")
            return
        ticket = self.dispatch.answered(number, seq, 0.0)
        if ticket is not None:
            late, ticket.answered = ticket.answered, True
            self._listener.fail(ticket, why, late)

    def ended(self, number: int, stopped: int) -> None:
        worker = self.dispatch.workers.get(number)
        if worker is None:
            return
        if worker.state is State.STARTING:
            if number in self.stamps:
                self._is_ready(number)
            return
        if worker.revoked:
            self._floor.backend.revoke(number, None)
        now = time.monotonic()
        self.dispatch.ended(number, now, stopped)
        if number in self._demoted:
            if self._floor.backend.favour(number, IDLE_NICE):
                self._demoted.discard(number)
            elif self.dispatch.replace(number, now):
                self._floor.backend.retire(number)
        self.stir()

    def lost(self, number: int, loss: Loss, running: int | None) -> None:
        self.stamps.pop(number, None)
        self._knows.discard(number)
        self._demoted.discard(number)
        if number in self._held:
            self.wrote(number, "\n")
        worker = self.dispatch.workers.get(number)
        why, told = words_of(loss), with_output(loss)
        if worker is not None and worker.state is State.STARTING and loss.kind != "cancelled" and not self.closed:
            self.trouble = told
            self._floor.say(f"{self._label}: a worker was lost while it started: {told}")
        elif loss.kind not in ("closed", "cancelled"):
            self._floor.say(f"{self._label}: {why}")
        for ticket in self.dispatch.lost(number, time.monotonic(), running):
            late, ticket.answered = ticket.answered, True
            self._listener.fail(ticket, why, late)
        self.stir()

    def wrote(self, number: int, text: str) -> None:
        """Whole lines go to the server's log, with the endpoint's name."""
        *lines, rest = (self._held.pop(number, "") + text).split("\n")
        if len(rest) > LONGEST_LINE:
            lines, rest = [*lines, rest], ""
        if rest:
            self._held[number] = rest
        for line in lines:
            self._floor.say(f"{self._label} | {line}")

    # State

    @property
    def ready(self) -> bool:
        """Whether as many workers are warm as shall score at once."""
        warm = sum(1 for w in self.dispatch.workers.values() if w.state in (State.IDLE, State.BUSY))
        return warm >= self.dispatch.plan.workers

    def renew(self) -> None:
        """Replace the workers without a pause."""
        self.dispatch.renew()
        self.stir()

    def close(self) -> None:
        self.closed = True
        self.dispatch.draining = True
        if self._timer is not None:
            self._timer.cancel()
