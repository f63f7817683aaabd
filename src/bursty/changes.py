"""The vocabulary of a conditional write: what ``core.runstate`` says and state stores translate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bursty.records import OutboxDraft, Scalar


@dataclass(frozen=True, slots=True)
class Now:
    """The store's time of the write, plus so many seconds."""

    plus: float = 0.0


@dataclass(frozen=True, slots=True)
class NowPlus:
    """The store's time of the write, plus the seconds in this field; nothing when the field holds nothing."""

    field: str


@dataclass(frozen=True, slots=True)
class Add:
    """The field's value before the write, plus this."""

    number: int


@dataclass(frozen=True, slots=True)
class Is:
    """The field has this value (``None``: has none)."""

    field: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class IsBefore:
    """The field holds a time at or before this one; false when it has none."""

    field: str
    time: Now


@dataclass(frozen=True, slots=True)
class IsLess:
    """The number in the field is less than the one in the other; with ``negated``: it isn't."""

    field: str
    other: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of these groups of clauses holds in full."""

    groups: tuple[tuple[Clause, ...], ...]


Clause: TypeAlias = Is | IsBefore | IsLess | AnyOf
Value: TypeAlias = Scalar | Now | NowPlus | Add


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event to be written with the change."""

    kind: str
    actor: str
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Change:
    """One conditional write. ``run``: its id; ``None``: of any run that fits (a claim). ``event`` ``None``: no event,
    for what is no transition (a renewal)."""

    run: str | None
    when: tuple[Clause, ...]
    then: Mapping[str, Value]
    event: EventDraft | None = None
    outbox: tuple[OutboxDraft, ...] = ()
