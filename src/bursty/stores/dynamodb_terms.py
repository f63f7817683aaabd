"""The clauses of ``core.runstate`` as DynamoDB's condition expressions."""

from __future__ import annotations

from collections.abc import Sequence

from bursty.aws.dynamodb import Condition, Terms
from bursty.changes import AnyOf, Clause, Is, IsBefore, IsLess


def condition(clauses: Sequence[Clause], now: float) -> Condition:
    """All clauses hold of the item at the time ``now``. A field that holds nothing is no attribute."""

    def text(terms: Terms) -> str:
        return _all(clauses, now, terms)

    return text


def _all(clauses: Sequence[Clause], now: float, terms: Terms) -> str:
    if not clauses:
        return f"attribute_exists({terms.name('pk')})"
    return " AND ".join(_one(clause, now, terms) for clause in clauses)


def _one(clause: Clause, now: float, terms: Terms) -> str:
    match clause:
        case Is(field, None):
            return f"attribute_not_exists({terms.name(field)})"
        case Is(field, value):
            return f"{terms.name(field)} = {terms.value(value)}"
        case IsBefore(field, time):
            return f"{terms.name(field)} <= {terms.value(now + time.plus)}"
        case IsLess(field, other, negated):
            return f"{terms.name(field)} {'>=' if negated else '<'} {terms.name(other)}"
        case AnyOf(groups):
            either = [_all(group, now, terms) for group in groups]
            if not either:
                return f"attribute_not_exists({terms.name('pk')})"
            return f"({' OR '.join(either)})" if len(either) > 1 else either[0]  # needless parentheses are an error
