"""Runs, documents and outbox in one DynamoDB table, billed by request.

``dynamodb_items`` says what lies in the table. How the promises of ``StateStore`` are kept:

- A transition reads the run, and writes it in one TransactWriteItems with its event, its outbox rows and its mark
  among the open runs. The rule's clauses are the write's condition, and so is that the run is the one that was read;
  when only the latter fails, it is read again. A renewal is a single conditional update.
- DynamoDB has no clock: time is the caller's. ``skew`` is how far callers' clocks may differ; a lease counts as ended
  only so much later.
- Indexes lag behind. ``claim`` and ``expired`` take hints from one and look at each run itself; ``find`` may not show
  the newest runs of the last moments, nor a run's newest final status. What is open (``pending``, ``find`` of open
  runs) is read from the table itself without delay: nothing that was submitted before is missed.
- Changes that are made together are a transaction each.
"""

from __future__ import annotations

import random
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from bursty.aws.dynamodb import (
    MOST_ACTIONS,
    Action,
    Delete,
    Item,
    Key,
    Proof,
    Put,
    Table,
    Terms,
    Update,
    absent,
    every,
    present,
    where,
)
from bursty.changes import Change, EventDraft, Now
from bursty.core import runstate
from bursty.errors import ConfigError, StoreError
from bursty.ports import Clock, StateStore
from bursty.records import Document, Event, OutboxItem, Pending, RunQuery, RunRecord, RunStatus
from bursty.stores import dynamodb_items as items
from bursty.stores.dynamodb_documents import Documents
from bursty.stores.dynamodb_find import Listing
from bursty.stores.dynamodb_outbox import Outbox
from bursty.stores.dynamodb_terms import condition
from bursty.stores.texts import storable_run, storable_then
from bursty.stores.wakes import Wakes

SKEW = 5.0
POLL = 2.0
"""Seconds after which a worker that waits looks for runs of others."""

_BEATS = frozenset({"lease_until", "progress", "metrics", "external_id"})
"""Fields that a write may set without reading the run: no index, count or mark depends on them."""

_AHEAD = 8
"""Hints that are looked at beyond those wanted, for some go to others."""


class _Seen(NamedTuple):
    run: RunRecord
    rev: int


class DynamoState:
    """``StateStore`` on a DynamoDB table. ``url``: ``dynamodb://TABLE``, or the table's name.

    In the URL, ``?region=`` names the region, ``?skew=`` seconds, and ``?create=1`` makes the table if there is none.
    ``client``: of boto3, else one is made; ``clock``: whose time counts; ``skew``: how far clocks may differ.
    """

    def __init__(self, url: str, *, client: Any = None, clock: Clock | None = None, skew: float | None = None) -> None:
        name, options = _parsed(url)
        self._table = Table(name, region=options.get("region"), client=client)
        self._time = clock.time if clock is not None else time.time
        self.skew = skew if skew is not None else float(options.get("skew", SKEW))
        self._documents = Documents(self._table, self.now)
        self._outbox = Outbox(self._table, self.now, self.skew)
        self._listing = Listing(self._table)
        self._wakes = Wakes()
        if options.get("create") == "1":
            self.create_table()

    @property
    def url(self) -> str:
        options = {"region": self._table.region, **({"skew": self.skew} if self.skew != SKEW else {})}
        return f"dynamodb://{self._table.name}?{urlencode(options)}"

    def create_table(self) -> bool:
        """Make the table and wait until it is ready (some seconds); ``False`` if there is one."""
        return self._table.create(items.definition(), items.EXPIRES)

    def now(self) -> float:
        return self._time()

    # Runs

    def submit(self, run: RunRecord, event: EventDraft) -> tuple[RunRecord, bool]:
        run = storable_run(run)
        self._listing.register(run.app, run.job)
        for _ in self._table.tries("write"):
            now = self.now()
            fresh = replace(run, created_at=now, not_before=run.not_before or now, seq=1)
            if self._insert(fresh, event):
                self._wakes.wake()
                return fresh, True
            there = self.get(run.id) or self._with_key(run)
            if there is not None:
                return there, False
        raise AssertionError("tries() raises when they are used up")

    def _insert(self, run: RunRecord, event: EventDraft) -> bool:
        token = uuid.uuid4().hex
        first = items.event_item(run.id, 1, event, run.created_at, token)
        actions: list[Action] = [Put(item, absent) for item in items.run_items(run, rev=1)]
        actions.append(Put(first))
        if (mark := items.open_item(run)) is not None:
            actions.append(Put(mark))
        if run.idempotency_key is not None:
            key = items.idempotency_key(run.app, run.idempotency_key)
            actions.append(Put({**key._asdict(), "run": run.id}, absent))
        return self._table.transact(actions, proof=Proof(Key(first["pk"], first["sk"]), token))

    def _with_key(self, run: RunRecord) -> RunRecord | None:
        if run.idempotency_key is None:
            return None
        item = self._table.get(items.idempotency_key(run.app, run.idempotency_key))
        return self.get(item["run"]) if item is not None else None

    def get(self, run: str) -> RunRecord | None:
        seen = self._see(run)
        return seen.run if seen is not None else None

    def _see(self, run: str) -> _Seen | None:
        item = self._table.get(items.run_key(run))
        record = self._record(item) if item is not None else None
        return _Seen(record, item["rev"]) if item is not None and record is not None else None

    def _record(self, item: Item) -> RunRecord | None:
        """The run in its item; ``None``: it was deleted before its inputs could be read."""
        inputs = item if "inputs" in item else self._table.get(items.inputs_key(item["id"]))
        return items.run_record(item, inputs["inputs"]) if inputs is not None else None

    def find(self, query: RunQuery) -> Sequence[RunRecord]:
        return self._listing.find(query)

    def change(self, *changes: Change) -> Sequence[RunRecord | None]:
        return [self._change(change) for change in changes]

    def _change(self, change: Change) -> RunRecord | None:
        if change.run is None:
            return None
        silent = change.event is None and not change.outbox
        if silent and change.then and _BEATS.issuperset(change.then):
            return self._beat(change.run, change)
        for _ in self._table.tries("write"):
            seen, now = self._see(change.run), self.now()
            if seen is None or not runstate.holds(change.when, seen.run, now):
                return None
            if silent and not change.then:
                return seen.run
            after = self._write(change, seen, now)
            if after is not None:
                return after
        raise AssertionError("tries() raises when they are used up")

    def _beat(self, run: str, change: Change) -> RunRecord | None:
        """A write that is no transition, without reading first."""
        now = self.now()
        assigned = storable_then(change)
        then = {name: now + value.plus if isinstance(value, Now) else value for name, value in assigned.items()}
        update = Update(items.run_key(run), then, every(present, condition(change.when, now)))
        item = self._table.update(update)
        return self._record(item) if item is not None else None

    def _write(self, change: Change, seen: _Seen, now: float, *, patient: bool = True) -> RunRecord | None:
        """Make the change of the run as it was seen; ``None``: it isn't so any more."""
        before, rev = seen.run, seen.rev + 1
        then = storable_then(change)
        after = runstate.applied(replace(change, then=then), before, now)
        assigned = {name: getattr(after, name) for name in then}
        assigned |= {"seq": after.seq, "rev": rev, **items.index_keys(after)}
        when = every(where(("rev", "=", seen.rev)), condition(change.when, now))
        actions: list[Action] = [Update(items.run_key(before.id), assigned, when)]
        actions += _marks(before, after)
        actions += self._outbox.rows(after, change.outbox, rev, now)
        proof = None
        if change.event is not None:
            written = items.event_item(before.id, after.seq, change.event, now, token := uuid.uuid4().hex)
            actions.append(Put(written))
            proof = Proof(Key(written["pk"], written["sk"]), token)
        if not self._table.transact(actions, proof=proof, patient=patient):
            return None
        if after.status == RunStatus.QUEUED:
            self._wakes.wake()
        return after

    def claim(self, owner: str, lease: float, limit: int, app: str | None = None) -> Sequence[RunRecord]:
        self._wakes.looking()
        claimed: list[RunRecord] = []
        try:
            for _ in range(5):  # all that were found may go to others while more are due
                lost = self._claim(owner, lease, limit, app, claimed)
                if claimed or not lost:
                    break
        except StoreError:
            if not claimed:  # those that are claimed must not wait for the end of their leases
                raise
        return claimed

    def change_and_claim(
        self, changes: Sequence[Change], owner: str, lease: float, limit: int, app: str | None = None
    ) -> tuple[Sequence[RunRecord | None], Sequence[RunRecord]]:
        after = self.change(*changes)
        try:
            return after, self.claim(owner, lease, limit, app)
        except StoreError:
            return after, []  # what was changed must be told; the next claim tells what is wrong

    def _claim(self, owner: str, lease: float, limit: int, app: str | None, claimed: list[RunRecord]) -> bool:
        """Claim up to ``limit`` more; tell whether one went to others."""
        due = condition(runstate.claim(owner, lease, self.skew).when, self.now())
        hints = list(islice(self._listing.due(app, due, page=limit + _AHEAD), limit + _AHEAD))
        lost = False
        while hints and len(claimed) < limit:
            seen = self._see(hints.pop(0)["id"])
            if seen is None:
                continue
            change, now = runstate.claim(owner, lease, self.skew, seen.run), self.now()
            if not runstate.holds(change.when, seen.run, now):
                lost = True
            elif (run := self._write(change, seen, now, patient=False)) is not None:
                claimed.append(run)
            else:  # others are at the same runs: go on with one of the same priority by chance
                lost = True
                hints.sort(key=lambda hint: (hint["state_sk"].partition("#")[0], random.random()))
        return lost

    def expired(self, limit: int) -> Sequence[RunRecord]:
        now = self.now()
        only = where(("status", "=", RunStatus.RUNNING), ("lease_until", "<=", now - self.skew))
        found: list[RunRecord] = []
        for hint in self._listing.running(every(only, _unclaimable)):
            run = self.get(hint["id"])
            change = runstate.reap(run, "", self.skew) if run is not None else None
            if run is not None and change is not None and runstate.holds(change.when, run, now):
                found.append(run)
            if len(found) == limit:
                break
        return found

    def pending(self, app: str | None = None) -> Pending:
        """Exact: runs are marked as open in the same transaction that submits and ends them, and these marks and the
        outbox are read without delay; the outbox last, for a run that ends leaves its row there."""
        now = self.now()
        marks = list(self._listing.marks(app))
        keys = [items.run_key(mark["sk"]) for mark in marks if mark["status"] == RunStatus.RUNNING]
        leases = [item for item in self._table.get_many(keys).values() if item["status"] == RunStatus.RUNNING]
        queued = [float(mark["not_before"]) for mark in marks if mark["status"] == RunStatus.QUEUED]
        due = sum(moment <= now for moment in queued)
        ends = [float(item.get("lease_until", 0.0)) for item in leases]
        outbox = self._outbox.count(app)
        return Pending(due, len(queued) - due, len(keys), outbox, min((*queued, *ends), default=None))

    def wait(self, timeout: float) -> None:
        """DynamoDB tells nobody of new runs: it is over after ``POLL`` seconds at the latest."""
        self._wakes.wait(max(0.0, min(timeout, POLL)))

    def wake(self) -> None:
        self._wakes.wake()

    def events(self, subject: str, after: int = 0) -> Sequence[Event]:
        return self._documents.events(subject, after)

    def delete_runs(self, ids: Sequence[str]) -> int:
        return sum(self._delete(run) for run in dict.fromkeys(ids))

    def _delete(self, run: str) -> bool:
        """In one transaction; the oldest events before, of runs that have more than fit into one."""
        seen = self._see(run)
        if seen is None or not seen.run.is_final:
            return False
        keys = [items.event_key(run, event.seq) for event in self.events(run)]
        keys.append(items.inputs_key(run))
        if seen.run.idempotency_key is not None:
            keys.append(items.idempotency_key(seen.run.app, seen.run.idempotency_key))
        while len(keys) >= MOST_ACTIONS:
            self._table.transact([Delete(key) for key in keys[: MOST_ACTIONS // 2]])
            del keys[: MOST_ACTIONS // 2]
        itself = Delete(items.run_key(run), where(("rev", "=", seen.rev)))
        return self._table.transact([itself, *map(Delete, keys)])

    # Outbox

    def take_outbox(self, limit: int, lease: float) -> Sequence[OutboxItem]:
        return self._outbox.take(limit, lease)

    def outbox_done(self, item: OutboxItem) -> bool:
        return self._outbox.done(item)

    def outbox_later(self, item: OutboxItem, delay: float, error: str) -> bool:
        return self._outbox.later(item, delay, error)

    def outbox(self, run: str) -> Sequence[OutboxItem]:
        return self._outbox.of_run(run)

    # Documents

    def document(self, kind: str, key: str) -> Document | None:
        return self._documents.get(kind, key)

    def documents(self, kind: str, prefix: str = "") -> Sequence[Document]:
        return self._documents.list(kind, prefix)

    def put_document(
        self, kind: str, key: str, data: Mapping[str, Any], *, rev: int, event: EventDraft | None = None
    ) -> Document | None:
        return self._documents.put(kind, key, data, rev=rev, event=event)

    def delete_document(self, kind: str, key: str, *, rev: int) -> bool:
        return self._documents.delete(kind, key, rev=rev)

    def close(self) -> None:
        self._table.close()


def _marks(before: RunRecord, after: RunRecord) -> list[Action]:
    """What becomes of the mark of an open run."""
    old, new = items.open_item(before), items.open_item(after)
    if new is not None:
        return [Put(new)] if new != old else []
    return [Delete(Key(old["pk"], old["sk"]))] if old is not None else []


def _unclaimable(terms: Terms) -> str:
    """A running one that ``runstate.reap`` ends and ``claim`` does not take."""
    cancelled = f"{terms.name('cancel_requested')} = {terms.value(True)}"
    return f"({cancelled} OR {terms.name('attempt')} >= {terms.name('max_attempts')})"


_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_OPTIONS = ("region", "create", "skew")


def _parsed(url: str) -> tuple[str, dict[str, str]]:
    """The table's name and the options of a URL."""
    parts = urlsplit(url if "://" in url else f"dynamodb://{url}")
    options = dict(parse_qsl(parts.query))
    if parts.scheme != "dynamodb" or parts.path.strip("/") or not _NAME.fullmatch(parts.netloc):
        problem = "that names no table"
    elif unknown := sorted(options.keys() - set(_OPTIONS)):
        problem = f"there is no option {unknown[0]!r}"
    elif not re.fullmatch(r"\d+(\.\d+)?", options.get("skew", "0")) or options.get("create", "1") not in ("0", "1"):
        problem = "skew takes seconds, create 0 or 1"
    else:
        return parts.netloc, options
    raise ConfigError(
        f"can't open the state store {url!r}: {problem}",
        "Write dynamodb://TABLE?region=eu-central-1, with letters, digits and _.- in the table's name. "
        "Options: region, skew (seconds), create=1 (make the table if there is none).",
    )


if TYPE_CHECKING:
    _adapters: list[type[StateStore]] = [DynamoState]
