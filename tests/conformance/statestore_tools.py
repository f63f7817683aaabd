"""What the parts of the state store's suite share."""

from collections.abc import Sequence
from typing import Any, TypeVar

from bursty.changes import Change, EventDraft
from bursty.core import runstate
from bursty.core.runstate import Ending
from bursty.ports import StateStore
from bursty.records import OutboxDraft, RunRecord

FUTURE = 10_000.0
PAST = -FUTURE

T = TypeVar("T")


def only(items: Sequence[T]) -> T:
    """The one item there is."""
    assert len(items) == 1, items
    return items[0]


def make(name: str, **fields: Any) -> RunRecord:
    """A run to submit."""
    return RunRecord(name, **{"app": "app", "job": "job", "version": "v1", **fields})


def submit(store: StateStore, name: str, **fields: Any) -> RunRecord:
    """Submit a run that is new."""
    run, new = store.submit(make(name, **fields), EventDraft("submitted", "ann"))
    assert new
    return run


def claim_one(store: StateStore, owner: str = "w", lease: float = FUTURE) -> RunRecord:
    """Claim the next run, which is there."""
    return only(store.claim(owner, lease, 1))


def ended_by(run: RunRecord, end: Any, outbox: Sequence[OutboxDraft] = ()) -> Change:
    """What finishes an attempt of a run without retries."""
    return runstate.finish(run, Ending(end, error=None if end == "succeeded" else "why"), outbox)
