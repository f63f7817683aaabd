"""Frozen records of what a state store keeps: runs, their events, documents, and the outbox. Standard library only."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

from bursty.errors import ConfigError

Scalar: TypeAlias = str | int | float | bool | None


class RunStatus(enum.StrEnum):
    """Where a run stands. ``queued`` and ``running`` are open; the others are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Its function raised, exited, or went over its memory, and no retry is left."""
    TIMED_OUT = "timed_out"
    """An attempt took longer than ``timeout``, and no retry is left."""
    CANCELLED = "cancelled"
    LOST = "lost"
    """Its worker died or lost its lease, and no attempt is left."""

    @property
    def is_final(self) -> bool:
        return self not in (RunStatus.QUEUED, RunStatus.RUNNING)


FINAL = tuple(status for status in RunStatus if status.is_final)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run: one request for a job. Times are seconds since the epoch by the store's clock.

    ``id``: UUIDv7 text, so that order by id is order by time. ``version``: digest of the app's version.
    ``inputs``: canonical JSON, validated; ``inputs_hash``: its SHA-256. ``attempt``: how many attempts were begun;
    ``max_attempts``: no more may be. ``failures``: attempts that raised or timed out; ``retries``: how many of these
    are tried again. ``priority``: higher goes first. ``owner``: who holds the lease. ``lease_until``: until when.
    ``not_before``: when it is due. ``deadline``: when the present attempt has taken too long. ``timeout``: seconds an
    attempt may take. ``external_id``: what runs it elsewhere. ``progress``, ``metrics``: small JSON texts.
    ``output``: blob prefix of what the finished run published. ``error``: in plain words. ``seq``: number of its
    newest event.
    """

    id: str
    app: str
    job: str
    version: str
    inputs: str = "{}"
    inputs_hash: str = ""
    idempotency_key: str | None = None
    status: RunStatus = RunStatus.QUEUED
    attempt: int = 0
    max_attempts: int = 3
    failures: int = 0
    retries: int = 0
    priority: int = 0
    owner: str | None = None
    lease_until: float | None = None
    not_before: float = 0.0
    deadline: float | None = None
    timeout: float | None = None
    cancel_requested: bool = False
    external_id: str | None = None
    created_by: str = ""
    rerun_of: str | None = None
    schedule: str | None = None
    progress: str | None = None
    metrics: str | None = None
    output: str | None = None
    error: str | None = None
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    seq: int = 0

    @property
    def is_final(self) -> bool:
        return self.status.is_final


RUN_FIELDS = tuple(item.name for item in fields(RunRecord))


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a run or a document; never changed, never removed before its subject.

    ``subject``: a run's id, or ``kind/key`` of a document. ``seq`` counts from 1. ``kind``: in one word. ``actor``:
    who. ``at``: seconds since the epoch by the store's clock. ``data``: small JSON-able details.
    """

    subject: str
    seq: int
    kind: str
    actor: str
    at: float
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Document:
    """A small JSON object under (kind, key). ``rev`` counts its changes from 1; compare-and-swap goes by it."""

    kind: str
    key: str
    data: Mapping[str, Any]
    rev: int
    updated_at: float


@dataclass(frozen=True, slots=True)
class OutboxDraft:
    """Something to be done after a transition, at least once: ``kind`` is ``notice`` or ``publish``."""

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """An outbox row. ``tries``: deliveries begun; ``due``: when it may be tried; ``error``: why the last one failed."""

    id: str
    run: str
    kind: str
    data: Mapping[str, Any]
    tries: int
    due: float
    created_at: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs; ``None``: any. The newest first. ``before``: only ids smaller than this one (the next page).

    ``open_only``: those that are queued or running. ``status`` may be its plain word. Raises ``ConfigError`` for a
    status or limit that can't be.
    """

    app: str | None = None
    job: str | None = None
    status: RunStatus | None = None
    version: str | None = None
    created_by: str | None = None
    schedule: str | None = None
    inputs_hash: str | None = None
    before: str | None = None
    open_only: bool = False
    limit: int = 50

    def __post_init__(self) -> None:
        if self.status is not None:
            try:
                object.__setattr__(self, "status", RunStatus(self.status))
            except ValueError:
                known = ", ".join(RunStatus)
                raise ConfigError(f"there is no status {self.status!r}", f"Known: {known}.") from None
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"a limit is a whole number from 0, not {self.limit!r}")


@dataclass(frozen=True, slots=True)
class Pending:
    """What a draining worker must know: how many runs are due, due later, and running; when the next one is due, or
    the next lease ends (``None``: never). ``outbox``: undelivered rows."""

    due: int = 0
    later: int = 0
    running: int = 0
    outbox: int = 0
    next_at: float | None = None

    @property
    def idle(self) -> bool:
        """Whether no run is left to be made."""
        return not (self.due or self.later or self.running)


@dataclass(frozen=True, slots=True)
class Notice:
    """What people are told. ``title``: one line. ``body``: plain text of some lines. ``link``: where to read more, in
    ``body``, too; ``""``: nowhere."""

    title: str
    body: str
    kind: Literal["success", "failure", "warning", "info"] = "info"
    link: str = ""
