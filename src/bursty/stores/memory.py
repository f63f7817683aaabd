"""Runs, documents and outbox in this process's memory: for tests and for trying things out."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bursty.changes import Change, EventDraft
from bursty.core import runstate
from bursty.ports import Clock, StateStore
from bursty.records import Document, Event, OutboxItem, Pending, RunQuery, RunRecord, RunStatus
from bursty.stores.texts import from_json, storable, storable_run, storable_then, to_json
from bursty.stores.wakes import Wakes

FILTERS = ("app", "job", "status", "version", "created_by", "schedule", "inputs_hash")
"""Fields of a ``RunQuery`` that are fields of a run."""


@dataclass(slots=True)
class _Row:
    """An outbox row. What is JSON is kept as text, here and elsewhere, so that nobody changes it from outside."""

    item: OutboxItem
    app: str
    data: str

    def shown(self) -> OutboxItem:
        return replace(self.item, data=from_json(self.data))


class MemoryState:
    """``StateStore`` whose every operation is made under one lock. ``clock``: whose time counts."""

    url = "memory://"
    skew = 0.0

    def __init__(self, clock: Clock | None = None) -> None:
        self._time = clock.time if clock is not None else time.time
        self._runs: dict[str, RunRecord] = {}
        self._open: set[str] = set()
        self._keys: dict[tuple[str, str | None], str] = {}
        self._events: dict[str, list[tuple[Event, str]]] = {}
        self._outbox: dict[str, _Row] = {}
        self._documents: dict[tuple[str, str], tuple[Document, str]] = {}
        self._lock = threading.RLock()
        self._wakes = Wakes()

    def now(self) -> float:
        return self._time()

    # Runs

    def submit(self, run: RunRecord, event: EventDraft) -> tuple[RunRecord, bool]:
        run = storable_run(run)
        with self._lock:
            present = self._runs.get(run.id) or self._runs.get(self._keys.get(_key(run), ""))
            if present is not None:
                return present, False
            now = self.now()
            run = replace(run, created_at=now, not_before=run.not_before or now, seq=1)
            self._keep(run)
            if run.idempotency_key is not None:
                self._keys[_key(run)] = run.id
            self._note(run.id, event, now)
        self._wakes.wake()
        return run, True

    def _keep(self, run: RunRecord) -> None:
        self._runs[run.id] = run
        (self._open.discard if run.is_final else self._open.add)(run.id)

    def _note(self, subject: str, event: EventDraft, now: float) -> None:
        of_subject = self._events.setdefault(subject, [])
        draft = Event(subject, len(of_subject) + 1, storable(event.kind), storable(event.actor), now)
        of_subject.append((draft, to_json(event.data)))

    def get(self, run: str) -> RunRecord | None:
        return self._runs.get(run)

    def find(self, query: RunQuery) -> Sequence[RunRecord]:
        with self._lock:
            fitting = [run for run in self._runs.values() if _fits(query, run)]
        return sorted(fitting, key=lambda run: run.id, reverse=True)[: query.limit]

    def change(self, *changes: Change) -> Sequence[RunRecord | None]:
        with self._lock:
            return [self._change(change, self.now()) for change in changes]

    def _change(self, change: Change, now: float) -> RunRecord | None:
        run = self._runs.get(change.run or "")
        if run is None or not runstate.holds(change.when, run, now):
            return None
        after = runstate.applied(replace(change, then=storable_then(change)), run, now)
        self._keep(after)
        if change.event is not None:
            self._note(run.id, change.event, now)
        for number, draft in enumerate(change.outbox):
            item = OutboxItem(f"{run.id}/{after.seq}/{number}", run.id, draft.kind, {}, 0, now, now)
            self._outbox[item.id] = _Row(item, run.app, to_json(draft.data))
        if after.status == RunStatus.QUEUED:
            self._wakes.wake()
        return after

    def claim(self, owner: str, lease: float, limit: int, app: str | None = None) -> Sequence[RunRecord]:
        self._wakes.looking()
        change = runstate.claim(owner, lease, self.skew)
        with self._lock:
            now = self.now()
            fitting = [run for run in self._open_runs(app) if runstate.holds(change.when, run, now)]
            chosen = sorted(fitting, key=lambda run: (-run.priority, run.not_before, run.id))[:limit]
            changed = [self._change(replace(change, run=run.id), now) for run in chosen]
        return [run for run in changed if run is not None]

    def change_and_claim(
        self, changes: Sequence[Change], owner: str, lease: float, limit: int, app: str | None = None
    ) -> tuple[Sequence[RunRecord | None], Sequence[RunRecord]]:
        with self._lock:
            return self.change(*changes), self.claim(owner, lease, limit, app)

    def _open_runs(self, app: str | None = None) -> list[RunRecord]:
        return [run for name in self._open if (run := self._runs[name]) and (app is None or run.app == app)]

    def expired(self, limit: int) -> Sequence[RunRecord]:
        with self._lock:
            now = self.now()
            ends = [(run, runstate.reap(run, "", self.skew)) for run in self._open_runs()]
            fitting = [run for run, change in ends if change and runstate.holds(change.when, run, now)]
        return sorted(fitting, key=lambda run: run.lease_until or 0.0)[:limit]

    def pending(self, app: str | None = None) -> Pending:
        with self._lock:
            now = self.now()
            runs = self._open_runs(app)
            outbox = sum(app in (None, row.app) for row in self._outbox.values())
        queued = [run for run in runs if run.status == RunStatus.QUEUED]
        due = sum(run.not_before <= now for run in queued)
        next_at = min(map(_next_at, runs), default=None)
        return Pending(due, len(queued) - due, len(runs) - len(queued), outbox, next_at)

    def wait(self, timeout: float) -> None:
        with self._lock:
            now = self.now()
            soon = min((at for run in self._open_runs() if (at := _next_at(run)) > now), default=now + timeout)
        self._wakes.wait(max(0.0, min(timeout, soon - now)))

    def wake(self) -> None:
        self._wakes.wake()

    def events(self, subject: str, after: int = 0) -> Sequence[Event]:
        with self._lock:
            found = self._events.get(subject, [])[after:]
        return [replace(event, data=from_json(data)) for event, data in found]

    def delete_runs(self, ids: Sequence[str]) -> int:
        with self._lock:
            final = [run for name in set(ids) if (run := self._runs.get(name)) and run.is_final]
            for run in final:
                del self._runs[run.id], self._events[run.id]
                self._keys.pop(_key(run), None)
        return len(final)

    # Outbox

    def take_outbox(self, limit: int, lease: float) -> Sequence[OutboxItem]:
        with self._lock:
            now = self.now()
            due = [row for row in self._outbox.values() if row.item.due <= now - self.skew]
            due.sort(key=lambda row: (row.item.due, row.item.id))
            for row in due[:limit]:
                row.item = replace(row.item, tries=row.item.tries + 1, due=now + lease)
            return [row.shown() for row in due[:limit]]

    def outbox_done(self, item: OutboxItem) -> bool:
        with self._lock:
            mine = self._taken(item) is not None
            if mine:
                del self._outbox[item.id]
            return mine

    def outbox_later(self, item: OutboxItem, delay: float, error: str) -> bool:
        with self._lock:
            row = self._taken(item)
            if row is not None:
                row.item = replace(row.item, due=self.now() + delay, error=storable(error))
            return row is not None

    def _taken(self, item: OutboxItem) -> _Row | None:
        """The item's row, if nobody took it since."""
        row = self._outbox.get(item.id)
        return row if row is not None and row.item.tries == item.tries else None

    def outbox(self, run: str) -> Sequence[OutboxItem]:
        with self._lock:
            rows = [row.shown() for row in self._outbox.values() if row.item.run == run]
        return sorted(rows, key=lambda item: item.id)

    # Documents

    def document(self, kind: str, key: str) -> Document | None:
        with self._lock:
            found = self._documents.get((kind, key))
        return found and _document(*found)

    def documents(self, kind: str, prefix: str = "") -> Sequence[Document]:
        with self._lock:
            found = [self._documents[place] for place in sorted(self._documents) if place[0] == kind]
        return [_document(*pair) for pair in found if pair[0].key.startswith(prefix)]

    def put_document(
        self, kind: str, key: str, data: Mapping[str, Any], *, rev: int, event: EventDraft | None = None
    ) -> Document | None:
        text = to_json(data)
        with self._lock:
            if not self._has(kind, key, rev):
                return None
            now = self.now()
            self._documents[kind, key] = Document(kind, key, {}, rev + 1, now), text
            if event is not None:
                self._note(f"{kind}/{key}", event, now)
            return _document(*self._documents[kind, key])

    def delete_document(self, kind: str, key: str, *, rev: int) -> bool:
        with self._lock:
            there = rev > 0 and self._has(kind, key, rev)
            if there:
                del self._documents[kind, key]
            return there

    def _has(self, kind: str, key: str, rev: int) -> bool:
        present = self._documents.get((kind, key))
        return rev == (present[0].rev if present is not None else 0)

    def close(self) -> None:
        """There is nothing to close: what it keeps goes with it."""


def _key(run: RunRecord) -> tuple[str, str | None]:
    return run.app, run.idempotency_key


def _fits(query: RunQuery, run: RunRecord) -> bool:
    wanted = {name: value for name in FILTERS if (value := getattr(query, name)) is not None}
    return (
        all(getattr(run, name) == value for name, value in wanted.items())
        and (query.before is None or run.id < query.before)
        and not (query.open_only and run.is_final)
    )


def _next_at(run: RunRecord) -> float:
    """When a run is due, or its lease ends."""
    return run.not_before if run.status == RunStatus.QUEUED else run.lease_until or 0.0


def _document(document: Document, data: str) -> Document:
    return replace(document, data=from_json(data))


if TYPE_CHECKING:
    _adapters: list[type[StateStore]] = [MemoryState]
