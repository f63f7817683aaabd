"""The outbox's part of the state store's suite."""

from bursty.core import runstate
from bursty.core.runstate import Ending
from bursty.ports import StateStore
from bursty.records import OutboxDraft, Pending
from conformance.statestore_tools import FUTURE, PAST, claim_one, ended_by, only, submit


def finish_with(store: StateStore, name: str, *drafts: OutboxDraft) -> None:
    """A run that ended with these rows."""
    submit(store, name)
    assert only(store.change(ended_by(claim_one(store), "succeeded", drafts)))


class OutboxContract:
    """Rows written with a run's end, delivered at least once."""

    def test_rows_come_with_the_end(self, store: StateStore) -> None:
        finish_with(store, "1", OutboxDraft("notice", {"a": [1, None, "é"]}), OutboxDraft("publish"))
        rows = store.outbox("1")
        assert [(row.run, row.kind, row.data, row.tries, row.error) for row in rows] == [
            ("1", "notice", {"a": [1, None, "é"]}, 0, None), ("1", "publish", {}, 0, None)
        ]  # fmt: skip
        assert len({row.id for row in rows}) == 2
        assert store.outbox("2") == []

    def test_a_retry_writes_none(self, store: StateStore) -> None:
        submit(store, "1", retries=1)
        store.change(runstate.finish(claim_one(store), Ending("failed"), [OutboxDraft("notice")]))
        assert store.outbox("1") == []
        assert store.pending().outbox == 0

    def test_is_one_taker_s_until_the_lease_ends(self, store: StateStore) -> None:
        finish_with(store, "1", OutboxDraft("notice", {"to": "ann"}))
        item = only(store.take_outbox(5, FUTURE))
        assert (item.run, item.kind, item.data, item.tries) == ("1", "notice", {"to": "ann"}, 1)
        assert store.take_outbox(5, FUTURE) == []
        assert store.outbox("1") == [item], "it is undelivered yet"
        assert store.outbox_done(item)
        assert store.outbox("1") == []
        assert store.take_outbox(5, FUTURE) == []
        assert store.pending() == Pending()

    def test_is_taken_again_after_the_lease(self, store: StateStore) -> None:
        finish_with(store, "1", OutboxDraft("notice"))
        first = only(store.take_outbox(5, PAST))
        second = only(store.take_outbox(5, FUTURE))
        assert (first.id, first.tries, second.id, second.tries) == (first.id, 1, first.id, 2)
        assert not store.outbox_done(first), "another has taken it"
        assert not store.outbox_later(first, 0, "stale")
        assert only(store.outbox("1")).error is None
        assert store.outbox_done(second)

    def test_failed_ones_are_due_later(self, store: StateStore) -> None:
        finish_with(store, "1", OutboxDraft("notice"))
        item = only(store.take_outbox(5, FUTURE))
        assert store.outbox_later(item, FUTURE, "no route \0 to host")
        row = only(store.outbox("1"))
        assert (row.error, row.tries) == ("no route � to host", 1)
        assert row.due > store.now() + FUTURE / 2
        assert store.take_outbox(5, FUTURE) == []
        assert store.outbox_later(item, PAST, "again")
        assert only(store.take_outbox(5, FUTURE)).tries == 2

    def test_the_oldest_first_up_to_a_limit(self, store: StateStore) -> None:
        for number in range(4):
            finish_with(store, f"{number}", OutboxDraft("notice"), OutboxDraft("publish"))
        taken = [store.take_outbox(3, FUTURE) for _ in range(4)]
        assert [len(items) for items in taken] == [3, 3, 2, 0]
        rows = [(item.run, item.kind) for items in taken for item in items]
        assert rows == [(f"{number}", kind) for number in range(4) for kind in ("notice", "publish")]
