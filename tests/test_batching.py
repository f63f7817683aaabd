"""How many requests go in a batch, and when it pays to wait for more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.core.batching import Batches


def learned(fixed: float, each: float, size: int = 64, wait: float = 0.005) -> Batches:
    batches = Batches(size, wait)
    for count in (1, 20, 4, 40, 10) * 4:
        batches.note(count, fixed + each * count)
    return batches


@given(st.floats(1e-5, 1.0), st.floats(0, 1e-2))
def test_what_batches_cost_is_learned(fixed: float, each: float) -> None:
    costs = learned(fixed, each).costs()
    assert costs is not None
    assert costs == (pytest.approx(fixed, rel=1e-3, abs=1e-5), pytest.approx(each, rel=1e-3, abs=1e-6))


def test_sizes_that_are_all_alike_tell_nothing() -> None:
    batches = Batches(64, 0.0)
    assert batches.costs() is None
    for _ in range(50):
        batches.note(8, 0.01)
    assert batches.costs() is None
    assert batches.share(30, 4) == 30


def test_one_that_hung_does_not_spoil_the_rest() -> None:
    batches = learned(0.005, 1e-4)
    batches.note(10, 60.0)
    for _ in range(60):
        for count in (1, 30):
            batches.note(count, 0.005 + 1e-4 * count)
    costs = batches.costs()
    assert costs is not None
    assert costs[0] == pytest.approx(0.005, rel=0.05)


def test_where_each_one_costs_next_to_nothing_they_go_together() -> None:
    assert learned(0.005, 1e-6).share(40, 4) == 40


def test_where_each_one_has_its_price_the_workers_share_them() -> None:
    assert learned(1e-4, 0.01).share(40, 4) == 10
    assert learned(0.1, 0.006).share(40, 4) == 20  # two batches: each is worth what it costs beside


@given(st.integers(1, 500), st.integers(1, 64), st.floats(0, 1), st.floats(0, 1))
def test_a_share_is_never_empty_nor_more_than_fits(waiting: int, free: int, fixed: float, each: float) -> None:
    assert 1 <= learned(fixed, each).share(waiting, free) <= min(waiting, 64)


def test_who_is_alone_waits_for_nobody() -> None:
    batches = learned(0.01, 0.0)
    for _ in range(10):
        batches.is_sent(1, 5.0)
    assert batches.until(5.0, waiting=1, present=1) == 5.0


def test_while_fewer_are_there_than_usual_the_first_waits_a_moment() -> None:
    batches = learned(0.004, 0.0)
    batches.is_sent(20, 5.0)
    assert batches.until(5.0, waiting=3, present=3) == pytest.approx(5.002)  # half of what a batch takes
    assert batches.until(5.0, waiting=3, present=20) == 5.0  # the others are being scored
    slow = learned(1.0, 0.0)
    slow.is_sent(20, 5.0)
    assert slow.until(5.0, waiting=3, present=3) == pytest.approx(5.005)  # and never longer than declared


def test_a_crowd_that_has_gone_is_forgotten() -> None:
    batches = learned(0.01, 0.0)
    batches.is_sent(64, 5.0)
    for _ in range(40):
        batches.is_sent(1, 5.0)
    assert batches.until(5.0, waiting=1, present=1) == 5.0


def test_a_full_batch_and_one_that_shall_not_wait_go_at_once() -> None:
    batches = learned(0.01, 0.0, size=8)
    batches.is_sent(60, 5.0)
    assert batches.until(5.0, waiting=8, present=8) == 5.0
    never = learned(0.01, 0.0, wait=0.0)
    never.is_sent(60, 5.0)
    assert never.until(5.0, waiting=1, present=1) == 5.0


def test_nobody_waits_before_anything_is_known() -> None:
    batches = Batches(64, 0.005)
    batches.is_sent(10, 5.0)
    assert batches.until(5.0, waiting=1, present=1) == 5.0


def test_a_crowd_is_forgotten_by_time_too() -> None:
    batches = learned(0.01, 0.0)
    batches.is_sent(64, 5.0)
    assert batches.until(5.1, waiting=1, present=1) > 5.1
    assert batches.until(60.0, waiting=1, present=1) == 60.0
