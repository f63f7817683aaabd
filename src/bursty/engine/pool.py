"""A pool: the like workers of one Env, memory limit and depth, their plan, and the blocks they work at."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Any

from bursty.core.plan import Action, Fail, Group, Kill, Plan, Revoke, Send
from bursty.engine.block import Block, Failed, Run, Sealed
from bursty.engine.losses import loss_error
from bursty.ports import Backend
from bursty.runtime.pickling import Parts
from bursty.runtime.recent import Recent
from bursty.values import Answered, Batch, Ended, Loss, Lost, Outcome, Status, WorkerSpec

Announcement = tuple[Block, int, int]


class Pool:
    """Applies what the plan decides. Called under the engine's lock, on any thread."""

    def __init__(self, spec: WorkerSpec, backend: Backend, parts: Parts) -> None:
        self.spec = spec
        self.plan = Plan(backend.traits, random.random)
        self.blocks: dict[int, Block] = {}
        self.announcements: list[Announcement] = []
        self._backend = backend
        self._parts = parts
        self._codes: dict[int, Recent] = {}
        self._cancelled: list[Action] = []

    # Blocks and workers

    def add(self, block: Block) -> None:
        """Queue a block's calls; those that have results already (a resumed map) are announced."""
        self.blocks[block.number] = block
        self.plan.add(_group_of(block))
        for low, high in block.known_ranges() if block.settled else ():
            self.plan.know(block.number, low, high)
            self._settled(block, low, high, 0)

    def drop(self, block: Block) -> None:
        """Forget a block none of whose calls was begun: there is no worker to be had."""
        self.plan.drop(block.number)
        self.blocks.pop(block.number, None)

    def grow(self, block: Block, arguments: Any) -> int | None:
        """Add a call to a block whose last calls still wait; its index, or ``None`` when they don't."""
        if block.number not in self.blocks or len(block) >= MAX_GROWTH or not self.plan.can_extend(block.number):
            return None
        block.grow(arguments)
        self.plan.extend(block.number, 1)
        return len(block) - 1

    def open_worker(self, now: float) -> int:
        number = self._backend.open(self.spec)
        self.plan.join(number, now)
        self._codes[number] = Recent()
        return number

    def dispatch(self, now: float) -> None:
        """Send what can be sent."""
        for send in self.plan.assign(now):
            self._send(send)

    def _send(self, send: Send) -> None:
        block = self.blocks[send.span.group]
        known = self._codes[send.worker]
        digest = block.code.digest
        is_known = digest in known
        known.use(digest)
        invocation = block.invocation(send.seq, send.span.low, send.span.high, with_code=not is_known)
        self._backend.send(send.worker, invocation)

    def act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Revoke():
                    self._backend.revoke(action.worker, action.seq)
                case Kill():
                    self._backend.kill(action.worker, action.kind, action.limit)
                case Send():
                    self._send(action)

    def tick(self, now: float) -> None:
        """What is due by time: time-outs, stealing, stragglers; and outcomes held back by a long call."""
        self.act(self.plan.tick(now, self._backend.mark))
        for worker in self.plan.workers.values():
            mark = self._backend.mark(worker.number) if worker.flights else None
            if mark is None or mark.seq is None or now - mark.started < PEEK_SECONDS:
                continue
            place = self.plan.locate(worker.number, mark.seq)
            if place is not None and place[1] > place[0].position:
                for event in self._backend.peek(worker.number):
                    if isinstance(event, Batch) and self._is_next(event):
                        self.take_batch(event)

    def _is_next(self, batch: Batch) -> bool:
        """Whether a peek saw nothing behind outcomes still on their way: those would then be taken for seen."""
        place = self.plan.locate(batch.worker, batch.seqs[0])
        return place is not None and place[1] <= place[0].position

    # Events

    def take_batch(self, batch: Batch) -> None:
        """Outcomes in columns: settled range by range."""
        count = len(batch.seqs)
        low = 0
        while low < count:
            high = _run_end(batch.seqs, low)
            self._take_run(batch, low, high)
            low = high

    def _take_run(self, batch: Batch, low: int, high: int) -> None:
        seq = batch.seqs[low]
        place = self.plan.locate(batch.worker, seq)
        if place is None:
            return
        flight, first = place
        behind = flight.position - first
        if behind > 0:  # a peek saw these already
            low, seq, first = low + behind, seq + behind, first + behind
            if low >= high:
                return
        settled = self.plan.settle(batch.worker, seq, high - low, sum(batch.wall[low:high]))
        if settled is None:
            return
        group, ranges = settled
        block = self.blocks[group.number]
        now = time.time()
        sent = now + flight.sent - time.monotonic()
        for start, end in ranges:
            at = low + start - first
            attempt = group.attempt(start) if group.failures or group.losses else 1
            block.settle(start, batch.values[at : at + end - start])
            block.runs.append(
                Run(start, end, at, batch.started, batch.wall, batch.cpu, batch.offset, batch.memory,
                sent,
                    now, batch.worker, attempt)
            )  # fmt: skip
            self._settled(block, start, end, batch.worker)

    def take_outcome(self, event: Answered, now: float) -> None:
        """One outcome with parts of its own."""
        outcome = event.outcome
        place = self.plan.locate(event.worker, outcome.seq)
        if place is None:
            return
        flight, index = place
        group = self.plan.groups.get(flight.span.group)
        attempt = group.attempt(index) if group is not None else 1
        if outcome.status is Status.ERROR:
            verdict = self.plan.failed(event.worker, outcome.seq, outcome.wall, now)
            if verdict is None or not verdict[2]:
                if verdict is not None:
                    self.blocks[verdict[0].number].retries += 1
                return
            self._settle_one(self.blocks[verdict[0].number], index, event, flight.sent, attempt)
            return
        settled = self.plan.settle(event.worker, outcome.seq, 1, outcome.wall)
        if settled is not None and settled[1]:
            self._settle_one(self.blocks[settled[0].number], index, event, flight.sent, attempt)

    def _settle_one(self, block: Block, index: int, event: Answered, sent: float, attempt: int) -> None:
        outcome = event.outcome
        where = f"in call {block.first + index} of {block.code.label}, on worker w{event.worker}, attempt {attempt}"
        block.settle(index, [Sealed(outcome.status, outcome.payload, where, self._parts)])
        block.errors += outcome.status is Status.ERROR
        block.runs.append(_run_of(outcome, index, sent, event.worker, attempt))
        self._settled(block, index, index + 1, event.worker)

    def _settled(self, block: Block, low: int, high: int, worker: int) -> None:
        for index in range(low, high) if self.plan.has_doubles else ():
            self.act(self.plan.beaten(block.number, index, worker))
        self.announcements.append((block, low, high))
        if block.settled == len(block):
            self.plan.forget(block.number)
            del self.blocks[block.number]

    def ended(self, event: Ended, now: float) -> None:
        self.act(self.plan.ended(event.worker, event.seq, event.stopped, now))

    def lost(self, event: Lost, now: float) -> None:
        """A worker is gone; the calls that fail by it get an error that says why."""
        place = self.plan.locate(event.worker, event.running) if event.running is not None else None
        sent = place[0].sent if place else now
        self._codes.pop(event.worker, None)
        for fail in self.plan.lost(event.worker, event.loss, event.running, now):
            self._fail(fail, event.loss, event.worker, sent)
        block = self.blocks.get(place[0].span.group) if place else None
        if place and block is not None and block.results[place[1]] is None:
            block.retries += 1

    def _fail(self, fail: Fail, loss: Loss, worker: int, sent: float) -> None:
        block = self.blocks[fail.group]
        attempt = self.plan.groups[fail.group].attempt(fail.index)
        error = loss_error(loss, block, fail.index, worker, attempt)
        block.runs.append(
            Run(fail.index, fail.index + 1, 0, [_epoch(sent)], [max(0.0, time.monotonic() - sent)], [0.0], 0.0, 0,
                _epoch(sent), time.time(), worker, attempt)
        )  # fmt: skip
        self.fail_call(block, fail.index, error, worker)

    def fail_call(self, block: Block, index: int, error: BaseException, worker: int = 0) -> None:
        """Give a call an error for its outcome; the plan has settled it."""
        block.settle(index, [Failed(error)])
        block.errors += 1
        self._settled(block, index, index + 1, worker)

    # Cancelling

    def cancel(self, block: Block, index: int, now: float, error: BaseException | None = None) -> None:
        """Settle a call that has no outcome as cancelled, or with ``error``. ``act_on_cancelled`` must follow."""
        if block.number not in self.blocks or block.results[index] is not None:
            return
        self._cancelled.extend(self.plan.cancel(block.number, index, now, self._backend.mark))
        if error is None:
            block.settle(index, [Failed(CancelledError())])
            self._settled(block, index, index + 1, 0)
        else:
            self.fail_call(block, index, error)

    def act_on_cancelled(self) -> None:
        """Kill or stop the workers that are at cancelled calls."""
        actions, self._cancelled = self._cancelled, []
        self.act(actions)


PEEK_SECONDS = 0.02
MAX_GROWTH = 1024
"""Calls that single submits may add up to in one block: it is kept until its last call is settled."""


def _group_of(block: Block) -> Group:
    options = block.options
    return Group(
        block.number,
        block.code.digest,
        len(block),
        options.retries,
        options.timeout,
        options.idempotent,
        block.weight,
    )


def _run_end(seqs: Sequence[int], low: int) -> int:
    """Where the consecutive numbers that begin at ``low`` end; mostly all of them are."""
    if seqs[-1] - seqs[low] == len(seqs) - 1 - low:
        return len(seqs)
    high = low + 1
    while high < len(seqs) and seqs[high] == seqs[high - 1] + 1:
        high += 1
    return high


def _epoch(monotonic: float) -> float:
    return monotonic + time.time() - time.monotonic()


def _run_of(outcome: Outcome, index: int, sent: float, worker: int, attempt: int) -> Run:
    return Run(
        index,
        index + 1,
        0,
        [outcome.started],
        [outcome.wall],
        [outcome.cpu],
        time.time() - time.monotonic(),
        outcome.memory,
        _epoch(sent),
        time.time(),
        worker,
        attempt,
    )
