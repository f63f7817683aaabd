"""The races of the state store's suite: threads, half of them with connections of their own."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain

import pytest

from bursty.changes import Add, Change, EventDraft
from bursty.core import runstate
from bursty.ports import StateStore
from bursty.records import OutboxDraft, OutboxItem, Pending, RunQuery, RunRecord
from conformance.blobstore import together
from conformance.statestore_tools import FUTURE, PAST, ended_by, make, only, submit

THREADS = 8


class RaceContract:
    """What holds however many do it at once."""

    @pytest.fixture
    def stores(self, store: StateStore, open_again: Callable[[], StateStore]) -> list[StateStore]:
        return [store if number % 2 else open_again() for number in range(THREADS)]

    def test_no_run_is_claimed_twice(self, stores: list[StateStore]) -> None:
        for number in range(100):
            submit(stores[0], f"{number:03}", priority=number % 3)

        def work(number: int) -> list[str]:
            return [run.id for run in drain(lambda: stores[number].claim(f"w{number}", FUTURE, 3))]

        claimed = Counter(chain.from_iterable(together(THREADS, work)))
        assert len(claimed) == claimed.total() == 100

    def test_no_attempt_is_given_twice(self, stores: list[StateStore]) -> None:
        for number in range(10):
            submit(stores[0], f"{number}", max_attempts=5)

        def work(number: int) -> list[tuple[str, int]]:
            return [(run.id, run.attempt) for run in drain(lambda: stores[number].claim(f"w{number}", PAST, 2))]

        claimed = Counter(chain.from_iterable(together(THREADS, work)))
        assert claimed == {(f"{number}", attempt): 1 for number in range(10) for attempt in range(1, 6)}
        for number in range(10):
            assert [event.seq for event in stores[0].events(f"{number}")] == list(range(1, 7))

    def test_one_of_many_finishes_counts(self, stores: list[StateStore]) -> None:
        for number in range(10):
            submit(stores[0], f"{number}")
        runs = stores[0].claim("w", FUTURE, 10)

        def work(number: int) -> list[RunRecord]:
            end = ("succeeded", "failed", "cancelled")[number % 3]
            done = [stores[number].change(ended_by(run, end, [OutboxDraft("notice")])) for run in runs]
            return [run for changed in done for run in changed if run]

        finished = {run.id: run for run in chain.from_iterable(together(THREADS, work))}
        assert stores[0].find(RunQuery()) == sorted(finished.values(), key=lambda run: run.id, reverse=True)
        assert [len(stores[0].events(run.id)) for run in runs] == [3] * 10
        assert stores[0].pending().outbox == 10

    def test_a_stale_finish_or_another_claim(self, stores: list[StateStore]) -> None:
        for number in range(30):
            submit(stores[0], f"{number:02}")
        runs = stores[0].claim("old", PAST, 30)

        def work(number: int) -> list[str]:
            if number % 2:
                return [run.id for run in drain(lambda: stores[number].claim("new", FUTURE, 2))]
            return [run.id for run in runs for done in stores[number].change(ended_by(run, "succeeded")) if done]

        winners = Counter(chain.from_iterable(together(THREADS, work)))
        assert winners == {run.id: 1 for run in runs}

    def test_a_cancel_or_a_claim(self, stores: list[StateStore]) -> None:
        for number in range(30):
            submit(stores[0], f"{number:02}")
        queued = stores[0].find(RunQuery())
        cancels = [change for run in queued if (change := runstate.cancel(run, "ann"))]

        def work(number: int) -> list[str]:
            if number % 2:
                return [run.id for run in drain(lambda: stores[number].claim("w", FUTURE, 2))]
            return [run.id for change in cancels for run in stores[number].change(change) if run]

        assert Counter(chain.from_iterable(together(THREADS, work))) == {run.id: 1 for run in queued}

    def test_changes_in_any_order_never_deadlock(self, stores: list[StateStore]) -> None:
        names = ["1", "2", "3", "4"]
        for name in names:
            submit(stores[0], name)
        add = [Change(name, (), {"failures": Add(1)}, EventDraft("added", "ann")) for name in names]

        def work(number: int) -> None:
            for turn in range(10):
                turned = add[turn % 4 :] + add[: turn % 4]
                assert all(stores[number].change(*(turned if number % 2 else reversed(turned))))

        together(THREADS, work)
        assert [run.failures for run in stores[0].find(RunQuery())] == [THREADS * 10] * 4
        for name in names:
            assert [event.seq for event in stores[0].events(name)] == list(range(1, THREADS * 10 + 2))

    def test_one_run_of_one_key(self, stores: list[StateStore]) -> None:
        def work(number: int) -> tuple[RunRecord, bool]:
            run = make(f"{number}", idempotency_key="daily")
            return stores[number % THREADS].submit(run, EventDraft("submitted", "ann"))

        given = together(20, work)
        assert sum(new for _, new in given) == 1
        assert {run.id for run, _ in given} == {only(stores[0].find(RunQuery())).id}
        assert len(stores[0].events(given[0][0].id)) == 1

    def test_a_hundred_submit_at_once(self, stores: list[StateStore]) -> None:
        together(100, lambda number: submit(stores[number % THREADS], f"{number:03}"))
        assert [run.id for run in stores[0].find(RunQuery(limit=200))] == [f"{n:03}" for n in reversed(range(100))]

    def test_a_document_s_counter_is_exact(self, stores: list[StateStore]) -> None:
        stores[0].put_document("count", "a", {"n": 0}, rev=0)

        def add(store: StateStore) -> bool:
            document = store.document("count", "a")
            assert document is not None
            data = {"n": document.data["n"] + 1}
            event = EventDraft("added", "ann", data)
            return store.put_document("count", "a", data, rev=document.rev, event=event) is not None

        def work(number: int) -> None:
            for _ in range(10):
                while not add(stores[number]):
                    pass

        together(THREADS, work)
        document = stores[0].document("count", "a")
        assert document is not None
        assert (document.data, document.rev) == ({"n": THREADS * 10}, THREADS * 10 + 1)
        events = stores[0].events("count/a")
        assert [(event.seq, event.data["n"]) for event in events] == [(n, n) for n in range(1, THREADS * 10 + 1)]

    def test_a_document_is_made_once_and_deleted_once(self, stores: list[StateStore]) -> None:
        for turn in range(5):

            def create(number: int, turn: int = turn) -> bool:
                event = EventDraft("made", f"{turn}")
                return stores[number].put_document("lock", "a", {"by": number}, rev=0, event=event) is not None

            made = together(THREADS, create)
            assert made.count(True) == 1
            document = stores[0].document("lock", "a")
            assert document is not None
            assert document.data == {"by": made.index(True)}
            deleted = together(THREADS, lambda number: stores[number].delete_document("lock", "a", rev=1))
            assert deleted.count(True) == 1
        assert [event.seq for event in stores[0].events("lock/a")] == [1, 2, 3, 4, 5]

    def test_outbox_rows_are_taken_once(self, stores: list[StateStore]) -> None:
        for number in range(40):
            submit(stores[0], f"{number:02}")
        runs = stores[0].claim("w", FUTURE, 40)
        stores[0].change(*(ended_by(run, "succeeded", [OutboxDraft("notice")]) for run in runs))

        def work(number: int) -> list[OutboxItem]:
            taken = list(drain(lambda: stores[number].take_outbox(3, FUTURE)))
            assert all(stores[number].outbox_done(item) for item in taken)
            return taken

        taken = Counter(item.run for item in chain.from_iterable(together(THREADS, work)))
        assert taken == {run.id: 1 for run in runs}
        assert stores[0].pending() == Pending()


def drain(take: Callable[[], list]) -> Iterator:
    """Take until there is nothing more."""
    while items := take():
        yield from items
