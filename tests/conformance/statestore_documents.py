"""The documents' part of the state store's suite."""

from bursty.changes import EventDraft
from bursty.ports import StateStore
from bursty.records import Document
from conformance.statestore_tools import only

KEYS = ["a", "a%", "a_b", "a/b", "a/c", "a\\", "aXb", "b", "B", "é", "\U0001f600", "ﬀ", "a" * 200]


def put(
    store: StateStore, key: str, data: dict[str, object], rev: int = 0, event: EventDraft | None = None
) -> Document:
    """Write a document; the write is not refused."""
    document = store.put_document("model", key, data, rev=rev, event=event)
    assert document is not None
    return document


class DocumentContract:
    """Small JSON objects with a revision, and their history."""

    def test_what_is_written_is_read(self, store: StateStore) -> None:
        assert store.document("model", "a") is None
        data = {
            "n": None,
            "b": True,
            "i": 2**60,
            "f": 0.1,
            "t": "é\0\udcff",
            "l": [1, {"x": []}],
            "": {},
            "big": "x" * 50_000,
        }
        document = put(store, "a", data)
        assert (document.kind, document.key, document.data, document.rev) == ("model", "a", data, 1)
        assert abs(document.updated_at - store.now()) < 60
        assert store.document("model", "a") == document
        assert store.document("schedule", "a") is None
        assert store.documents("model") == [document]

    def test_nobody_changes_it_from_outside(self, store: StateStore) -> None:
        data: dict[str, object] = {"list": [1]}
        document = put(store, "a", data, event=EventDraft("saved", "ann", data))
        data["list"] = document.data["list"].append(2)
        assert only(store.documents("model")).data == {"list": [1]}
        assert only(store.events("model/a")).data == {"list": [1]}

    def test_compare_and_swap(self, store: StateStore) -> None:
        assert store.put_document("model", "a", {}, rev=1) is None, "there is none with this revision"
        put(store, "a", {"x": 1})
        assert store.put_document("model", "a", {"x": 2}, rev=0) is None
        assert put(store, "a", {"x": 2}, rev=1).rev == 2
        assert store.put_document("model", "a", {"x": 3}, rev=1) is None
        found = store.document("model", "a")
        assert found is not None
        assert (found.data, found.rev) == ({"x": 2}, 2)

    def test_refused_writes_have_no_event(self, store: StateStore) -> None:
        put(store, "a", {}, event=EventDraft("saved", "ann", {"v": 1}))
        assert store.put_document("model", "a", {}, rev=0, event=EventDraft("saved", "bob")) is None
        put(store, "a", {}, rev=1)
        put(store, "a", {}, rev=2, event=EventDraft("promoted", "cem"))
        events = store.events("model/a")
        assert [(e.subject, e.seq, e.kind, e.actor, e.data) for e in events] == [
            ("model/a", 1, "saved", "ann", {"v": 1}), ("model/a", 2, "promoted", "cem", {})
        ]  # fmt: skip
        assert store.events("model/a", after=1) == events[1:]

    def test_deleting(self, store: StateStore) -> None:
        assert not store.delete_document("model", "a", rev=1)
        assert not store.delete_document("model", "a", rev=0)
        put(store, "a", {}, event=EventDraft("saved", "ann"))
        assert not store.delete_document("model", "a", rev=2)
        assert not store.delete_document("other", "a", rev=1)
        assert store.delete_document("model", "a", rev=1)
        assert store.document("model", "a") is None
        assert store.documents("model") == []
        assert put(store, "a", {}, event=EventDraft("saved", "bob")).rev == 1
        assert [(event.seq, event.actor) for event in store.events("model/a")] == [(1, "ann"), (2, "bob")]

    def test_lists_by_prefix_in_key_order(self, store: StateStore) -> None:
        for key in reversed(KEYS):
            put(store, key, {"key": key})
        store.put_document("other", "a", {}, rev=0)
        for prefix in ("", "a", "a/", "a%", "a_", "a\\", "é", "\U0001f600", "none", "b"):
            expected = sorted(key for key in KEYS if key.startswith(prefix))
            assert [document.key for document in store.documents("model", prefix)] == expected, prefix
