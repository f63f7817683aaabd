"""A state store beside the rules it translates: whatever is asked of it, it does what ``runstate.holds`` and
``runstate.applied`` say.

Times are whole multiples of ``FUTURE`` away from now, so that neither how long a test takes nor whose clock counts
changes what holds; they are compared roughly.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from bursty.changes import Add, AnyOf, Change, Clause, EventDraft, Is, IsBefore, IsLess, Now, NowPlus
from bursty.core import runstate
from bursty.core.runstate import Ending
from bursty.ports import StateStore
from bursty.records import FINAL, RUN_FIELDS, OutboxDraft, OutboxItem, RunQuery, RunRecord, RunStatus
from conformance.statestore_tools import FUTURE, PAST, make, only

TIMES = ("lease_until", "not_before", "deadline", "created_at", "started_at", "finished_at")
NOTICE = OutboxDraft("notice", {"to": "ann"})
FEW = settings(max_examples=60, stateful_step_count=30)


def same_run(found: RunRecord | None, expected: RunRecord | None) -> None:
    """Fail unless they are equal, times roughly."""
    assert (found is None) == (expected is None)
    if found is None or expected is None:
        return
    for name in RUN_FIELDS:
        one, other = getattr(found, name), getattr(expected, name)
        close = name in TIMES and one is not None and other is not None and abs(one - other) < FUTURE / 10
        assert one == other or close, f"{name}: {one!r}, not {other!r}"


# One change

STEPS = st.sampled_from([2 * PAST, PAST, 0.0, FUTURE, 2 * FUTURE])
LEASES = st.sampled_from([PAST, FUTURE, 2 * FUTURE])
SHIFTS = st.sampled_from([1.5 * PAST, 0.5 * PAST, 0.5 * FUTURE, 1.5 * FUTURE])
TEXTS = st.sampled_from([None, "a", "b", "é'\"%:s\\"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "status": st.sampled_from(list(RunStatus)),
    "attempt": st.integers(0, 3),
    "max_attempts": st.integers(0, 3),
    "priority": st.integers(-2, 2),
    "owner": TEXTS,
    "error": TEXTS,
    "cancel_requested": st.booleans(),
    "timeout": st.sampled_from([None, FUTURE, 2 * FUTURE]),
}
SPANS = ("not_before", "lease_until", "deadline")


def groups_of(inner: st.SearchStrategy[Clause]) -> st.SearchStrategy[Any]:
    """What ``AnyOf`` takes."""
    return st.lists(st.lists(inner, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple)


FIELDS = st.fixed_dictionaries(
    {**VALUES, **{name: STEPS | (st.none() if name != "not_before" else STEPS) for name in SPANS}}
)
ATOMS = st.one_of(
    st.sampled_from(sorted(VALUES)).flatmap(lambda name: VALUES[name].map(lambda value: Is(name, value))),
    st.builds(IsBefore, st.sampled_from(SPANS), st.builds(Now, SHIFTS)),
    st.builds(IsLess, st.just("attempt"), st.just("max_attempts"), st.booleans()),
)
CLAUSES: st.SearchStrategy[Clause] = st.recursive(ATOMS, lambda inner: st.builds(AnyOf, groups_of(inner)), max_leaves=6)
THEN = st.fixed_dictionaries(
    {},
    optional={
        **VALUES,
        "failures": st.builds(Add, st.integers(-1, 2)) | st.integers(0, 3),
        **{name: st.builds(Now, STEPS) | (st.none() if name != "not_before" else st.nothing()) for name in SPANS[:2]},
        "deadline": st.just(NowPlus("timeout")) | st.builds(Now, STEPS),
    },
)
EVENTS = st.none() | st.builds(
    EventDraft, st.sampled_from(["a", "b"]), st.just("ann"), st.sampled_from([{}, {"x": [1]}])
)


# Many changes


class Machine(RuleBasedStateMachine):
    """Runs of one app, driven at random, on the store and on paper. Other runs may be in the store."""

    numbers = itertools.count()
    runs = Bundle("runs")
    seen = Bundle("seen")
    items = Bundle("items")

    def __init__(self, store: StateStore) -> None:
        super().__init__()
        self.store = store
        self.app = f"app-{next(self.numbers):06}"
        self.paper: dict[str, RunRecord] = {}
        self.events: dict[str, list[tuple[str, str]]] = {}
        self.outbox: dict[str, list[OutboxItem]] = {}

    def teardown(self) -> None:
        names = list(self.paper)
        self.store.change(*(Change(name, (), {"status": RunStatus.CANCELLED}) for name in names))
        assert self.store.delete_runs(names) == len(names)
        for item in self.store.take_outbox(1000, FUTURE):
            self.store.outbox_done(item)
        for item in itertools.chain.from_iterable(self.outbox.values()):
            self.store.outbox_done(item)

    # Writing

    @rule(
        target=runs, priority=st.integers(0, 2), max_attempts=st.integers(1, 3), retries=st.integers(0, 2),
        later=STEPS, timeout=st.sampled_from([None, FUTURE]), key=st.sampled_from([None, None, "k", "l"]),
    )  # fmt: skip
    def submit(self, later: float, key: str | None, **fields: Any) -> str:
        not_before = self.store.now() + later if later else 0.0
        run = make(
            f"{self.app}/{next(self.numbers):06}", app=self.app, not_before=not_before, idempotency_key=key, **fields
        )
        present = [other for other in self.paper.values() if key is not None and other.idempotency_key == key]
        given, new = self.store.submit(run, EventDraft("submitted", "ann"))
        assert new == (not present)
        if present:
            same_run(given, only(present))
        else:
            now = self.store.now()
            same_run(given, replace(run, created_at=now, not_before=not_before or now, seq=1))
            self.paper[run.id], self.events[run.id] = given, [("submitted", "ann")]
        return given.id

    @rule(target=seen, owner=st.sampled_from(["w1", "w2"]), lease=LEASES, limit=st.integers(1, 3))
    def claim(self, owner: str, lease: float, limit: int) -> Any:
        change = runstate.claim(owner, lease, self.store.skew)
        now = self.store.now()
        fitting = [run for run in self.paper.values() if runstate.holds(change.when, run, now)]
        fitting.sort(key=lambda run: (-run.priority, run.not_before, run.id))
        claimed = self.store.claim(owner, lease, limit, self.app)
        assert [run.id for run in claimed] == [run.id for run in fitting[:limit]]
        for run in claimed:
            self.expect(replace(change, run=run.id), run)
        return multiple(*claimed)

    @rule(target=seen, name=runs)
    def look(self, name: str) -> Any:
        return self.paper.get(name) or multiple()

    def make_changes(self, *changes: Change | None) -> None:
        asked = [change for change in changes if change is not None]
        for change, after in zip(asked, self.store.change(*asked), strict=True):
            self.expect(change, after)

    def expect(self, change: Change, after: RunRecord | None) -> None:
        """The store did with a change what the rules say; note it down."""
        now, run = self.store.now(), self.paper.get(change.run or "")
        if run is None or not runstate.holds(change.when, run, now):
            assert after is None
            return
        same_run(after, runstate.applied(change, run, now))
        assert after is not None
        self.paper[run.id] = after
        if change.event is not None:
            self.events[run.id].append((change.event.kind, change.event.actor))
        if change.outbox:
            before = {item.id for item in self.outbox.get(run.id, [])}
            rows = [item for item in self.store.outbox(run.id) if item.id not in before]
            assert [(item.kind, item.data, item.tries) for item in rows] == [(d.kind, d.data, 0) for d in change.outbox]
            self.outbox.setdefault(run.id, []).extend(rows)

    @rule(run=seen, lease=LEASES, progress=st.sampled_from([None, "{}"]))
    def renew(self, run: RunRecord, lease: float, progress: str | None) -> None:
        self.make_changes(runstate.renew(run, lease, progress))

    @rule(run=seen, end=st.sampled_from(["succeeded", "failed", "timed_out", "cancelled"]), retry_in=LEASES)
    def finish(self, run: RunRecord, end: Any, retry_in: float) -> None:
        self.make_changes(runstate.finish(run, Ending(end, error=f"it {end}", retry_in=retry_in), [NOTICE]))

    @rule(run=seen)
    def release(self, run: RunRecord) -> None:
        self.make_changes(runstate.release(run, "leaving"))

    @rule(run=seen)
    def reap(self, run: RunRecord) -> None:
        self.make_changes(runstate.reap(run, "reaper", self.store.skew, [NOTICE, NOTICE]))

    @rule(run=seen)
    def cancel(self, run: RunRecord) -> None:
        self.make_changes(runstate.cancel(run, "ann", [NOTICE]))

    @rule(run=seen)
    def requeue(self, run: RunRecord) -> None:
        self.make_changes(runstate.requeue(run, "ann", 2))

    @rule(some=st.lists(seen, max_size=4))
    def end_some(self, some: list[RunRecord]) -> None:
        ends = [runstate.finish(run, Ending("succeeded"), [NOTICE]) for run in some]
        self.make_changes(*ends, *(runstate.note(run.id, "note", "ann", {"n": 1}) for run in some))

    @rule(names=st.lists(runs, max_size=3))
    def delete(self, names: list[str]) -> None:
        gone = {name for name in names if name in self.paper and self.paper[name].is_final}
        assert self.store.delete_runs(names) == len(gone)
        for name in gone:
            assert self.store.events(name) == []
            del self.paper[name], self.events[name]

    # Outbox

    @rule(target=items, limit=st.integers(1, 3), lease=LEASES)
    def take(self, limit: int, lease: float) -> Any:
        now = self.store.now()
        due = sorted((item.due, item.id) for items in self.outbox.values() for item in items if item.due <= now)
        taken = self.store.take_outbox(limit, lease)
        assert [item.id for item in taken] == [name for _, name in due[:limit]]
        for item in taken:
            place, before = self.place(item)
            same = replace(before, tries=before.tries + 1, due=item.due)
            assert item == same
            assert abs(item.due - now - lease) < FUTURE / 10
            self.outbox[item.run][place] = item
        return multiple(*taken)

    def place(self, item: OutboxItem) -> tuple[int, OutboxItem]:
        return next((n, row) for n, row in enumerate(self.outbox.get(item.run, [])) if row.id == item.id)

    @rule(item=items, delay=LEASES)
    def later(self, item: OutboxItem, delay: float) -> None:
        rows = [row for row in self.outbox.get(item.run, []) if (row.id, row.tries) == (item.id, item.tries)]
        assert self.store.outbox_later(item, delay, "no route") == bool(rows)
        if rows:
            place, before = self.place(item)
            row = next(row for row in self.store.outbox(item.run) if row.id == item.id)
            assert row == replace(before, error="no route", due=row.due)
            self.outbox[item.run][place] = row

    @rule(item=items)
    def done(self, item: OutboxItem) -> None:
        rows = [row for row in self.outbox.get(item.run, []) if (row.id, row.tries) == (item.id, item.tries)]
        assert self.store.outbox_done(item) == bool(rows)
        for row in rows:
            self.outbox[item.run].remove(row)

    # Reading

    @invariant()
    def reads_agree(self) -> None:
        runs = sorted(self.paper.values(), key=lambda run: run.id, reverse=True)
        assert list(self.store.find(RunQuery(app=self.app, limit=1000))) == runs
        now = self.store.now()
        queued = [run for run in runs if run.status == RunStatus.QUEUED]
        running = [run for run in runs if run.status == RunStatus.RUNNING]
        due = [run for run in queued if run.not_before <= now]
        pending = self.store.pending(self.app)
        counts = pending.due, pending.later, pending.running, pending.outbox
        assert counts == (len(due), len(queued) - len(due), len(running), sum(map(len, self.outbox.values())))
        times = [run.not_before for run in queued] + [run.lease_until or 0.0 for run in running]
        assert (pending.next_at is None) == (not times)
        assert pending.next_at is None or abs(pending.next_at - min(times)) < FUTURE / 10
        reaped = [run for run in running if (change := runstate.reap(run, "r", self.store.skew))
                  and runstate.holds(change.when, run, now)]  # fmt: skip
        assert sorted(run.id for run in self.store.expired(1000) if run.app == self.app) == sorted(r.id for r in reaped)

    @rule(name=runs)
    def history_agrees(self, name: str) -> None:
        if name in self.paper:
            events = self.store.events(name)
            assert [(event.kind, event.actor) for event in events] == self.events[name]
            assert [event.seq for event in events] == list(range(1, self.paper[name].seq + 1))
            assert self.store.get(name) == self.paper[name]

    @rule(status=st.sampled_from([None, *FINAL, RunStatus.QUEUED, RunStatus.RUNNING]), open_only=st.booleans())
    def queries_agree(self, status: RunStatus | None, open_only: bool) -> None:
        fitting = sorted(
            (run for run in self.paper.values() if status in (None, run.status) and not (open_only and run.is_final)),
            key=lambda run: run.id, reverse=True,
        )  # fmt: skip
        assert list(self.store.find(RunQuery(app=self.app, status=status, open_only=open_only, limit=3))) == fitting[:3]


class ModelContract:
    """The store and the rules, side by side."""

    def test_a_change_does_what_the_rules_say(self, store: StateStore) -> None:
        names = itertools.count()

        @settings(max_examples=200)
        @given(FIELDS, st.lists(CLAUSES, max_size=3).map(tuple), THEN, EVENTS)
        def check(
            fields: dict[str, Any], when: tuple[Clause, ...], then: dict[str, Any], event: EventDraft | None
        ) -> None:
            name, now = f"{next(names):06}", store.now()
            spans = {span: step and now + step for span, step in fields.items() if span in SPANS}
            run = replace(make(name), **{**fields, **spans})
            store.submit(replace(run, status=RunStatus.QUEUED), EventDraft("submitted", "ann"))
            before = only(store.change(Change(name, (), {"status": run.status, "not_before": run.not_before})))
            assert before is not None
            change = Change(name, when, then, event)
            after = only(store.change(change))
            same_run(after, runstate.applied(change, before, now) if runstate.holds(when, before, now) else None)
            assert store.get(name) == (after or before)
            assert len(store.events(name)) == 1 + (after is not None and event is not None)

        check()

    def test_a_history_is_what_the_rules_say(self, store: StateStore) -> None:
        run_state_machine_as_test(lambda: Machine(store), settings=FEW)
