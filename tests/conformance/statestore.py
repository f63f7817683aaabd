"""What every ``StateStore`` does. Subclass ``StateStoreSuite`` and give two fixtures: ``store``, an empty store, and
``open_again``, which opens a further connection to the same store.

Nothing here waits for time to pass: leases and delays of ``PAST`` seconds are over at once, those of ``FUTURE`` don't
end during a test. Clocks may differ by less than these.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import fields, replace

import pytest

from bursty.changes import Add, Change, EventDraft, Is, IsBefore, Now, NowPlus
from bursty.core import runstate
from bursty.core.runstate import Ending
from bursty.ports import StateStore
from bursty.records import OutboxDraft, Pending, RunQuery, RunRecord, RunStatus
from conformance.statestore_documents import DocumentContract
from conformance.statestore_handover import HandOverContract
from conformance.statestore_model import ModelContract
from conformance.statestore_outbox import OutboxContract
from conformance.statestore_races import RaceContract
from conformance.statestore_tools import FUTURE, PAST, claim_one, ended_by, make, only, submit

OpenAgain = Callable[[], StateStore]
GARBAGE = "bad \0 text \udcff of a \ud800 job"


class RunContract:
    """Runs: inserting, finding and counting them."""

    def test_gives_back_what_was_submitted(self, store: StateStore, open_again: OpenAgain) -> None:
        run = make(
            "018f-é", app="app \"1\" 'ü'", job="files/a.py::job", version="f" * 64, inputs=json.dumps(["é" * 9000]),
            inputs_hash="0" * 64, idempotency_key="key/ü 1", max_attempts=5, retries=2, priority=-7, timeout=0.1 + 0.2,
            external_id="arn:1", created_by="ann@example.com", rerun_of="017f", schedule="daily", progress="{}",
            metrics='{"a": 1.5}', output="runs/1/1", error="line 1\nline 2\\", failures=1,
        )  # fmt: skip
        untouched = {field.name for field in fields(RunRecord) if getattr(run, field.name) == field.default}
        assert untouched <= {
            "status", "attempt", "owner", "lease_until", "not_before", "deadline", "cancel_requested", "created_at",
            "started_at", "finished_at", "seq",
        }, "give every new field a value here"  # fmt: skip
        before = store.now()
        stored, new = store.submit(run, EventDraft("submitted", "ann", {"from": "é"}))
        assert new
        assert before - store.skew <= stored.created_at <= store.now() + store.skew
        assert stored == replace(run, created_at=stored.created_at, not_before=stored.created_at, seq=1)
        for other in (store, open_again()):
            assert other.get(run.id) == stored
            assert other.find(RunQuery()) == [stored]
            event = only(other.events(run.id))
            assert (event.subject, event.seq, event.kind, event.actor) == (run.id, 1, "submitted", "ann")
            assert event.data == {"from": "é"}
            assert event.at == pytest.approx(stored.created_at, abs=60)

    def test_types_come_back(self, store: StateStore) -> None:
        submit(store, "1")
        run = claim_one(store)
        assert type(run.status) is RunStatus
        assert run.cancel_requested is False
        assert [type(value) for value in (run.attempt, run.lease_until, run.not_before)] == [int, float, float]

    def test_not_before_is_kept(self, store: StateStore) -> None:
        due = store.now() + FUTURE
        stored = submit(store, "1", not_before=due)
        assert stored.not_before == due
        assert store.claim("w", 10, 5) == []

    def test_what_is_not_there(self, store: StateStore) -> None:
        assert store.get("none") is None
        assert store.find(RunQuery()) == []
        assert store.events("none") == []
        assert store.outbox("none") == []
        assert store.claim("w", 10, 5) == []
        assert store.expired(5) == []
        assert store.pending() == Pending()
        assert store.change() == []
        assert store.change(runstate.note("none", "note", "ann", {})) == [None]
        assert store.delete_runs(["none"]) == 0
        assert store.delete_runs([]) == 0

    def test_one_run_per_idempotency_key_and_app(self, store: StateStore) -> None:
        first = submit(store, "1", idempotency_key="a")
        again = store.submit(make("2", idempotency_key="a"), EventDraft("submitted", "bob"))
        assert again == (first, False)
        assert store.get("2") is None
        assert [event.actor for event in store.events("1")] == ["ann"]
        for name, options in {"3": {"idempotency_key": "b"}, "4": {"idempotency_key": "a", "app": "other"}}.items():
            assert store.submit(make(name, **options), EventDraft("submitted", "ann"))[1]
        for name in ("5", "6"):
            assert store.submit(make(name), EventDraft("submitted", "ann"))[1], "runs without a key are not the same"

    def test_the_same_id_is_the_same_run(self, store: StateStore) -> None:
        for key in (None, "a"):
            run = make(f"id-{key}", idempotency_key=key)
            stored, _ = store.submit(run, EventDraft("submitted", "ann"))
            assert store.submit(run, EventDraft("submitted", "ann")) == (stored, False)
            assert len(store.events(run.id)) == 1

    def test_finds_by_every_field_newest_first(self, store: StateStore) -> None:
        for number in range(12):
            odd = number % 2
            submit(
                store, f"{number:02}", app=f"a{number % 3}", job=f"j{odd}", version=f"v{odd}",
                created_by=f"u{odd}", schedule=f"s{odd}" if number % 3 else None, inputs_hash=f"h{odd}",
            )  # fmt: skip
        store.change(*(ended_by(run, "succeeded") for run in store.claim("w", 10, 4, "a0")))
        everything = [store.get(f"{number:02}") for number in reversed(range(12))]
        for name in ("app", "job", "status", "version", "created_by", "schedule", "inputs_hash"):
            for value in {getattr(run, name) for run in everything} - {None}:
                expected = [run for run in everything if getattr(run, name) == value]
                assert expected
                assert store.find(RunQuery(**{name: value})) == expected
        assert store.find(RunQuery(app="a1", job="j1", status=RunStatus.QUEUED)) == [store.get("07"), store.get("01")]
        assert store.find(RunQuery(open_only=True)) == [run for run in everything if run and not run.is_final]
        assert store.find(RunQuery(job="none")) == []

    def test_pages_by_id(self, store: StateStore) -> None:
        for number in range(7):
            submit(store, f"{number}", job=f"j{number % 2}")
        pages: list[list[str]] = []
        before = None
        while page := store.find(RunQuery(before=before, limit=3)):
            pages.append([run.id for run in page])
            before = page[-1].id
        assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"]]
        assert [run.id for run in store.find(RunQuery(job="j1", before="5", limit=1))] == ["3"]

    def test_counts_what_is_pending(self, store: StateStore) -> None:
        due = store.now() + FUTURE
        for name, options in {"1": {}, "2": {}, "3": {}, "4": {"not_before": due}, "5": {"app": "other"}}.items():
            submit(store, name, **options)
        store.change(ended_by(claim_one(store), "failed", [OutboxDraft("notice")]))
        running = claim_one(store, lease=2 * FUTURE)
        assert replace(store.pending("app"), next_at=None) == Pending(due=1, later=1, running=1, outbox=1)
        assert replace(store.pending("other"), next_at=None) == Pending(due=1)
        assert replace(store.pending(), next_at=None) == Pending(due=2, later=1, running=1, outbox=1)
        third = store.get("3")
        assert third is not None
        assert store.pending("app").next_at == pytest.approx(third.not_before), "one is due already"
        claim_one(store, lease=3 * FUTURE)
        assert store.pending("app").next_at == pytest.approx(due), "the next one that is due"
        store.change(only_cancelled(store, "4"))
        assert store.pending("app").next_at == pytest.approx(running.lease_until), "the next lease that ends"
        assert store.pending("app") != Pending()
        assert store.pending("none") == Pending()

    def test_deletes_final_runs_only(self, store: StateStore, open_again: OpenAgain) -> None:
        for name in ("1", "2", "3", "4"):
            submit(store, name, idempotency_key=name)
        store.change(*(ended_by(run, "succeeded", [OutboxDraft("notice")]) for run in store.claim("w", 10, 2)))
        claim_one(store)
        taken = only(store.take_outbox(1, FUTURE))
        assert store.outbox_done(taken)
        assert store.delete_runs(["1", "2", "2", "3", "4", "5"]) == 2
        assert [run.id for run in open_again().find(RunQuery())] == ["4", "3"]
        assert store.events("1") == []
        assert len(store.events("3")) == 2
        assert len(store.take_outbox(5, FUTURE)) == 1, "what is undelivered is delivered yet"
        assert store.submit(make("6", idempotency_key="1"), EventDraft("submitted", "ann"))[1], "its key is free again"

    def test_deletes_many(self, store: StateStore) -> None:
        names = [f"{number:03}" for number in range(120)]
        for name in names:
            submit(store, name)
        store.change(*(only_cancelled(store, name) for name in names))
        assert store.delete_runs(names) == 120
        assert store.find(RunQuery()) == []


def only_cancelled(store: StateStore, name: str) -> Change:
    """What cancels a queued run."""
    run = store.get(name)
    change = run and runstate.cancel(run, "ann")
    assert change
    return change


class ChangeContract:
    """Conditional writes."""

    def test_the_life_of_a_run(self, store: StateStore) -> None:
        submitted = submit(store, "1", timeout=50.0, progress="old", error="old")
        run = only(store.claim("worker-1", FUTURE, 5))
        assert run.started_at is not None
        assert run.lease_until == pytest.approx(run.started_at + FUTURE, abs=1)
        assert run.deadline == pytest.approx(run.started_at + 50, abs=1)
        assert run == replace(
            submitted, status=RunStatus.RUNNING, attempt=1, owner="worker-1", lease_until=run.lease_until,
            deadline=run.deadline, started_at=run.started_at, progress=None, error=None, seq=2,
        )  # fmt: skip
        renewed = only(store.change(runstate.renew(run, 2 * FUTURE, progress='{"done": 1}')))
        assert renewed is not None
        assert renewed == replace(run, lease_until=renewed.lease_until, progress='{"done": 1}')
        assert renewed.lease_until is not None
        assert renewed.lease_until > run.lease_until + FUTURE / 2
        ending = Ending("succeeded", output="runs/1/1", metrics='{"mean": 1}')
        done = only(store.change(runstate.finish(run, ending)))
        assert done is not None
        assert done == replace(
            renewed, status=RunStatus.SUCCEEDED, owner=None, lease_until=None, deadline=None, output="runs/1/1",
            metrics='{"mean": 1}', finished_at=done.finished_at, seq=3,
        )  # fmt: skip
        assert store.get("1") == done
        events = store.events("1")
        assert [(e.seq, e.kind, e.actor) for e in events] == [
            (1, "submitted", "ann"), (2, "started", "worker-1"), (3, "succeeded", "worker-1")
        ]  # fmt: skip
        assert store.events("1", after=1) == events[1:]
        assert store.events("1", after=3) == []
        assert [event.at for event in events] == sorted(event.at for event in events)

    def test_a_refused_change_leaves_everything(self, store: StateStore) -> None:
        submit(store, "1")
        run = claim_one(store, lease=PAST)
        mine = claim_one(store, "worker-2")
        stale = runstate.finish(run, Ending("failed", error="late"), [OutboxDraft("notice")])
        assert store.change(stale) == [None]
        assert store.change(runstate.renew(run, FUTURE)) == [None]
        assert store.change(runstate.release(run, "leaving")) == [None]
        assert store.get("1") == mine
        assert [event.kind for event in store.events("1")] == ["submitted", "started", "started"]
        assert store.outbox("1") == []

    def test_an_outcome_is_never_replaced(self, store: StateStore) -> None:
        submit(store, "1")
        run = claim_one(store, lease=PAST)
        done = only(store.change(ended_by(run, "succeeded")))
        for end in ("failed", "succeeded", "cancelled", "timed_out"):
            assert store.change(ended_by(run, end)) == [None]
        assert store.claim("w", 10, 5) == []
        assert store.expired(5) == []
        assert store.get("1") == done

    def test_several_changes_at_once(self, store: StateStore) -> None:
        for name in ("1", "2", "3"):
            submit(store, name)
        third, first = (runstate.note(name, "note", "ann", {"on": name}) for name in ("3", "1"))
        refused = Change("2", (Is("attempt", 7),), {"error": "no"}, EventDraft("no", "ann"), (OutboxDraft("notice"),))
        after = store.change(third, refused, first, third, runstate.note("none", "note", "ann", {}))
        assert [run and (run.id, run.seq) for run in after] == [("3", 2), None, ("1", 2), ("3", 3), None]
        assert [len(store.events(name)) for name in ("1", "2", "3")] == [2, 1, 3]
        assert store.outbox("2") == []

    def test_many_changes_at_once(self, store: StateStore) -> None:
        for number in range(150):
            submit(store, f"{number:03}")
        runs = store.claim("w", FUTURE, 150)
        after = store.change(*(ended_by(run, "succeeded", [OutboxDraft("notice", {"run": run.id})]) for run in runs))
        assert [run and run.id for run in after] == [run.id for run in runs]
        assert {run.status for run in after if run} == {RunStatus.SUCCEEDED}
        assert store.pending().outbox == 150

    def test_times_are_the_store_s(self, store: StateStore) -> None:
        submit(store, "1", timeout=5.0)
        set_times = {"deadline": NowPlus("timeout"), "started_at": Now(PAST), "finished_at": Now(), "lease_until": None}
        run = only(store.change(Change("1", (), {**set_times, "priority": Add(-3)})))
        now = store.now()
        assert run is not None
        assert (run.deadline, run.started_at, run.finished_at) == pytest.approx((now + 5, now + PAST, now), abs=60)
        assert (run.lease_until, run.priority, run.seq) == (None, -3, 1)
        without = only(store.change(Change("1", (), {"timeout": None})))
        assert without is not None
        again = only(store.change(Change("1", (), {"deadline": NowPlus("timeout")})))
        assert again is not None
        assert again.deadline is None, "no timeout, no deadline"
        assert store.change(Change("1", (IsBefore("deadline", Now(FUTURE)),), {})) == [None], "none is never before"

    def test_any_text_is_recorded(self, store: StateStore) -> None:
        store.submit(make("1", created_by=GARBAGE), EventDraft("submitted", GARBAGE, {"text": GARBAGE}))
        run = claim_one(store)
        done = only(
            store.change(runstate.finish(run, Ending("failed", error=GARBAGE), [OutboxDraft("notice", {"e": GARBAGE})]))
        )
        assert done is not None
        assert done == store.get("1")
        assert done.error == done.created_by == "bad � text � of a � job"
        assert store.events("1")[0].data == {"text": GARBAGE}
        assert only(store.outbox("1")).data == {"e": GARBAGE}


class ClaimContract:
    """Claims, leases, and what ends the runs of dead workers."""

    def test_by_priority_then_due_time_then_id(self, store: StateStore) -> None:
        now = store.now()
        order = {
            "e": {"priority": 5, "not_before": now - 1}, "d": {"priority": 0, "not_before": now - 100},
            "b": {"priority": 0, "not_before": now - 50}, "c": {"priority": 0, "not_before": now - 50},
            "a": {"priority": -5, "not_before": now - 1000},
        }  # fmt: skip
        for name in reversed(order):
            submit(store, name, **order[name])
        assert [run.id for run in store.claim("w", FUTURE, 3)] == ["e", "d", "b"]
        assert [run.id for run in store.claim("w", FUTURE, 3)] == ["c", "a"]
        assert store.claim("w", FUTURE, 3) == []

    def test_of_one_app(self, store: StateStore) -> None:
        submit(store, "1", app="a")
        submit(store, "2", app="b")
        assert [run.id for run in store.claim("w", FUTURE, 5, "b")] == ["2"]
        assert store.claim("w", FUTURE, 5, "b") == []
        assert [run.id for run in store.claim("w", FUTURE, 5)] == ["1"]

    def test_an_ended_lease_is_claimed_again_until_attempts_are_spent(self, store: StateStore) -> None:
        submit(store, "1", max_attempts=3)
        attempts = [claim_one(store, f"worker-{number}", lease=PAST) for number in range(3)]
        assert [run.attempt for run in attempts] == [1, 2, 3]
        assert store.claim("w", FUTURE, 5) == []
        assert only(store.expired(5)) == attempts[-1]
        assert [event.actor for event in store.events("1")[1:]] == ["worker-0", "worker-1", "worker-2"]
        change = runstate.reap(attempts[-1], "worker-9", store.skew, [OutboxDraft("notice")])
        assert change is not None
        lost = only(store.change(change))
        assert lost is not None
        assert (lost.status, lost.owner, lost.lease_until) == (RunStatus.LOST, None, None)
        assert store.change(change) == [None]
        assert store.expired(5) == []
        assert len(store.outbox("1")) == 1

    def test_a_lease_is_its_owner_s_until_it_ends(self, store: StateStore) -> None:
        submit(store, "1", max_attempts=1)
        run = claim_one(store, lease=FUTURE)
        assert store.claim("w", FUTURE, 5) == []
        assert store.expired(5) == []
        change = runstate.reap(run, "w", store.skew)
        assert change is not None
        assert store.change(change) == [None]

    def test_those_to_be_cancelled_are_not_claimed_but_reaped(self, store: StateStore) -> None:
        submit(store, "1")
        run = claim_one(store, lease=PAST)
        flag = runstate.cancel(run, "ann")
        assert flag is not None
        run = only(store.change(flag))
        assert run is not None
        assert run.cancel_requested
        assert store.claim("w", FUTURE, 5) == []
        assert only(store.expired(5)) == run
        change = runstate.reap(run, "w", store.skew)
        assert change is not None
        cancelled = only(store.change(change))
        assert cancelled is not None
        assert cancelled.status == RunStatus.CANCELLED

    def test_expired_ones_up_to_a_limit(self, store: StateStore) -> None:
        for number in range(5):
            submit(store, f"{number}", max_attempts=1)
        store.claim("w", PAST, 5)
        assert len(store.expired(2)) == 2
        assert len(store.expired(9)) == 5

    def test_retries_and_released_ones_are_claimed_again(self, store: StateStore) -> None:
        submit(store, "1", retries=3, max_attempts=4)
        run = claim_one(store)
        later = only(store.change(runstate.finish(run, Ending("failed", error="x", retry_in=FUTURE))))
        assert later is not None
        assert (later.status, later.failures, later.error) == (RunStatus.QUEUED, 1, "x")
        assert store.claim("w", FUTURE, 5) == []
        store.change(Change("1", (), {"not_before": Now(PAST)}))
        run = claim_one(store)
        assert run.attempt == 2
        released = only(store.change(runstate.release(run, "leaving")))
        assert released is not None
        assert (released.status, released.max_attempts) == (RunStatus.QUEUED, 5)
        assert claim_one(store).attempt == 3

    def test_cancels_queued_ones_at_once(self, store: StateStore) -> None:
        submit(store, "1")
        done = only(store.change(only_cancelled(store, "1")))
        assert done is not None
        assert done.status == RunStatus.CANCELLED
        assert store.claim("w", FUTURE, 5) == []


class WaitContract:
    """Waiting for runs. Threads that never come back fail the test by its deadline."""

    @pytest.mark.parametrize("how", ["submit", "retry", "release", "requeue"])
    def test_ends_when_a_run_becomes_due(self, store: StateStore, open_again: OpenAgain, how: str) -> None:
        other = open_again()
        become_due = prepare(store, how)
        assert store.claim("w", FUTURE, 5) == []
        waiter = Waiter(store, until=lambda: bool(store.claim("w", FUTURE, 1)))
        become_due(other)
        waiter.ends()

    def test_misses_nothing_between_claim_and_wait(self, store: StateStore, open_again: OpenAgain) -> None:
        assert store.claim("w", FUTURE, 5) == []
        submit(open_again(), "1")
        store.wait(600)  # in the thread that looked; pytest's time-out is shorter
        assert len(store.claim("w", FUTURE, 5)) == 1

    def test_ends_when_a_later_run_becomes_due(self, store: StateStore) -> None:
        submit(store, "1", not_before=store.now() + 0.5)
        waiter = Waiter(store, until=lambda: bool(store.claim("w", FUTURE, 1)))
        waiter.ends()

    def test_ends_when_a_lease_ends(self, store: StateStore) -> None:
        submit(store, "1")
        claim_one(store, lease=0.5 - store.skew)
        waiter = Waiter(store, until=lambda: bool(store.claim("w", FUTURE, 1)))
        waiter.ends()

    def test_ends_after_its_time(self, store: StateStore) -> None:
        store.wait(0.05)
        store.wait(0)

    def test_wake_ends_every_wait_of_this_process(self, store: StateStore) -> None:
        waiters = [Waiter(store) for _ in range(3)]
        for waiter in waiters:
            waiter.ends(store.wake)


def prepare(store: StateStore, how: str) -> Callable[[StateStore], object]:
    """Bring a run so far that the function given back makes it due."""
    if how == "submit":
        return lambda other: submit(other, "1")
    submit(store, "1", retries=1, max_attempts=1 if how == "requeue" else 3)
    run = claim_one(store, lease=PAST if how == "requeue" else FUTURE)
    if how == "retry":
        return lambda other: other.change(runstate.finish(run, Ending("failed")))
    if how == "release":
        return lambda other: other.change(runstate.release(run, "leaving"))
    reap = runstate.reap(run, "w", store.skew)
    assert reap is not None
    lost = only(store.change(reap))
    change = lost and runstate.requeue(lost, "ann", 3)
    assert change
    return lambda other: other.change(change)


class Waiter:
    """A thread that waits until something holds; not by its first wait, for that one may end at once."""

    def __init__(self, store: StateStore, until: Callable[[], bool] = lambda: True) -> None:
        self._store = store
        self._until = until
        self._begins = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._begins.wait(60)

    def _run(self) -> None:
        self._store.wait(0)
        self._begins.set()
        while True:
            self._store.wait(600)
            if self._until():
                return

    def ends(self, push: Callable[[], object] = lambda: None) -> None:
        """Fail unless the thread ends in good time; ``push`` is done again and again, for it may begin late."""
        for _ in range(600):
            push()
            self._thread.join(0.1)
            if not self._thread.is_alive():
                return
        raise AssertionError("the wait did not end")


class StateStoreSuite(
    RunContract,
    ChangeContract,
    ClaimContract,
    HandOverContract,
    WaitContract,
    OutboxContract,
    DocumentContract,
    RaceContract,
    ModelContract,
):
    """All of it."""


__all__ = ["GARBAGE", "OpenAgain", "StateStoreSuite"]
