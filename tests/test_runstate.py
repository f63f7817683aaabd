"""The rules of a run's life, driven at random: workers that stall and return, clocks that differ, people who cancel."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from bursty.changes import Change
from bursty.core import runstate
from bursty.core.runstate import Ending, applied, holds, retry_delay, will_retry
from bursty.records import FINAL, OutboxDraft, RunRecord, RunStatus

LEASE = 10.0
NOTICE = OutboxDraft("notice")
ENDS = st.sampled_from(["succeeded", "failed", "timed_out", "cancelled"])


def queued(**fields: object) -> RunRecord:
    return RunRecord("1", **{"app": "app", "job": "job", "version": "v", **fields})


def running(**fields: object) -> RunRecord:
    return queued(**{"status": RunStatus.RUNNING, "attempt": 1, "owner": "w1", "lease_until": 100.0, **fields})


@dataclass
class Claimed:
    """What a worker believes: its run as claimed. It may be out of date by now."""

    run: RunRecord


class Life(RuleBasedStateMachine):
    """One run, and whoever wants something of it. ``skew``: how far two clocks differ at most; each write goes by one
    that is half of it ``ahead`` of the true time, or behind."""

    claims = Bundle("claims")
    skew = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.run = queued(retries=2, max_attempts=4, not_before=1000.0)
        self.outcomes: list[RunRecord] = []
        self.holders: list[tuple[str, int, float]] = []
        self.notices = 0
        self.released = 0
        self.seen = self.run

    def write(self, change: Change | None, ahead: float = 0.0) -> RunRecord | None:
        """One conditional write by a clock that goes ``ahead``; checks what must hold of every one."""
        now = self.now + ahead * self.skew / 2
        if change is None or not holds(change.when, self.run, now):
            return None
        before, self.run = self.run, applied(change, self.run, now)
        assert self.run.seq == before.seq + (change.event is not None)
        if change.then:
            assert not before.is_final, "an outcome is never replaced"
        if self.run.is_final and not before.is_final:
            self.outcomes.append(self.run)
            self.notices += len(change.outbox)
            assert (self.run.owner, self.run.lease_until, self.run.deadline) == (None, None, None)
            assert self.run.finished_at is not None
        else:
            assert not change.outbox or self.run.is_final, "only an outcome is told"
        return self.run

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0, 11.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=claims, owner=st.sampled_from(["w1", "w2", "w3"]), ahead=st.sampled_from([-1, 0, 1]))
    def claim(self, owner: str, ahead: float) -> object:
        before = self.run
        claimed = self.write(runstate.claim(owner, LEASE, self.skew, self.seen), ahead)
        self.seen = self.run
        if claimed is None:
            return multiple()
        assert claimed.attempt == before.attempt + 1 <= claimed.max_attempts
        assert not before.cancel_requested
        if before.status == RunStatus.RUNNING:
            assert before.lease_until is not None
            assert before.lease_until <= self.now - self.skew / 2, "a lease is taken when it has ended on every clock"
        return Claimed(claimed)

    @rule(claimed=claims, ahead=st.sampled_from([-1, 0, 1]))
    def renew(self, claimed: Claimed, ahead: float) -> None:
        mine = self.is_held_by(claimed)
        assert (self.write(runstate.renew(claimed.run, LEASE, progress="{}"), ahead) is not None) == mine

    @rule(claimed=claims, end=ENDS, always=st.booleans())
    def finish(self, claimed: Claimed, end: runstate.End, always: bool) -> None:
        mine = self.is_held_by(claimed)
        ending = Ending(end, error="why", retry_in=1.0, always_retry=always)
        after = self.write(runstate.finish(claimed.run, ending, [NOTICE]))
        if after is None and mine:
            # It was to be queued again and is to be cancelled: the worker looks and says so.
            assert self.run.cancel_requested
            after = self.write(runstate.finish(self.run, Ending("cancelled"), [NOTICE]))
        assert (after is not None) == mine, "what a stale worker says is refused, what the owner says is taken"

    @rule(claimed=claims)
    def release(self, claimed: Claimed) -> None:
        mine = self.is_held_by(claimed) and not self.run.cancel_requested
        after = self.write(runstate.release(claimed.run, "leaving"))
        assert (after is not None) == mine
        self.released += mine

    @rule(ahead=st.sampled_from([-1, 0, 1]))
    def reap(self, ahead: float) -> None:
        lease = self.run.lease_until
        after = self.write(runstate.reap(self.seen, "r", self.skew, [NOTICE]), ahead)
        if after is not None:
            assert lease is not None
            assert lease <= self.now - self.skew / 2
            assert after.status == (RunStatus.CANCELLED if after.cancel_requested else RunStatus.LOST)
            assert after.status != RunStatus.LOST or after.attempt == after.max_attempts, "lost only when spent"

    @rule()
    def look(self) -> None:
        self.seen = self.run

    @rule()
    def cancel(self) -> None:
        self.write(runstate.cancel(self.seen, "ann", [NOTICE]))

    @rule()
    def note(self) -> None:
        before = self.run
        assert self.write(runstate.note("1", "note", "ann", {})) == replace(before, seq=before.seq + 1)

    def is_held_by(self, claimed: Claimed) -> bool:
        same = (claimed.run.owner, claimed.run.attempt) == (self.run.owner, self.run.attempt)
        return same and self.run.status == RunStatus.RUNNING

    @invariant()
    def one_outcome_and_one_notice(self) -> None:
        assert len(self.outcomes) <= 1
        assert self.notices == len(self.outcomes) == self.run.is_final

    @invariant()
    def attempts_are_counted_and_bounded(self) -> None:
        assert self.run.attempt <= self.run.max_attempts == 4 + self.released
        assert self.run.failures <= self.run.retries + 1
        assert self.run.failures <= self.run.attempt

    @invariant()
    def is_of_one_piece(self) -> None:
        is_running = self.run.status == RunStatus.RUNNING
        assert (self.run.owner is not None) == (self.run.lease_until is not None) == is_running
        assert (self.run.finished_at is not None) == self.run.is_final
        if self.run.status == RunStatus.QUEUED:
            assert not self.run.cancel_requested
            assert self.run.attempt < self.run.max_attempts, "whoever waits can be claimed"

    def teardown(self) -> None:
        """Left alone by all, it ends: nobody waits for ever."""
        for _ in range(100):
            if self.run.is_final:
                return
            self.now += 400.0
            self.seen = self.run
            if self.write(runstate.claim("last", LEASE, self.skew, self.seen)) is None:
                self.write(runstate.reap(self.seen, "last", self.skew, [NOTICE]))
        raise AssertionError("the run did not end")


class SkewedLife(Life):
    skew = 4.0


TestLife = Life.TestCase
TestSkewedLife = SkewedLife.TestCase


@given(ENDS, st.booleans(), st.integers(0, 3), st.integers(0, 3), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_what_is_tried_again(
    end: runstate.End, always: bool, failures: int, retries: int, attempt: int, most: int, cancelled: bool
) -> None:
    run = running(failures=failures, retries=retries, attempt=attempt, max_attempts=most, cancel_requested=cancelled)
    ending = Ending(end, always_retry=always, retry_in=7.0)
    again = will_retry(run, ending)
    assert again == (
        end in ("failed", "timed_out") and attempt < most and not cancelled and (always or failures < retries)
    )
    change = runstate.finish(run, ending, [NOTICE])
    assert holds(change.when, run, 50.0)
    after = applied(change, run, 50.0)
    assert after.status == ("queued" if again else end)
    assert after.failures == failures + (end in ("failed", "timed_out") and not (again and always))
    assert after.not_before == (57.0 if again else run.not_before)
    assert bool(change.outbox) != again


def test_a_retry_is_refused_when_it_is_to_be_cancelled_meanwhile() -> None:
    claimed = running(retries=1)
    change = runstate.finish(claimed, Ending("failed"))
    assert not holds(change.when, replace(claimed, cancel_requested=True), 50.0)


@pytest.mark.parametrize("status", RunStatus)
def test_cancelling(status: RunStatus) -> None:
    run = queued(status=status)
    change = runstate.cancel(run, "ann", [NOTICE])
    if status in FINAL:
        assert change is None
        return
    assert change is not None
    after = applied(change, run, 50.0)
    assert after.cancel_requested
    assert after.status == ("cancelled" if status == "queued" else "running")
    assert bool(change.outbox) == after.is_final
    assert not holds(change.when, after, 50.0), "once is enough"


@pytest.mark.parametrize("status", RunStatus)
def test_only_lost_runs_get_new_attempts(status: RunStatus) -> None:
    run = queued(status=status, attempt=3, max_attempts=3, finished_at=40.0)
    change = runstate.requeue(run, "ann", 2)
    assert (change is not None) == (status == RunStatus.LOST)
    if change is not None:
        after = applied(change, run, 50.0)
        assert (after.status, after.attempt, after.max_attempts, after.not_before) == ("queued", 3, 5, 50.0)
        assert after.finished_at is None


@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(10, 1000))
def test_delays_grow_to_a_limit(failures: int, first: float, longest: float) -> None:
    delay = retry_delay(failures, first, longest)
    assert first <= delay <= longest
    assert retry_delay(failures + 1, first, longest) in (min(2 * delay, longest), longest)
