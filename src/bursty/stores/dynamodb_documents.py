"""Documents and events of a DynamoDB state store."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bursty.aws.dynamodb import Action, Delete, Key, Proof, Put, Table, absent, where
from bursty.changes import EventDraft
from bursty.records import Document, Event
from bursty.stores.dynamodb_items import (
    document,
    document_item,
    document_key,
    event,
    event_item,
    event_key,
    events_pk,
)


class Documents:
    """Small JSON objects under (kind, key); those of one kind are one partition."""

    def __init__(self, table: Table, now: Callable[[], float]) -> None:
        self._table = table
        self._now = now

    def events(self, subject: str, after: int = 0) -> Sequence[Event]:
        key = where(("pk", "=", events_pk(subject)), ("sk", ">", event_key(subject, after).sk))
        return [event(subject, item) for item in self._table.query(key)]

    def get(self, kind: str, key: str) -> Document | None:
        item = self._table.get(document_key(kind, key))
        return document(kind, item) if item is not None else None

    def list(self, kind: str, prefix: str) -> Sequence[Document]:
        first = document_key(kind, prefix)
        found = self._table.query(where(("pk", "=", first.pk), ("sk", "begins_with", first.sk)))
        return [document(kind, item) for item in found]

    def put(
        self, kind: str, key: str, data: Mapping[str, Any], *, rev: int, event: EventDraft | None
    ) -> Document | None:
        """One transaction, for its token makes a lost answer harmless; and again when another event came first."""
        place = document_key(kind, key)
        for _ in self._table.tries("write"):
            now, token = self._now(), uuid.uuid4().hex
            item = document_item(kind, key, data, rev + 1, now, token)
            actions: list[Action] = [Put(item, where(("rev", "=", rev)) if rev else absent)]
            proof = place
            if event is not None:
                written = event_item(subject := f"{kind}/{key}", self._last(subject) + 1, event, now, token)
                actions.append(Put(written, absent))
                proof = Key(written["pk"], written["sk"])
            if self._table.transact(actions, proof=Proof(proof, token)):
                return document(kind, item)
            if event is None or not self._has(place, rev):
                return None
        raise AssertionError("tries() raises when they are used up")

    def _last(self, subject: str) -> int:
        """The number of the newest event; documents leave their events behind, so it isn't theirs to keep."""
        newest = self._table.query(where(("pk", "=", events_pk(subject))), backwards=True, page=1)
        return next((int(item["sk"]) for item in newest), 0)

    def _has(self, place: Key, rev: int) -> bool:
        item = self._table.get(place)
        return rev == (item["rev"] if item is not None else 0)

    def delete(self, kind: str, key: str, *, rev: int) -> bool:
        return self._table.transact([Delete(document_key(kind, key), where(("rev", "=", rev)))])
