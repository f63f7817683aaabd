"""``change_and_claim`` in the state store's suite: one run's end and the next one's beginning, written as one."""

from collections import Counter
from collections.abc import Callable
from itertools import chain

from bursty.core import runstate
from bursty.core.runstate import Ending
from bursty.ports import StateStore
from bursty.records import OutboxDraft, RunStatus
from conformance.blobstore import together
from conformance.statestore_tools import FUTURE, PAST, claim_one, ended_by, only, submit

THREADS = 6


class HandOverContract:
    """The same as both calls, one after the other."""

    def test_ends_one_and_begins_the_next(self, store: StateStore) -> None:
        for name in ("1", "2", "3"):
            submit(store, name)
        first = claim_one(store, "w")
        end = ended_by(first, "succeeded", [OutboxDraft("notice", {"a": 1})])
        after, claimed = store.change_and_claim([end], "w", FUTURE, 1)
        assert (only(after), only(claimed)) == (store.get("1"), store.get("2"))
        assert store.get("1").status is RunStatus.SUCCEEDED
        assert (store.get("2").status, store.get("2").owner, store.get("2").attempt) == (RunStatus.RUNNING, "w", 1)
        assert [event.kind for event in store.events("1")] == ["submitted", "started", "succeeded"]
        assert [event.kind for event in store.events("2")] == ["submitted", "started"]
        assert [item.data for item in store.outbox("1")] == [{"a": 1}]
        assert store.get("3").status is RunStatus.QUEUED

    def test_several_end_and_several_begin(self, store: StateStore) -> None:
        for number in range(8):
            submit(store, f"{number}", app=f"a{number % 2}")
        ends = [ended_by(run, "succeeded") for run in reversed(store.claim("w", FUTURE, 3, "a0"))]
        after, claimed = store.change_and_claim(ends, "w", FUTURE, 2, "a1")
        assert [run and run.id for run in after] == ["4", "2", "0"]
        assert [run.id for run in claimed] == ["1", "3"]
        assert [run.id for run in store.change_and_claim([], "w", FUTURE, 9)[1]] == ["5", "6", "7"]
        assert store.change_and_claim([], "w", FUTURE, 9) == ([], [])

    def test_a_refused_end_keeps_nobody_from_the_next(self, store: StateStore) -> None:
        submit(store, "1")
        stale = claim_one(store, "slow", PAST)
        mine = claim_one(store, "quick")
        submit(store, "2")
        after, claimed = store.change_and_claim(
            [ended_by(stale, "succeeded", [OutboxDraft("notice")])], "slow", FUTURE, 5
        )
        assert list(after) == [None]
        assert only(claimed).id == "2"
        assert store.get("1") == mine
        assert store.outbox("1") == []

    def test_an_end_after_the_lease_s_end_is_the_only_one(self, store: StateStore) -> None:
        """The run that ends could itself be claimed by the same call."""
        submit(store, "1")
        submit(store, "2")
        late = only(store.claim("w", PAST, 1))
        after, claimed = store.change_and_claim([ended_by(late, "succeeded")], "w", FUTURE, 5)
        assert only(after).status is RunStatus.SUCCEEDED
        assert [run.id for run in claimed] == ["2"]
        assert store.get("1") == only(after)
        assert [event.seq for event in store.events("1")] == [1, 2, 3]

    def test_a_retry_is_told_and_claimed_now_or_next(self, store: StateStore) -> None:
        submit(store, "1", retries=1)
        failed = runstate.finish(claim_one(store, "w"), Ending("failed", "no", retry_in=PAST))
        after, claimed = store.change_and_claim([failed], "w", FUTURE, 1)
        assert only(after).status is RunStatus.QUEUED
        again = only([*claimed, *store.claim("w", FUTURE, 1)])
        assert (again.id, again.attempt) == ("1", 2)
        assert [event.kind for event in store.events("1")] == ["submitted", "started", "retry", "started"]

    def test_workers_at_once_make_each_run_once(self, store: StateStore, open_again: Callable[[], StateStore]) -> None:
        stores = [store if number % 2 else open_again() for number in range(THREADS)]
        for number in range(60):
            submit(store, f"{number:02}")

        def work(number: int) -> list[str]:
            made: list[str] = []
            held = list(stores[number].claim(f"w{number}", FUTURE, 1 + number % 2))
            while held:
                made += [run.id for run in held]
                ends = [ended_by(run, "succeeded") for run in held]
                after, held = stores[number].change_and_claim(ends, f"w{number}", FUTURE, 1 + number % 2)
                assert all(run is not None and run.status is RunStatus.SUCCEEDED for run in after)
            return made

        made = Counter(chain.from_iterable(together(THREADS, work)))
        assert len(made) == made.total() == 60
        assert all([event.seq for event in store.events(f"{number:02}")] == [1, 2, 3] for number in range(60))
