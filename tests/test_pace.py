"""How long things take, how often they may be done, and when requests are due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.core.alarms import SLACK, Alarms
from bursty.core.pace import WINDOW, Budget, Pace
from bursty.core.tickets import Ticket

SECONDS = st.floats(0, 100)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200))
def test_the_pace_is_between_the_fastest_and_the_slowest_of_late(durations: list[float]) -> None:
    pace = Pace()
    for duration in durations:
        pace.note(duration)
    latest = durations[-WINDOW - 8 :]
    assert pace.seconds is not None
    assert pace.most is not None
    assert min(latest) <= pace.seconds <= pace.most <= max(latest)


def test_a_few_that_hang_do_not_shift_the_pace_and_a_change_does() -> None:
    pace = Pace()
    assert pace.seconds is None
    pace.note(0.2)
    assert pace.seconds == 0.2, "the first is better than nothing"
    for number in range(100):
        pace.note(10.0 if number % 10 == 9 else 0.001)
        if number > 8:
            assert pace.seconds == 0.001
    for _ in range(WINDOW):
        pace.note(0.5)
    assert pace.seconds == pace.most == 0.5
    assert Pace(3.0).seconds == 3.0


@given(
    st.floats(0.01, 100),
    st.integers(1, 10),
    st.integers(0, 20),
    st.lists(st.tuples(SECONDS, st.booleans(), st.integers(0, 3)), max_size=60),
)
def test_a_budget_is_never_overdrawn(rate, burst, tokens, steps) -> None:
    budget, now = Budget(rate, burst, tokens, 1000.0), 1000.0
    taken: list[float] = []
    given_at: list[tuple[float, int]] = []
    for seconds, to_the_moment, more in steps:
        now = budget.when(now) if to_the_moment else now + seconds
        if budget.take(now):
            taken.append(now)
        else:
            assert not to_the_moment, "it said that there would be one"
        if more == 3:
            given_at.append((now, more))
            budget.give(more)
    for low, first in enumerate(taken):
        for high in range(low, len(taken)):
            gifts = sum(count for at, count in given_at if at <= taken[high])
            most = max(burst, tokens) + gifts + rate * (taken[high] - first)
            assert high - low + 1 <= most + 1e-6


def test_a_budget_tells_when_there_is_more() -> None:
    budget = Budget(2.0, 3.0, 4.0, 10.0)
    assert [budget.take(10.0) for _ in range(5)] == [True] * 4 + [False]
    assert budget.when(10.0) == 10.5
    assert not budget.take(10.25)
    assert budget.when(10.25) == 10.5, "asking costs nothing"
    budget.set_rate(0.5, 10.25)
    assert budget.when(10.25) == 11.25
    assert budget.take(11.25)
    budget.give(2)
    assert [budget.take(11.25) for _ in range(3)] == [True, True, False]
    assert [budget.take(1e6) for _ in range(4)] == [True] * 3 + [False], "it saves up no more than the burst"


def test_what_a_budget_was_given_at_the_beginning_is_not_lost() -> None:
    budget = Budget(1.0, 2.0, 5.0, 0.0)
    assert [budget.take(100.0) for _ in range(6)] == [True] * 5 + [False]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from([0.1, 0.1, 0.05, 0.2, 3.0])),
        st.tuples(st.just("pass"), st.sampled_from([0.0, 0.01, 0.05, 1.0])),
        st.tuples(st.just("done"), st.floats(0, 1, exclude_max=True)),
    ),
    max_size=80,
)


@given(STEPS, st.booleans())
def test_alarms_name_each_that_is_due_once(steps, answered) -> None:
    alarms, now = Alarms(), 0.0
    waiting: list[Ticket] = []
    for what, value in steps:
        if what == "add":
            ticket = Ticket(now, now + value)
            alarms.add(ticket.late_at, ticket)
            waiting.append(ticket)
        elif what == "done" and waiting:
            ticket = waiting.pop(int(value * len(waiting)))
            ticket.answered = answered
            ticket.over = not answered
        elif what == "pass":
            now += value
            due = {id(ticket) for ticket in waiting if ticket.late_at <= now}
            named = list(alarms.due(now))
            assert len(named) == len(due)
            assert {id(ticket) for ticket in named} == due
            waiting = [ticket for ticket in waiting if id(ticket) not in due]
            assert alarms.next() > now
        assert alarms.next() <= min((ticket.late_at for ticket in waiting), default=float("inf"))
    list(alarms.due(now + 100.0))
    assert len(alarms) == 0
    assert alarms.next() == float("inf")


@pytest.mark.parametrize("deadline", [0.1, 100.0])
def test_alarms_forget_what_is_done_behind_one_that_is_not(deadline: float) -> None:
    alarms = Alarms()
    alarms.add(50.0, first := Ticket(0.0, 50.0))
    for number in range(10_000):
        ticket = Ticket(number * 1e-3, number * 1e-3 + deadline)
        alarms.add(ticket.late_at, ticket)
        ticket.over = True
        assert len(alarms) <= 2 * SLACK
    assert list(alarms.due(50.0)) == [first]
