"""What a process was told by the state store, written down at once in a file of its own that survives SIGKILL."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bursty.changes import Change, Is
from bursty.errors import StoreError
from bursty.ports import StateStore
from bursty.records import RunRecord


class Journal:
    """Lines of JSON. ``at``, ``asked_at``: of the machine's monotonic clock, which all processes share."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, what: str, **fields: Any) -> None:
        os.write(self._file, json.dumps({"what": what, "at": time.monotonic(), **fields}).encode() + b"\n")


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Its lines; but for the last one when SIGKILL cut it off."""
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


class Journaled:
    """A ``StateStore`` that writes down what became of claims, renewals and endings.

    ``deaf``: renewals don't reach the store, and nobody is told: as when a partition heals too late. Such a worker goes
    on with runs that are others' by then.
    """

    def __init__(self, inner: StateStore, journal: Journal, *, deaf: bool = False) -> None:
        self._inner = inner
        self._journal = journal
        self._deaf = deaf
        self._claimed: dict[tuple[str, int], RunRecord] = {}
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def claim(self, owner: str, lease: float, limit: int, app: str | None = None) -> Sequence[RunRecord]:
        asked_at = time.monotonic()
        runs = self._inner.claim(owner, lease, limit, app)
        self._note_claims(runs, asked_at)
        return runs

    def change_and_claim(
        self, changes: Sequence[Change], owner: str, lease: float, limit: int, app: str | None = None
    ) -> tuple[Sequence[RunRecord | None], Sequence[RunRecord]]:
        asked_at = time.monotonic()
        try:
            after, claimed = self._inner.change_and_claim(changes, owner, lease, limit, app)
        except StoreError as error:
            self._note_all(changes, [None] * len(changes), asked_at, told=error.message)
            raise
        self._note_all(changes, after, asked_at)
        self._note_claims(claimed, asked_at)
        return after, claimed

    def _note_claims(self, runs: Sequence[RunRecord], asked_at: float) -> None:
        for run in runs:
            told = {"owner": run.owner, "lease_until": run.lease_until}
            self._journal.write("claim", asked_at=asked_at, run=run.id, attempt=run.attempt, **told)
        with self._lock:
            self._claimed |= {(run.id, run.attempt): run for run in runs}

    def change(self, *changes: Change) -> Sequence[RunRecord | None]:
        renewals = {place for place, change in enumerate(changes) if change.event is None}
        if self._deaf and renewals:
            assert len(renewals) == len(changes), "a heartbeat is made of renewals"
            with self._lock:
                return [self._claimed[_attempt_of(change)] for change in changes]
        asked_at = time.monotonic()
        try:
            after = self._inner.change(*changes)
        except StoreError as error:
            self._note_all(changes, [None] * len(changes), asked_at, told=error.message)
            raise
        self._note_all(changes, after, asked_at)
        return after

    def _note_all(
        self, changes: Sequence[Change], after: Sequence[RunRecord | None], asked_at: float, told: str = ""
    ) -> None:
        for change, run in zip(changes, after, strict=True):
            self._note(change, run, asked_at, told=told or ("accepted" if run is not None else "refused"))

    def _note(self, change: Change, run: RunRecord | None, asked_at: float, told: str) -> None:
        kind = change.event.kind if change.event is not None else "renew"
        actor = change.event.actor if change.event is not None else None
        until = run.lease_until if run is not None else None
        name, attempt = _attempt_of(change)
        self._journal.write(
            kind, asked_at=asked_at, run=name, attempt=attempt, owner=actor, told=told, lease_until=until
        )


def _attempt_of(change: Change) -> tuple[str, int]:
    """The run and the attempt that a change is about."""
    assert change.run is not None
    numbers = [clause.value for clause in change.when if isinstance(clause, Is) and clause.field == "attempt"]
    assert isinstance(numbers[0], int)
    return change.run, numbers[0]
