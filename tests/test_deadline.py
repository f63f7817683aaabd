"""The rules of dispatch in a simulated world (``dispatch_world``): each request has one end, in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursty.core.crew import END_LIMIT, RESTART_BURST, RESTART_SHARE, START_LIMIT
from bursty.core.deadline import Dispatch
from bursty.core.tickets import Demote, Kill, Open, Plan, Send, State, Ticket, Worker
from dispatch_world import Ask, Land, World

PLANS = st.builds(
    Plan,
    workers=st.integers(1, 4),
    spares=st.integers(0, 2),
    batch=st.sampled_from([None, None, 4, 64]),
    wait=st.sampled_from([0.0, 0.002]),
    limit=st.sampled_from([0.05, 1.0, 10.0]),
    queue=st.sampled_from([3, 1024]),
    repeat=st.sampled_from([True, True, False]),
    prepares=st.booleans(),
)
LANDS = st.builds(
    Land,
    seconds=st.sampled_from([2e-5, 4e-4, 0.005, 0.03]),
    fixed=st.sampled_from([0.0, 0.01]),
    start=st.sampled_from([0.05, 0.4, 2.0]),
    pickup=st.sampled_from([0.0, 0.0001, 0.02]),
    kill=st.sampled_from([0.0, 0.01]),
    restores=st.booleans(),
)
NATURES = st.sampled_from(["fine", "fine", "fine", "slow", "hang", "poison", "raises"])
Step = Callable[[World], object]


def asking(count: int, deadline: float, natures: list[str]) -> Step:
    def ask(world: World) -> None:
        for number in range(count):
            world.ask(deadline, natures[number % len(natures)])

    return ask


def times_in_a_row(count: int, gap: float) -> Step:
    """Requests one after the other, so that it is known how long they take."""

    def ask(world: World) -> None:
        for _ in range(count):
            world.ask(3.0)
            world.run(gap)

    return ask


def one_of(count: int, at: float, nature: str, deadline: float) -> Step:
    """A request that is not like the others."""
    natures = ["fine"] * count
    natures[int(at * count)] = nature
    return asking(count, deadline, natures)


BAD = st.sampled_from(["slow", "hang", "poison", "raises"])
DEADLINES = st.sampled_from([0.1, 0.1, 0.1, 0.02, 0.001, 3.0])
BELOW_ONE = st.floats(0, 1, exclude_max=True)
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(asking, st.sampled_from([1, 5, 70]), DEADLINES, st.lists(NATURES, min_size=1, max_size=8)),
    st.builds(one_of, st.sampled_from([1, 4, 20, 64]), BELOW_ONE, BAD, DEADLINES),
    st.builds(asking, st.sampled_from([1, 5, 100]), DEADLINES, st.just(["fine"])),
    st.builds(times_in_a_row, st.integers(1, 10), st.sampled_from([0.001, 0.05])),
    st.integers(0, 200).map(lambda index: lambda world: world.hang_up(-1 - index)),
    st.integers(0, 9).map(lambda index: lambda world: world.crash(index)),
    st.just(lambda world: world.renew()),
    st.booleans().map(lambda fail: lambda world: setattr(world, "starts_fail", fail)),
    st.booleans().map(lambda fail: lambda world: setattr(world, "cannot_open", fail)),
)
GAPS = st.sampled_from([0.0, 0.0, 0.0, 0.0003, 0.004, 0.02, 0.05, 0.5, 3.0, 40.0])
SCRIPTS = st.lists(st.tuples(GAPS, STEPS), max_size=40)


def play(world: World, script: list[tuple[float, Step]]) -> None:
    for gap, step in script:
        world.run(gap)
        step(world)
    world.run(5.0)
    world.check_ends()
    world.check_budget()


@settings(max_examples=400)
@given(PLANS, LANDS, st.booleans(), SCRIPTS, st.randoms(use_true_random=False))
def test_whatever_happens_each_request_has_one_end_in_time(plan, land, is_warm, script, dice) -> None:
    plan = replace(plan, limit=max(plan.limit, 2 * (land.seconds + land.fixed + land.pickup)))
    world = World(plan, land, dice)
    if is_warm:
        world.run(10.0)
        times_in_a_row(9, 0.05)(world)
    play(world, script)
    world.check_rest()
    world.check_ends()


# One thing at a time


def warm(plan: Plan, land: Land | None = None, requests: int = 9) -> World:
    """Workers that are ready, and it is known how long requests take."""
    world = World(plan, land)
    world.run(10.0)
    times_in_a_row(requests, 0.05)(world)
    assert world.count() == {"answer": requests}
    return world


def ends(asks: list[Ask]) -> list[str]:
    return [ask.ends[0][0] if ask.ends else "waits" for ask in asks]


def test_requests_are_answered_in_the_order_in_which_they_came() -> None:
    world = warm(Plan(1, 1), Land(seconds=0.01))
    asks = [world.ask(0.2) for _ in range(8)]
    world.run(1.0)
    assert ends(asks) == ["answer"] * 8
    assert [ask.ends[0][1] for ask in asks] == sorted(ask.ends[0][1] for ask in asks)


def test_quick_requests_that_wait_go_together_and_slow_ones_do_not() -> None:
    for seconds, sizes in ((1e-4, [5, 5]), (0.002, [1] * 10), (3e-4, [3, 3, 2, 2])):
        world = warm(Plan(2, 0), Land(seconds=seconds))
        seen: list[int] = []
        world.watch = seen
        for _ in range(10):
            world.ask()
        world.run(1.0)
        assert seen == sizes


def test_who_hangs_keeps_those_behind_no_longer() -> None:
    world = warm(Plan(1, 1), Land(seconds=1e-5))
    asks = [world.ask(0.1, nature) for nature in ("fine", "fine", "hang", *["fine"] * 20)]
    world.run(0.05)
    assert ends(asks) == ["answer"] * 2 + ["waits"] + ["answer"] * 20
    world.run(0.06)
    assert ends(asks)[2] == "too late"
    assert not world.kills
    world.run(20.0)
    assert len(world.kills) == 1
    world.check_rest()


def test_a_spare_takes_the_place_of_one_that_hangs_before_its_time_is_up() -> None:
    world = warm(Plan(1, 1), Land(seconds=0.001))
    hanging = world.ask(0.1, "hang")
    world.run(0.001)
    others = [world.ask(0.1) for _ in range(20)]
    world.run(0.05)
    assert ends(others) == ["answer"] * 20
    assert ends([hanging]) == ["waits"]


def test_a_worker_that_was_slow_works_on_and_its_answer_is_not_lost() -> None:
    world = warm(Plan(1, 0), Land(seconds=0.002))
    slow = world.ask(0.1, "slow")
    world.run(0.12)
    assert ends([slow]) == ["too late"]
    world.run(0.1)
    assert slow.late == ["answer"]
    assert not world.kills


def test_poison_kills_one_worker_alone_and_two_in_a_batch_and_its_neighbours_are_answered() -> None:
    for batch, deaths in ((None, 1), (8, 2)):
        world = warm(Plan(2, 1, batch), Land(seconds=1e-4))
        asks = [world.ask(0.1, "poison" if number == 3 else "fine") for number in range(8)]
        world.run(0.2)
        assert ends(asks) == ["answer"] * 3 + ["fail"] + ["answer"] * 4
        assert asks[3].deaths == deaths
        world.check_rest()


def test_who_is_tried_again_comes_before_those_that_came_later() -> None:
    world = warm(Plan(1, 2, batch=4), Land(seconds=0.001))
    asks = [world.ask(0.3, "poison" if number == 3 else "fine") for number in range(4)]
    later = [world.ask(0.3) for _ in range(12)]
    world.run(1.0)
    assert ends(asks + later) == ["answer"] * 3 + ["fail"] + ["answer"] * 12
    assert max(ask.ends[0][1] for ask in asks) < min(ask.ends[0][1] for ask in later)


def test_a_batch_that_hangs_is_tried_again_one_by_one() -> None:
    world = warm(Plan(2, 1, batch=8), Land(seconds=1e-4))
    asks = [world.ask(0.1, "hang" if number == 3 else "fine") for number in range(8)]
    world.run(0.2)
    assert ends(asks) == ["answer"] * 3 + ["too late"] + ["answer"] * 4
    world.run(30.0)
    assert asks[3].deaths == 2
    world.check_rest()


def test_what_may_not_be_repeated_is_not_but_what_had_not_begun_is_no_repetition() -> None:
    world = warm(Plan(1, 1, repeat=False), Land(seconds=1e-4))
    asks = [world.ask(0.1, "poison" if number == 3 else "fine") for number in range(8)]
    world.run(0.2)
    assert ends(asks) == ["answer"] * 3 + ["fail"] + ["answer"] * 4
    assert all(ask.begun == 1 for ask in asks)
    world = warm(Plan(1, 1, batch=8, repeat=False), Land(seconds=1e-4))
    asks = [world.ask(0.1, "poison" if number == 3 else "fine") for number in range(8)]
    world.run(0.2)
    assert ends(asks) == ["fail"] * 8


def test_a_worker_that_dies_before_it_begins_costs_its_requests_nothing() -> None:
    for repeat in (True, False):
        world = warm(Plan(1, 1, repeat=repeat), Land(seconds=0.001, pickup=0.002))
        asks = [world.ask(0.1)]
        world.run(0.001)
        [busy] = [hand for hand in world.hands.values() if hand.tickets]
        world.crash(list(world.hands.values()).index(busy))
        world.run(0.2)
        assert ends(asks) == ["answer"]


@pytest.mark.parametrize("nature", ["poison", "hang", "slow"])
@pytest.mark.parametrize("batch", [None, 16])
@pytest.mark.parametrize("restores", [True, False])
def test_a_flood_of_bad_requests_costs_what_the_budget_gives_and_then_all_is_well(nature, batch, restores) -> None:
    world = warm(Plan(2, 1, batch, limit=1.0), Land(seconds=0.001, start=1.0, restores=restores))
    first = len(world.opens)
    for number in range(6000):
        world.ask(0.1, nature if number % 3 == 0 else "fine")
        world.run(0.01)
    world.run(10.0)
    world.check_ends()
    world.check_budget()
    assert len(world.opens) - first <= RESTART_BURST + RESTART_SHARE / world.land.start * (world.now - world.began) + 1
    assert world.count()["answer"] > 10, "and it goes on in between"
    world.check_rest()


@pytest.mark.parametrize("deadline", [0.1, 0.02])
@pytest.mark.parametrize(
    ("plan", "land", "rate", "capacity"),
    [
        (Plan(2, 1), Land(seconds=0.005), 4000, 400),
        (Plan(1, 0), Land(seconds=0.005, pickup=0.0002), 2000, 192),
        (Plan(2, 1), Land(seconds=1e-4), 30_000, 20_000),
        (Plan(2, 1, batch=16, wait=0.002), Land(seconds=1e-4, fixed=0.004), 12_000, 5700),
    ],
)
def test_far_above_capacity_there_are_as_many_answers_as_workers_can_give(plan, land, rate, capacity, deadline) -> None:
    world = warm(plan, land)
    begun = world.now
    for _ in range(2 * rate):
        world.ask(deadline)
        world.run(1 / rate)
    world.run(1.0)
    assert world.now - begun == pytest.approx(3.0, rel=0.01)
    assert world.count()["answer"] > 0.9 * 2 * capacity
    assert world.count()["shed"] > 0.8 * world.count()["too late"], "who has no chance is told so at once"
    world.check_ends()


@given(
    st.integers(1, 3),
    st.integers(0, 1),
    st.sampled_from([0.002, 0.005, 0.03]),
    st.lists(st.tuples(st.sampled_from([0.0, 0.001, 0.01, 0.05]), st.sampled_from([0.1, 0.02, 0.3])), max_size=60),
)
def test_only_those_are_shed_that_could_not_have_been_in_time(workers, spares, seconds, arrivals) -> None:
    world = warm(Plan(workers, spares), Land(seconds=seconds))
    world.run(0.1)
    free = [world.now] * workers
    chances = 0
    for gap, deadline in arrivals:
        world.run(gap)
        chances += not world.dispatch.waiting
        ask = world.ask(deadline)
        free = sorted(max(at, world.now) for at in free)
        if ends([ask]) == ["shed"]:
            assert free[0] + seconds > world.now + deadline - 1e-9, "it would have been answered"
        else:
            free[0] += seconds
    world.run(1.0)
    if len({deadline for _, deadline in arrivals}) <= 1:
        assert world.count()["too late"] <= chances, "it was known before, but of those that had nobody before them"


def test_too_many_that_wait_are_shed_and_those_that_left_do_not_count() -> None:
    world = warm(Plan(1, 0, queue=3), Land(seconds=1e-4))
    world.ask(0.5, "hang")
    world.run(0.001)
    asks = [world.ask(0.1) for _ in range(5)]
    assert ends(asks) == ["waits"] * 3 + ["shed"] * 2
    world.hang_up(-3)
    assert ends([world.ask(0.1)]) == ["waits"]
    world.run(0.2)
    assert ends([world.ask(0.1)]) == ["waits"], "those before are late, and wait no more"


def test_what_is_over_is_forgotten_even_behind_one_that_takes_long() -> None:
    world = warm(Plan(2, 0, limit=1000.0, prepares=True), Land(seconds=1e-3))
    world.ask(500.0, "hang")
    for number in range(5000):
        world.ask(60.0 if number % 2 else 300.0)
        world.run(0.002)
    for _ in range(3000):
        world.ask(60.0)
        world.hang_up(-1)
    assert world.kept() < 2000
    world.run(1000.0)
    world.check_rest()


def test_fallbacks_are_looked_up_at_half_time_for_all_that_still_wait() -> None:
    world = warm(Plan(1, 0, prepares=True), Land(seconds=1e-3))
    assert not any(ask.prepared for ask in world.asks)
    asks = [world.ask(0.4, "hang"), world.ask(0.1), world.ask(0.2)]
    for seconds, prepared in ((0.049, [0, 0, 0]), (0.002, [0, 1, 0]), (0.05, [0, 1, 1]), (0.1, [1, 1, 1])):
        world.run(seconds)
        assert [ask.prepared for ask in asks] == prepared
    world.run(1.0)
    assert ends(asks) == ["too late"] * 3


def test_a_batch_waits_for_company_only_while_fewer_are_there_than_usual() -> None:
    world = warm(Plan(1, 1, batch=4, wait=0.002), Land(seconds=0.01))
    seen: list[int] = []
    world.watch = seen
    world.ask(0.3)
    world.run(0.001)
    assert seen == [1], "at once, for nobody else is here"
    for _ in range(6):
        world.ask(0.3)
        world.run(0.001)
    world.run(0.3)
    assert seen == [1, 4, 2]
    late = world.ask(0.3)
    world.run(0.0019)
    assert seen == [1, 4, 2], "there were more before, who may come back"
    world.run(0.0002)
    assert seen == [1, 4, 2, 1]
    world.run(0.3)
    assert ends([late]) == ["answer"]


def test_workers_are_renewed_without_a_pause() -> None:
    world = warm(Plan(2, 1), Land(seconds=0.001, start=1.0))
    for _ in range(3):
        world.renew()
        for _ in range(100):
            ask = world.ask(0.1)
            world.run(0.05)
            assert ends([ask]) == ["answer"]
            assert sum(1 for hand in world.hands.values() if hand.ready and not hand.told) >= 3
    assert all(worker.generation == 3 for worker in world.dispatch.workers.values())
    world.check_rest()


def test_when_new_workers_cannot_start_the_old_ones_go_on() -> None:
    for trouble in ("starts_fail", "cannot_open"):
        world = warm(Plan(2, 1))
        old = set(world.hands)
        setattr(world, trouble, True)
        world.renew()
        before = world.acts
        world.run(3600.0)
        assert {number for number, hand in world.hands.items() if hand.ready} == old
        assert world.acts - before < 2000, "it is tried again and again, more and more slowly"
        ask = world.ask()
        world.run(0.1)
        assert ends([ask]) == ["answer"]
        world.check_rest()
        assert not old & set(world.hands)


def test_an_endpoint_whose_workers_cannot_start_says_so_at_once() -> None:
    world = World(Plan(2, 1))
    world.starts_fail = True
    world.run(10.0)
    ask = world.ask(60.0)
    assert ends([ask]) == ["shed"]
    world.check_rest()


def test_starts_that_failed_are_forgotten_when_one_succeeds() -> None:
    world = World(Plan(1, 0), Land(start=0.1))
    world.starts_fail = True
    world.run(5.0)
    world.starts_fail = False
    world.run(60.0)
    world.crash(0)
    ask = world.ask(1.0)
    assert ends([ask]) == ["waits"]
    world.run(1.0)
    assert ends([ask]) == ["answer"]


def test_an_idle_endpoint_wakes_nobody() -> None:
    world = warm(Plan(2, 1, batch=8, wait=0.002, prepares=True))
    before = world.acts
    world.run(100_000.0)
    assert world.acts - before < 5
    world.check_empty()


def test_a_drain_answers_what_waits_and_starts_nothing() -> None:
    world = warm(Plan(1, 1), Land(seconds=0.01))
    asks = [world.ask(0.1) for _ in range(5)]
    world.drain()
    assert ends([world.ask()]) == ["shed"]
    opens = len(world.opens)
    world.run(0.012)
    world.crash(0)
    world.crash(0)
    world.run(100.0)
    assert set(ends(asks)) <= {"answer", "fail", "too late"}
    assert ends(asks)[0] == "answer"
    assert len(world.opens) == opens


# Straight to the rules, for what the world's driver does not do


def opened(plan: Plan, now: float = 0.0) -> Dispatch:
    """With workers that were opened, numbered from 0."""
    dispatch = Dispatch(plan, now)
    for number, order in enumerate(dispatch.orders(now)):
        assert isinstance(order, Open)
        dispatch.opened(number, now)
    return dispatch


def sent(dispatch: Dispatch, tickets: list[Ticket], now: float, first: int = 0) -> Worker:
    for ticket in tickets:
        assert dispatch.take(ticket, now)
    [order] = dispatch.orders(now)
    assert isinstance(order, Send)
    assert order.tickets == tickets
    dispatch.sent(order.worker, first)
    return order.worker


def test_a_worker_that_hangs_while_it_starts_or_ends_is_killed() -> None:
    dispatch = opened(Plan(1, 0))
    [worker] = dispatch.workers.values()
    assert dispatch.orders(START_LIMIT - 1) == []
    assert dispatch.next_time(0.0) == START_LIMIT
    assert dispatch.orders(START_LIMIT) == [Kill(worker, START_LIMIT)]
    assert dispatch.tally.failed_starts == 1
    dispatch.ready(0, START_LIMIT)
    assert not dispatch.idle, "it is too late for that"
    again = dispatch.orders(START_LIMIT + END_LIMIT)
    assert Kill(worker, END_LIMIT) in again
    assert dispatch.tally.kills == 1, "the same one"


def test_a_worker_whose_answers_are_all_in_is_not_called_late() -> None:
    dispatch = opened(Plan(1, 1))
    dispatch.ready(0, 1.0)
    worker = sent(dispatch, [Ticket(1.0, 2.0)], 1.0, first=7)
    answer(dispatch, 0, 7)
    dispatch.ready(1, 1.1)
    assert dispatch.orders(1.2) == [], "although it looked"
    assert worker.state is State.BUSY
    dispatch.ended(0, 1.2)
    assert worker.state is State.IDLE


def test_an_answer_of_unknown_duration_tells_nothing_about_the_pace_and_counts_once() -> None:
    dispatch = opened(Plan(1, 0))
    dispatch.ready(0, 1.0)
    sent(dispatch, [Ticket(1.0, 2.0)], 1.0)
    assert dispatch.answered(0, 0, 0.0) is not None
    assert dispatch.pace.seconds is None
    assert dispatch.answered(0, 0, 0.25) is None
    assert dispatch.pace.seconds == 0.25
    assert dispatch.answered(0, 1, 0.25) is None
    assert dispatch.answered(5, 0, 0.25) is None


def test_an_invocation_that_ended_without_an_answer_is_tried_again_but_not_for_ever() -> None:
    dispatch = opened(Plan(1, 0))
    dispatch.ready(0, 1.0)
    ticket = Ticket(1.0, 100.0)
    sent(dispatch, [ticket], 1.0)
    for number in range(1, 3):
        dispatch.ended(0, 1.0 + number)
        [order] = dispatch.orders(1.0 + number)
        assert isinstance(order, Send)
        dispatch.sent(order.worker, number)
    assert dispatch.lost(0, 5.0, None) == [ticket]


def test_a_worker_that_is_not_what_it_was_stays_while_there_is_no_other() -> None:
    dispatch = opened(Plan(1, 1))
    dispatch.ready(0, 1.0)
    dispatch.ready(1, 1.0)
    assert not dispatch.replace(0, 1.0)
    dispatch.opening += 1
    dispatch.opened(2, 1.0)
    assert not dispatch.replace(0, 1.0), "the third is not warm yet"
    dispatch.ready(2, 2.0)
    assert dispatch.replace(0, 2.0)
    assert dispatch.workers[0].state is State.ENDING
    assert not dispatch.replace(0, 2.0)
    assert dispatch.lost(0, 3.0, None) == []
    assert dispatch.tally.lost == 0


def test_renewing_again_and_again_does_not_fill_the_machine() -> None:
    dispatch = opened(Plan(2, 1))
    for number in range(3):
        dispatch.ready(number, 1.0)
    for time in range(2, 100):
        dispatch.renew()
        for order in dispatch.orders(float(time)):
            assert isinstance(order, Open)
            dispatch.opened(len(dispatch.workers), float(time))
    assert len(dispatch.workers) == 2 * (3 + 2)


def answer(dispatch: Dispatch, number: int, seq: int) -> None:
    ticket = dispatch.answered(number, seq, 1e-5)
    assert ticket is not None
    ticket.answered = True


def test_who_works_for_nobody_any_more_is_late_at_once() -> None:
    dispatch = opened(Plan(1, 0))
    dispatch.ready(0, 1.0)
    sent(dispatch, [Ticket(1.0, 9.0)], 1.0)
    answer(dispatch, 0, 0)
    dispatch.ended(0, 1.0)
    tickets = [Ticket(2.0, 9.0) for _ in range(3)]
    worker = sent(dispatch, tickets, 2.0, first=1)
    dispatch.give_up(tickets[2])
    assert dispatch.orders(2.0) == []
    answer(dispatch, 0, 1)
    answer(dispatch, 0, 2)
    assert Demote(worker) in dispatch.orders(2.0)
    assert worker.state is State.LATE


def test_a_batch_whose_requests_others_have_answered_is_late_at_once() -> None:
    dispatch = opened(Plan(3, 0, batch=2))
    for number in range(3):
        dispatch.ready(number, 1.0)
    first = sent(dispatch, [Ticket(1.0, 9.0)], 1.0)
    answer(dispatch, first.number, 0)
    dispatch.ended(first.number, 1.0)
    hanging = sent(dispatch, [Ticket(2.0, 9.0), Ticket(2.0, 9.0)], 2.0, first=1)
    sends = dispatch.orders(3.0)
    for number, order in enumerate(sends, 3):
        assert isinstance(order, Send)
        dispatch.sent(order.worker, number)
    assert len(sends) == 2
    for number, order in enumerate(sends, 3):
        assert isinstance(order, Send)
        assert Demote(hanging) not in dispatch.orders(3.0)
        answer(dispatch, order.worker.number, number)
        dispatch.ended(order.worker.number, 3.0)
    assert Demote(hanging) in dispatch.orders(3.0)


def test_a_suspect_is_sent_alone_also_behind_others() -> None:
    dispatch = opened(Plan(2, 0))
    dispatch.ready(0, 1.0)
    dispatch.ready(1, 1.0)
    first = sent(dispatch, [Ticket(1.0, 9.0)], 1.0)
    answer(dispatch, first.number, 0)
    dispatch.ended(first.number, 1.0)
    suspect, *others = (Ticket(2.0, 9.0) for _ in range(4))
    died = sent(dispatch, [suspect], 2.0, first=1)
    behind = sent(dispatch, others, 2.0, first=2)
    assert dispatch.lost(died.number, 2.0, None) == []
    dispatch.unstuck(behind, 2)
    answer(dispatch, behind.number, 2)
    dispatch.ended(behind.number, 2.0, 3)
    sends = [order.tickets for order in dispatch.orders(2.0) if isinstance(order, Send)]
    assert sends == [others[1:]]
