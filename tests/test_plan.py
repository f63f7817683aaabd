"""The planner in a simulated world: workers that finish, raise, die, hang, stop, and are killed a moment too late."""

import random
from collections import Counter, deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bursty.core.plan import Action, Group, Kill, Plan, Revoke, Send
from bursty.values import BackendTraits, Loss, Mark

Key = tuple[int, int]
"""A call: its group and its index there."""


@dataclass
class Hand:
    """A simulated worker: its invocations, the call it is in, and outcomes that it has not reported yet."""

    number: int
    queue: deque[Send] = field(default_factory=deque[Send])
    next: int = 0
    running: int | None = None
    started: float = 0.0
    limit: int | None = None
    unreported: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    killed: Kill | None = None
    victim: Key | None = None

    def key(self, seq: int) -> Key:
        for send in self.queue:
            if send.seq <= seq < send.seq + send.span.high - send.span.low:
                return send.span.group, send.span.low + seq - send.seq
        raise AssertionError(f"worker {self.number} was never given {seq}")


class World:
    """Backend and engine around a plan. Every promise of the planner is checked where it could be broken."""

    def __init__(self, traits: BackendTraits, jitter=lambda: 0.5) -> None:
        self.traits = traits
        self.plan = Plan(traits, jitter)
        self.now = 0.0
        self.hands: dict[int, Hand] = {}
        self.groups: dict[int, Group] = {}
        self.outcomes: dict[Key, str] = {}
        self.starts: Counter[Key] = Counter()
        self.born = 0

    # The engine

    def add(self, count: int, **options) -> Group:
        number = len(self.groups) + 1
        group = Group(number, options.pop("function", f"f{number}"), count, **options)
        self.groups[number] = group
        self.plan.add(group)
        if count == 0:
            self.plan.forget(number)
        self.staff()
        return group

    def staff(self) -> None:
        alive = sum(1 for worker in self.plan.workers.values() if not worker.doomed)
        for _ in range(min(self.plan.wanted(), self.traits.workers - alive)):
            self.born += 1
            self.hands[self.born] = Hand(self.born)
            self.plan.join(self.born, self.now)

    def dispatch(self) -> None:
        for send in self.plan.assign(self.now):
            self.act([send])

    def act(self, actions: list[Action]) -> None:
        for action in actions:
            hand = self.hands[action.worker]
            match action:
                case Send():
                    self.check_send(hand, action)
                    hand.queue.append(action)
                case Revoke():
                    hand.limit = action.seq
                case Kill():
                    if hand.killed is None and self.traits.can_kill:
                        hand.killed = action
                        hand.victim = None if hand.running is None else hand.key(hand.running)

    def check_send(self, hand: Hand, send: Send) -> None:
        span, group = send.span, self.groups[send.span.group]
        size = span.high - span.low
        assert size > 0
        assert 0 <= span.low < span.high <= group.count
        assert hand.killed is None, "a worker that was told to die was given more"
        assert len(hand.queue) < self.traits.in_flight
        assert not any(held.span.alone for held in hand.queue), "given more beside a call that is to be alone"
        assert not (span.alone and hand.queue), "to be alone, and it isn't"
        for index in range(span.low, span.high):
            assert (span.group, index) not in self.outcomes, "handed out after it was settled"
        if group.idempotent is False:
            assert size == 1
            assert self.starts[span.group, span.low] <= group.failures.get(span.low, 0), (
                "handed out after it may have run"
            )
        if group.weight and size > 1:
            assert size * group.weight <= self.traits.max_bytes

    def resolve(self, key: Key, what: str) -> None:
        assert key not in self.outcomes, f"{key} was {self.outcomes[key]} and now {what}"
        self.outcomes[key] = what
        group = self.groups[key[0]]
        if sum(1 for number, _ in self.outcomes if number == key[0]) == group.count:
            assert group.open == 0
            self.plan.forget(key[0])

    def cancel(self, key: Key) -> None:
        actions = self.plan.cancel(*key, self.now, self.mark)
        if key not in self.outcomes:
            self.resolve(key, "cancelled")
        self.act(actions)

    def mark(self, number: int) -> Mark:
        hand = self.hands[number]
        if not self.traits.names_culprit or hand.running is None:
            return Mark()
        return Mark(hand.running, hand.started)

    def tick(self) -> None:
        self.act(self.plan.tick(self.now, self.mark))

    # The workers

    def begin(self, hand: Hand) -> None:
        """Start the next call, or stop at what was taken back."""
        send = hand.queue[0]
        end = send.seq + send.span.high - send.span.low
        hand.next = max(hand.next, send.seq)
        if hand.next == end or (hand.limit is not None and hand.next >= hand.limit):
            self.report(hand)
            self.act(self.plan.ended(hand.number, send.seq, hand.next, self.now))
            hand.queue.popleft()
            hand.next = end
            return
        key = hand.key(hand.next)
        others = [
            other
            for other in self.hands.values()
            if other is not hand and other.running is not None and other.key(other.running) == key
        ]
        if self.groups[key[0]].idempotent is not True:
            assert not others, f"{key} runs twice at the same time"
        hand.running, hand.started = hand.next, self.now
        self.starts[key] += 1

    def finish(self, hand: Hand) -> None:
        assert hand.running is not None
        hand.unreported.append((hand.running, self.now - hand.started))
        hand.next, hand.running = hand.running + 1, None

    def fail(self, hand: Hand) -> None:
        assert hand.running is not None
        self.report(hand)
        seq, seconds = hand.running, self.now - hand.started
        hand.next, hand.running = seq + 1, None
        verdict = self.plan.failed(hand.number, seq, seconds, self.now)
        if verdict is not None and verdict[2]:
            self.resolve((verdict[0].number, verdict[1]), "error")
            self.beat(verdict[0].number, verdict[1], hand)

    def report(self, hand: Hand) -> None:
        done, hand.unreported = hand.unreported, []
        while done:
            count = 1
            while count < len(done) and done[count][0] == done[0][0] + count:
                count += 1
            settled = self.plan.settle(hand.number, done[0][0], count, sum(seconds for _, seconds in done[:count]))
            if settled is not None:
                for low, high in settled[1]:
                    for index in range(low, high):
                        self.resolve((settled[0].number, index), "value")
                        self.beat(settled[0].number, index, hand)
            del done[:count]

    def beat(self, group: int, index: int, winner: Hand) -> None:
        if self.plan.has_doubles:
            self.act(self.plan.beaten(group, index, winner.number))

    def die(self, hand: Hand, kind: str = "signal") -> None:
        """The worker is gone. What it finished is heard before."""
        self.report(hand)
        running = hand.running
        culprit = None if running is None else hand.key(running)
        del self.hands[hand.number]
        if hand.killed is not None:
            kind = hand.killed.kind
        loss = Loss(kind)  # type: ignore[arg-type]
        known = running if self.traits.names_culprit else None
        barren = kind == "start" or (self.traits.names_culprit and running is None)
        for fail in self.plan.lost(hand.number, loss, known, self.now):
            key = fail.group, fail.index
            if kind in ("timeout", "cancelled") and self.traits.names_culprit:
                group = self.groups[fail.group]
                blameless = key != hand.victim and group.idempotent is not False
                assert not blameless, f"{key} fails by a kill that was meant for {hand.victim}"
            if self.traits.names_culprit and not barren:
                assert key == culprit, f"{key} fails, and {culprit} was running"
            self.resolve(key, f"lost by {kind}")

    # Until all is done

    def settle_down(self, limit: int = 20_000) -> None:
        """From now on every worker makes progress: all calls have outcomes after a bounded number of steps."""
        for _ in range(limit):
            if len(self.outcomes) == sum(group.count for group in self.groups.values()):
                break
            self.step()
        open_calls = [
            (group.number, index)
            for group in self.groups.values()
            for index in range(group.count)
            if (group.number, index) not in self.outcomes
        ]
        assert not open_calls, f"lost, or it does not end: {open_calls[:5]}"
        assert not self.plan.groups
        for hand in list(self.hands.values()):
            while hand.queue and hand.killed is None:
                if hand.running is not None:
                    self.finish(hand)
                self.begin(hand)
        for hand in [hand for hand in self.hands.values() if hand.killed is not None]:
            self.die(hand)
        self.dispatch()
        assert self.plan.is_idle
        assert self.plan.wait(self.now) is None

    def step(self, poison: frozenset[Key] = frozenset()) -> None:
        self.staff()
        self.dispatch()
        waiting = self.plan.wait(self.now)
        busy = [hand for hand in self.hands.values() if hand.queue]
        assert busy or waiting is not None or not self.plan.groups, "nobody will ever look again"
        for hand in busy:
            if hand.killed is not None or (hand.running is not None and hand.key(hand.running) in poison):
                self.die(hand)
            elif hand.running is None:
                self.begin(hand)
            else:
                self.finish(hand)
        self.now += 0.01 if busy else max(waiting or 0.0, 0.01)
        self.tick()
        self.staff()


TRAITS = st.builds(
    BackendTraits,
    workers=st.integers(1, 4),
    in_flight=st.integers(1, 3),
    batch_seconds=st.sampled_from([0.0, 0.05, 10.0]),
    max_bytes=st.sampled_from([100, 8 << 20]),
    names_culprit=st.booleans(),
)


class Planning(RuleBasedStateMachine):
    """Anything may happen in any order; then everything comes to an end."""

    world: World

    @initialize(traits=TRAITS, jitter=st.sampled_from([0.0, 0.5, 0.999]))
    def start(self, traits: BackendTraits, jitter: float) -> None:
        self.world = World(traits, lambda: jitter)

    def a_hand(self, data: st.DataObject, fits) -> Hand:
        return data.draw(st.sampled_from([hand for hand in self.world.hands.values() if fits(hand)]))

    def some(self, fits) -> bool:
        return any(fits(hand) for hand in self.world.hands.values())

    @rule(
        count=st.integers(0, 25),
        function=st.sampled_from("fg"),
        retries=st.integers(0, 2),
        timeout=st.sampled_from([None, None, 0.3, 5.0]),
        idempotent=st.sampled_from([None, True, False]),
        weight=st.sampled_from([0, 10, 200]),
    )
    def add(self, **options) -> None:
        self.world.add(**options)

    @rule()
    def dispatch(self) -> None:
        self.world.staff()
        self.world.dispatch()

    @precondition(lambda self: self.some(lambda hand: hand.queue and hand.running is None))
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.world.begin(self.a_hand(data, lambda hand: hand.queue and hand.running is None))

    @precondition(lambda self: self.some(lambda hand: hand.running is not None))
    @rule(data=st.data(), how=st.sampled_from(["finish", "finish", "fail"]), more=st.integers(0, 6))
    def end_a_call(self, data: st.DataObject, how: str, more: int) -> None:
        hand = self.a_hand(data, lambda hand: hand.running is not None)
        getattr(self.world, how)(hand)
        for _ in range(more):
            if hand.queue and hand.running is None:
                self.world.begin(hand)
            if hand.running is not None:
                self.world.finish(hand)

    @precondition(lambda self: self.some(lambda hand: hand.unreported))
    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        self.world.report(self.a_hand(data, lambda hand: hand.unreported))

    @precondition(lambda self: self.world.hands)
    @rule(data=st.data(), kind=st.sampled_from(["signal", "exit", "memory", "machine"]))
    def die(self, data: st.DataObject, kind: str) -> None:
        self.world.die(self.a_hand(data, lambda hand: True), kind)

    @precondition(lambda self: self.some(lambda hand: hand.killed is not None))
    @rule(data=st.data())
    def die_of_a_kill(self, data: st.DataObject) -> None:
        self.world.die(self.a_hand(data, lambda hand: hand.killed is not None))

    @precondition(lambda self: self.world.plan.groups)
    @rule(data=st.data(), at=st.floats(0, 1, exclude_max=True))
    def cancel(self, data: st.DataObject, at: float) -> None:
        group = self.world.groups[data.draw(st.sampled_from(sorted(self.world.plan.groups)))]
        self.world.cancel((group.number, int(at * group.count)))

    @precondition(lambda self: self.some(lambda hand: hand.running is not None))
    @rule(data=st.data())
    def cancel_what_runs(self, data: st.DataObject) -> None:
        hand = self.a_hand(data, lambda hand: hand.running is not None)
        assert hand.running is not None
        self.world.cancel(hand.key(hand.running))

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.2, 1.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.tick()

    @invariant()
    def settled_calls_have_outcomes(self) -> None:
        if hasattr(self, "world"):
            for number, group in self.world.plan.groups.items():
                settled = {index for index in range(group.count) if group.settled[index]}
                assert settled == {index for other, index in self.world.outcomes if other == number}
                assert group.open == group.count - len(settled)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle_down()


TestPlanning = Planning.TestCase
TestPlanning.settings = settings(max_examples=250, stateful_step_count=60)


@given(
    TRAITS,
    st.integers(1, 60),
    st.sets(st.integers(0, 59), max_size=8),
    st.sampled_from([None, True]),
    st.integers(0, 1),
)
def test_calls_that_kill_their_worker_fail_and_no_others(
    traits: BackendTraits, count: int, culprits: set[int], idempotent: bool | None, retries: int
) -> None:
    world = World(traits)
    group = world.add(count, idempotent=idempotent, retries=retries)
    poison = frozenset((group.number, index) for index in culprits if index < count)
    for _ in range(5_000):
        if len(world.outcomes) == count:
            break
        world.step(poison)
    for index in range(count):
        expected = "lost by signal" if (group.number, index) in poison else "value"
        assert world.outcomes.get((group.number, index)) == expected
    if traits.names_culprit:
        assert all(world.starts[key] == 2 + retries for key in poison), "twice by itself, then as often as asked for"


@given(TRAITS, st.integers(1, 20), st.sets(st.integers(0, 19)), st.integers(0, 2))
def test_a_call_that_must_not_run_twice_fails_by_the_first_loss(
    traits: BackendTraits, count: int, culprits: set[int], retries: int
) -> None:
    world = World(traits)
    group = world.add(count, idempotent=False, retries=retries)
    poison = frozenset((group.number, index) for index in culprits if index < count)
    for _ in range(2_000):
        if len(world.outcomes) == count:
            break
        world.step(poison)
    for index in range(count):
        key = group.number, index
        assert world.starts[key] <= 1
        assert world.outcomes[key] == "lost by signal" if key in poison or not world.starts[key] else "value"


def advance(world: World, seconds: float) -> None:
    world.now += seconds
    world.tick()


def running(world: World, count: int = 1, workers: int = 1, **options) -> list[Hand]:
    """A group of calls, handed out, the first of each worker begun."""
    world.add(count, **options)
    world.dispatch()
    hands = list(world.hands.values())
    assert len(hands) == workers
    for hand in hands:
        world.begin(hand)
    return hands


def test_a_call_over_its_time_is_killed_and_only_that_one_fails() -> None:
    world = World(BackendTraits(1))
    [hand] = running(world, 4, timeout=1.0)
    advance(world, 0.9)
    assert hand.killed is None
    advance(world, 0.2)
    assert hand.killed == Kill(1, "timeout", 1.0)
    world.die(hand)
    assert world.outcomes == {(1, 0): "lost by timeout"}
    world.settle_down()
    assert Counter(world.outcomes.values()) == {"lost by timeout": 1, "value": 3}


def test_a_kill_that_comes_after_the_call_hits_nobody_else() -> None:
    for kill in ("timeout", "cancelled"):
        world = World(BackendTraits(1))
        [hand] = running(world, 4, timeout=1.0)
        if kill == "timeout":
            advance(world, 1.1)
        else:
            world.cancel((1, 0))
        assert hand.killed is not None
        world.finish(hand)
        hand.limit = None  # it read the limit before it was set
        world.begin(hand)
        assert hand.running == 1
        world.die(hand)
        world.settle_down()
        assert Counter(world.outcomes.values()) == {"value": 4} if kill == "timeout" else {"cancelled": 1, "value": 3}
        assert not world.groups[1].losses


def test_a_worker_that_is_to_be_killed_does_not_begin_another_call() -> None:
    world = World(BackendTraits(1))
    [hand] = running(world, 4, timeout=1.0, idempotent=False)
    advance(world, 1.1)
    assert hand.killed is not None
    world.finish(hand)
    world.begin(hand)
    world.begin(hand)
    assert hand.running is None
    world.die(hand)
    world.settle_down()
    assert Counter(world.outcomes.values()) == {"value": 4}


def test_retries_wait_longer_each_time_and_end() -> None:
    world = World(BackendTraits(1, in_flight=1), jitter=lambda: 0.999)
    world.add(1, retries=3)
    pauses: list[float] = []
    for _ in range(4):
        world.dispatch()
        [hand] = world.hands.values()
        world.begin(hand)
        world.fail(hand)
        world.begin(hand)
        pauses.append(world.plan.wait(world.now) or 0.0)
        world.dispatch()
        assert not hand.queue, "tried again before its time"
        world.now += pauses[-1]
    assert pauses[0] > 0
    assert pauses[0] * 1.9 < pauses[1]
    assert pauses[1] * 1.9 < pauses[2]
    assert pauses[3] == 0
    assert world.outcomes == {(1, 0): "error"}
    assert world.starts[1, 0] == 4


def test_the_pause_before_a_retry_is_random_from_nothing_on_and_bounded() -> None:
    for tries in (0, 3, 60):
        world = World(BackendTraits(1, in_flight=1), jitter=lambda: 0.0)
        [hand] = running(world, retries=100)
        world.groups[1].failures[0] = tries
        world.fail(hand)
        assert world.plan.wait(world.now) == 0.0
        world = World(BackendTraits(1, in_flight=1), jitter=lambda: 0.999)
        [hand] = running(world, retries=100)
        world.groups[1].failures[0] = tries
        world.fail(hand)
        assert 0 < (world.plan.wait(world.now) or 0) <= 30


def test_a_slow_call_of_an_idempotent_function_is_doubled_and_the_loser_killed() -> None:
    for idempotent in (True, None, False):
        world = World(BackendTraits(2, in_flight=1))
        world.add(12, function="f", idempotent=idempotent)
        world.settle_down()
        assert not world.hands or all(hand.killed is None for hand in world.hands.values())
        world.add(1, function="f", idempotent=idempotent)
        world.dispatch()
        [slow] = [hand for hand in world.hands.values() if hand.queue]
        world.begin(slow)
        assert world.plan.wait(world.now) is not None or idempotent is not True
        advance(world, 60)
        world.staff()
        world.dispatch()
        busy = [hand for hand in world.hands.values() if hand.queue and hand is not slow]
        assert bool(busy) is (idempotent is True)
        if busy:
            [other] = busy
            world.begin(other)
            world.finish(other)
            world.report(other)
            assert world.outcomes[2, 0] == "value"
            assert slow.killed == Kill(slow.number, "cancelled")
            world.die(slow)
        world.settle_down()


def test_what_waits_behind_a_long_call_is_taken_by_an_idle_worker() -> None:
    world = World(BackendTraits(2, in_flight=2))
    world.add(100, function="f")
    world.settle_down()
    world.add(40, function="f")
    world.dispatch()
    first, second = world.hands.values()
    world.begin(first)
    for _ in range(200):
        if second.queue and second.running is None:
            world.begin(second)
        elif second.running is not None:
            world.finish(second)
        world.dispatch()
        advance(world, 0.01)
    assert first.running is not None
    done = [key for key, what in world.outcomes.items() if key[0] == 2 and what == "value"]
    assert len(done) == 39, "all but the long one itself"
    world.settle_down()


def test_workers_that_never_come_up_fail_the_calls_and_do_not_go_on_for_ever() -> None:
    for traits in (BackendTraits(2), BackendTraits(2, names_culprit=False)):
        world = World(traits)
        world.add(50)
        for _ in range(100):
            if len(world.outcomes) == 50:
                break
            world.staff()
            world.dispatch()
            world.die(next(iter(world.hands.values())), "start")
        assert Counter(world.outcomes.values()) == {"lost by start": 50}
        assert world.born < 10


def test_one_worker_that_did_not_come_up_costs_nothing() -> None:
    world = World(BackendTraits(2))
    world.add(50)
    world.staff()
    world.dispatch()
    world.die(next(iter(world.hands.values())), "start")
    world.settle_down()
    assert set(world.outcomes.values()) == {"value"}


def test_invocations_grow_until_they_carry_enough_work_and_stay_below_the_limit() -> None:
    world = World(BackendTraits(2, batch_seconds=0.05))
    world.add(10_000)
    sizes: list[int] = []
    while len(world.outcomes) < 10_000:
        world.dispatch()
        for hand in [hand for hand in world.hands.values() if hand.queue]:
            send = hand.queue[0]
            sizes.append(send.span.high - send.span.low)
            world.begin(hand)
            while hand.running is not None:
                world.now += 0.0005
                world.finish(hand)
                world.begin(hand)
    assert max(sizes) == pytest.approx(100, abs=2)
    assert sizes[0] <= 2
    assert min(sizes[-2:]) < 100, "the last ones are shared out"
    assert len(sizes) < 400
    heavy = World(BackendTraits(1, max_bytes=1000))
    heavy.add(100, weight=300)
    heavy.settle_down()


def test_a_random_world_is_the_same_world_twice() -> None:
    def play(seed: int) -> dict[Key, str]:
        dice = random.Random(seed)
        world = World(BackendTraits(3), dice.random)
        world.add(50, retries=1)
        for _ in range(300):
            world.staff()
            world.dispatch()
            for hand in list(world.hands.values()):
                if hand.running is None and hand.queue:
                    world.begin(hand)
                elif hand.running is not None:
                    dice.choice([world.finish, world.finish, world.fail, world.die])(hand)
            advance(world, 0.01)
        world.settle_down()
        return world.outcomes

    assert play(7) == play(7)
