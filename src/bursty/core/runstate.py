"""The life of a run as rules: every transition is one conditional write, as data.

    queued → running → succeeded | failed | timed_out | cancelled | lost        running → queued to retry

A rule gives a ``Change``: which run, under what conditions, what becomes of it, and the event and outbox rows that are
written with it. A store translates it into one conditional write and decides nothing. Times in conditions and
assignments are ``Now``: the store's clock decides, not the caller's.

``skew``: how far the clocks of a store's users may differ, in seconds; 0 where the store has a clock of its own. A
lease counts as ended only when it has ended on every clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from bursty.changes import Add, AnyOf, Change, Clause, EventDraft, Is, IsBefore, IsLess, Now, NowPlus, Value
from bursty.records import OutboxDraft, RunRecord, RunStatus

# Parts of conditions

QUEUED_AND_DUE: tuple[Clause, ...] = (Is("status", RunStatus.QUEUED), IsBefore("not_before", Now()))
NO_OWNER: dict[str, Value] = {"owner": None, "lease_until": None, "deadline": None}


def _lease_ended(skew: float) -> tuple[Clause, ...]:
    return Is("status", RunStatus.RUNNING), IsBefore("lease_until", Now(-skew))


def _mine(run: RunRecord) -> tuple[Clause, ...]:
    """The attempt is still its owner's: what a stale worker says is refused."""
    return Is("status", RunStatus.RUNNING), Is("attempt", run.attempt), Is("owner", run.owner)


# Rules


def claim(owner: str, lease: float, skew: float = 0.0, seen: RunRecord | None = None) -> Change:
    """Begin an attempt: of the run ``seen``, or of any that is due (stores that lock rows choose it themselves).

    Not of one that is to be cancelled, nor beyond ``max_attempts``: ``reap`` ends those.
    """
    due = AnyOf((QUEUED_AND_DUE, (*_lease_ended(skew), Is("cancel_requested", False))))
    same: tuple[Clause, ...] = (Is("attempt", seen.attempt),) if seen is not None else ()
    then: dict[str, Value] = {
        "status": RunStatus.RUNNING,
        "attempt": Add(1),
        "owner": owner,
        "lease_until": Now(lease),
        "deadline": NowPlus("timeout"),
        "started_at": Now(),
        "progress": None,
        "error": None,
    }
    when = (*same, IsLess("attempt", "max_attempts"), due)
    return Change(seen.id if seen else None, when, then, EventDraft("started", owner))


def renew(run: RunRecord, lease: float, progress: str | None = None, metrics: str | None = None) -> Change:
    """Keep the lease. The record that comes back says whether the run is to be cancelled; when refused, the worker
    must kill its child: the run is another's."""
    then: dict[str, Value] = {"lease_until": Now(lease)}
    if progress is not None:
        then["progress"] = progress
    if metrics is not None:
        then["metrics"] = metrics
    return Change(run.id, _mine(run), then)


End: TypeAlias = Literal["succeeded", "failed", "timed_out", "cancelled", "lost"]


@dataclass(frozen=True, slots=True)
class Ending:
    """What an attempt gave. ``retry_in``: seconds until the next one, if one is made. ``always_retry``: it was no fault
    of the job's, so it is tried again whatever ``retries`` says, while attempts are left."""

    end: End
    error: str | None = None
    output: str | None = None
    metrics: str | None = None
    progress: str | None = None
    retry_in: float = 0.0
    always_retry: bool = False


def finish(run: RunRecord, ending: Ending, outbox: Sequence[OutboxDraft] = ()) -> Change:
    """Record what an attempt of ``run`` (as claimed) gave: the outcome, or that it is tried again.

    ``outbox`` is written only with an outcome.
    """
    actor = run.owner or ""
    if will_retry(run, ending):
        then: dict[str, Value] = {
            **NO_OWNER,
            "status": RunStatus.QUEUED,
            "failures": Add(0 if ending.always_retry else 1),
            "not_before": Now(ending.retry_in),
            "error": ending.error,
        }
        # One that is to be cancelled is not queued again: the worker sees the refusal and finishes it as cancelled.
        when = (*_mine(run), Is("cancel_requested", False))
        return Change(run.id, when, then, EventDraft("retry", actor, {"error": ending.error, "end": ending.end}))
    failed = ending.end in ("failed", "timed_out")
    then = {
        **NO_OWNER,
        "status": RunStatus(ending.end),
        "finished_at": Now(),
        "error": ending.error,
        "output": ending.output,
        **({"failures": Add(1)} if failed else {}),
        **({"metrics": ending.metrics} if ending.metrics is not None else {}),
        **({"progress": ending.progress} if ending.progress is not None else {}),
    }
    details = {"error": ending.error} if ending.error else {}
    return Change(run.id, _mine(run), then, EventDraft(ending.end, actor, details), tuple(outbox))


def will_retry(run: RunRecord, ending: Ending) -> bool:
    """Whether a failed attempt is tried again: retries and attempts are left, and nobody wants it cancelled."""
    return (
        ending.end in ("failed", "timed_out")
        and (ending.always_retry or run.failures < run.retries)
        and run.attempt < run.max_attempts
        and not run.cancel_requested
    )


def release(run: RunRecord, why: str) -> Change:
    """Give an attempt back because its worker ends in good order: queued again at once, and one more may be made, so
    that it doesn't count. Attempts keep their numbers, for these fence off stale workers."""
    then: dict[str, Value] = {**NO_OWNER, "status": RunStatus.QUEUED, "max_attempts": Add(1)}
    when = (*_mine(run), Is("cancel_requested", False))
    return Change(run.id, when, then, EventDraft("released", run.owner or "", {"why": why}))


def reap(run: RunRecord, actor: str, skew: float = 0.0, outbox: Sequence[OutboxDraft] = ()) -> Change | None:
    """End a run whose lease ended and that may not be claimed again: to be cancelled, or without attempts left.

    ``None`` when neither holds of what was seen. The condition is checked again by the write.
    """
    same: tuple[Clause, ...] = (Is("attempt", run.attempt), *_lease_ended(skew))
    ended: dict[str, Value] = {**NO_OWNER, "finished_at": Now()}
    if run.cancel_requested:
        when = (*same, Is("cancel_requested", True))
        then = {**ended, "status": RunStatus.CANCELLED, "error": "cancelled; its worker had died"}
        return Change(run.id, when, then, EventDraft("cancelled", actor), tuple(outbox))
    if run.attempt >= run.max_attempts:
        words = f"its worker died or could not be reached, {run.attempt} times of {run.max_attempts}"
        when = (*same, IsLess("attempt", "max_attempts", negated=True), Is("cancel_requested", False))
        then = {**ended, "status": RunStatus.LOST, "error": words}
        return Change(run.id, when, then, EventDraft("lost", actor, {"owner": run.owner}), tuple(outbox))
    return None


def cancel(run: RunRecord, actor: str, outbox: Sequence[OutboxDraft] = ()) -> Change | None:
    """Cancel: at once if queued, by flag if running; ``None`` if it is over. When refused, look again."""
    if run.status == RunStatus.QUEUED:
        then: dict[str, Value] = {
            **NO_OWNER,
            "status": RunStatus.CANCELLED,
            "cancel_requested": True,
            "finished_at": Now(),
            "error": f"cancelled by {actor}",
        }
        event = EventDraft("cancelled", actor)
        return Change(run.id, (Is("status", RunStatus.QUEUED), Is("attempt", run.attempt)), then, event, tuple(outbox))
    if run.status == RunStatus.RUNNING:
        when: tuple[Clause, ...] = (Is("status", RunStatus.RUNNING), Is("cancel_requested", False))
        return Change(run.id, when, {"cancel_requested": True}, EventDraft("cancel requested", actor))
    return None


def note(run: str, kind: str, actor: str, data: Mapping[str, Any]) -> Change:
    """An entry in a run's audit trail (a note, feedback) that changes nothing else."""
    return Change(run, (), {}, EventDraft(kind, actor, data))


def requeue(run: RunRecord, actor: str, max_attempts: int) -> Change | None:
    """Give a lost run new attempts, by hand. ``None`` when it isn't lost."""
    if run.status != RunStatus.LOST:
        return None
    then: dict[str, Value] = {
        **NO_OWNER,
        "status": RunStatus.QUEUED,
        "max_attempts": run.attempt + max_attempts,
        "finished_at": None,
        "error": None,
        "not_before": Now(),
    }
    return Change(
        run.id, (Is("status", RunStatus.LOST), Is("attempt", run.attempt)), then, EventDraft("requeued", actor)
    )


# The same rules on records in memory: for the memory store, and for stores that read before they write.


def holds(clauses: Sequence[Clause], run: RunRecord, now: float) -> bool:
    """Whether a run fits."""
    return all(_holds(clause, run, now) for clause in clauses)


def _holds(clause: Clause, run: RunRecord, now: float) -> bool:
    match clause:
        case Is(name, value):
            return getattr(run, name) == value
        case IsBefore(name, time):
            moment = getattr(run, name)
            return moment is not None and moment <= now + time.plus
        case IsLess(name, other, negated):
            return (getattr(run, name) < getattr(run, other)) != negated
        case AnyOf(groups):
            return any(holds(group, run, now) for group in groups)


def applied(change: Change, run: RunRecord, now: float) -> RunRecord:
    """The run after the change."""
    then: dict[str, Any] = {name: _value(name, value, run, now) for name, value in change.then.items()}
    then["seq"] = run.seq + (change.event is not None)
    return replace(run, **then)


def _value(name: str, value: Value, run: RunRecord, now: float) -> Any:
    if isinstance(value, Now):
        return now + value.plus
    if isinstance(value, NowPlus):
        seconds = getattr(run, value.field)
        return None if seconds is None else now + seconds
    if isinstance(value, Add):
        return getattr(run, name) + value.number
    return value


def retry_delay(failures: int, first: float = 1.0, longest: float = 300.0) -> float:
    """Seconds until the attempt after ``failures`` failures: doubles from ``first`` up to ``longest``."""
    return min(longest, first * 2 ** min(max(failures, 0), 30))
