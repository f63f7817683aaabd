"""The outbox of a DynamoDB state store: undelivered rows, in one partition, which is read without delay."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from bursty.aws.dynamodb import Action, Delete, Item, Key, Put, Table, Update, where
from bursty.records import OutboxDraft, OutboxItem, RunRecord
from bursty.stores.dynamodb_items import outbox_item
from bursty.stores.texts import storable, to_json

_PK = "outbox"


class Outbox:
    """``ready``: when a row may be taken, which is ``due``, and after its lease has ended on every clock."""

    def __init__(self, table: Table, now: Callable[[], float], skew: float) -> None:
        self._table = table
        self._now = now
        self._skew = skew

    def rows(self, run: RunRecord, drafts: Sequence[OutboxDraft], rev: int, now: float) -> list[Action]:
        """What a transition writes."""
        return [
            Put(
                {
                    **Key(_PK, f"{run.id}/{rev:06d}/{number:03d}")._asdict(),
                    "run": run.id,
                    "app": run.app,
                    "kind": storable(draft.kind),
                    "data": to_json(draft.data),
                    "tries": 0,
                    "due": now,
                    "ready": now,
                    "created_at": now,
                }
            )
            for number, draft in enumerate(drafts)
        ]

    def of_run(self, run: str) -> Sequence[OutboxItem]:
        found = self._table.query(where(("pk", "=", _PK), ("sk", "begins_with", f"{run}/")))
        return [outbox_item(item) for item in found]

    def count(self, app: str | None) -> int:
        only = where(("app", "=", app)) if app is not None else None
        return sum(1 for _ in self._table.query(where(("pk", "=", _PK)), only=only))

    def take(self, limit: int, lease: float) -> Sequence[OutboxItem]:
        """Rows that are due, the first due first; by chance once others are seen to take at the same time."""
        now = self._now()
        due = list(self._table.query(where(("pk", "=", _PK)), only=where(("ready", "<=", now))))
        due.sort(key=lambda item: (item["due"], item["sk"]))
        taken: list[OutboxItem] = []
        while due and len(taken) < limit:
            item = due.pop(0)
            then = {"tries": item["tries"] + 1, "due": now + lease, "ready": now + lease + self._skew}
            seen = where(("tries", "=", item["tries"]), ("ready", "=", item["ready"]))
            after = self._table.update(Update(_key(item), then, seen))
            if after is not None:
                taken.append(outbox_item(after))
            else:
                random.shuffle(due)
        return taken

    def done(self, item: OutboxItem) -> bool:
        return self._table.transact([Delete(Key(_PK, item.id), where(("tries", "=", item.tries)))])

    def later(self, item: OutboxItem, delay: float, error: str) -> bool:
        due = self._now() + delay
        then = {"due": due, "ready": due, "error": storable(error)}
        return self._table.update(Update(Key(_PK, item.id), then, where(("tries", "=", item.tries)))) is not None


def _key(item: Item) -> Key:
    return Key(item["pk"], item["sk"])
