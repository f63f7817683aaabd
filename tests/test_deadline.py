"""The rules of dispatch in a simulated world (``dispatch_world``): each request has one end, in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from bursty.core.tickets import Plan
from dispatch_world import Land, World

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
