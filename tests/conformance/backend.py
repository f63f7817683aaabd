"""What every ``Backend`` does. Subclass ``BackendSuite``, give a ``backend`` fixture, and say what it can't.

The suite talks to the port as the engine does: invocations in, events out. Calls and test wait for each other by files.
"""

import hashlib
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bursty.ports import Backend
from bursty.runtime.faults import decode_error
from bursty.runtime.pickling import Parts, dumps, loads
from bursty.values import (
    Answered,
    Batch,
    Call,
    Ended,
    Event,
    Invocation,
    Layout,
    Lost,
    Mark,
    Output,
    Payload,
    Status,
    WorkerSpec,
)

PATIENCE = 60.0


def wait_until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """The condition's value as soon as it is true; fails when that takes too long."""
    until = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < until, f"waited {PATIENCE} s for {what}"
        time.sleep(0.005)
    return found


def await_file(path: str) -> None:
    """In a call: go on when there is such a file."""
    until = time.monotonic() + PATIENCE
    while not os.path.exists(path):
        if time.monotonic() > until:
            raise TimeoutError(path)
        time.sleep(0.002)


def opened(value: Any) -> Any:
    """A value of a batch: a number is itself, all else is a pickle."""
    return value if isinstance(value, int | float) else loads(Payload((value,)))


def touch(path: str) -> None:
    Path(path).touch()


def hold(folder: str, name: str = "hold") -> str:
    """In a call: say that it has begun, and wait to be let go."""
    touch(f"{folder}/{name}-begun")
    await_file(f"{folder}/{name}-go")
    return name


def negate(value: int) -> int:
    return -value


class Desk:
    """Sends invocations as the engine does, and keeps what came of them."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.parts: Parts | None = None
        self.events: list[Event] = []
        self._next: dict[int, int] = {}
        self._known: set[tuple[int, str]] = set()

    def open(self, spec: WorkerSpec | None = None) -> int:
        return self.backend.open(spec or WorkerSpec())

    def send(self, worker: int, fn: Callable[..., Any], items: Iterable[Any], layout: Layout = Layout.ITEMS) -> int:
        """An invocation of ``fn`` on each item; its first call's number."""
        items, code = list(items), dumps(fn)
        body = b"".join(bytes(part) for part in code.parts)  # type: ignore[arg-type]
        digest = hashlib.sha256(body).hexdigest()
        seq = self._next.get(worker, 0)
        self._next[worker] = seq + len(items)
        packed, calls = b"", ()
        if layout is Layout.EACH:
            calls = tuple(Call(dumps(item, self.parts)) for item in items)
        else:
            packed = pickle.dumps(items, 5)
        known = (worker, digest) in self._known
        self._known.add((worker, digest))
        self.backend.send(
            worker,
            Invocation(seq, len(items), digest, fn.__name__, layout, None if known else code, packed, calls),
        )
        return seq

    def poll(self, timeout: float = 0.05) -> list[Event]:
        found = list(self.backend.poll(timeout))
        self.events.extend(found)
        return found

    def until(self, condition: Callable[[], Any], what: str = "the condition") -> Any:
        def look() -> Any:
            self.poll()
            return condition()

        return wait_until(look, what)

    def of(self, kind: type, worker: int) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind) and event.worker == worker]

    def ended(self, worker: int, count: int = 1) -> list[Ended]:
        return self.until(lambda: len(found := self.of(Ended, worker)) >= count and found, "an invocation's end")

    def lost(self, worker: int) -> Lost:
        return self.until(lambda: self.of(Lost, worker), "a worker's loss")[0]

    def values(self, worker: int) -> dict[int, Any]:
        """What calls gave; exceptions in the place of values."""
        found: dict[int, Any] = {}
        for event in self.events:
            if isinstance(event, Batch) and event.worker == worker:
                for seq, value in zip(event.seqs, event.values, strict=True):
                    found[seq] = opened(value)
            elif isinstance(event, Answered) and event.worker == worker:
                outcome = event.outcome
                bad = outcome.status is Status.ERROR
                found[outcome.seq] = decode_error(outcome.payload) if bad else loads(outcome.payload, self.parts)
        return found

    def run(
        self, worker: int, fn: Callable[..., Any], items: Iterable[Any], layout: Layout = Layout.ITEMS
    ) -> list[Any]:
        items = list(items)
        before = len(self.of(Ended, worker))
        seq = self.send(worker, fn, items, layout)
        self.ended(worker, before + 1)
        values = self.values(worker)
        return [values[seq + index] for index in range(len(items))]


class BackendSuite:
    captures_output = True
    """Whether what calls print is reported."""

    @staticmethod
    def die(code: int) -> Any:
        """In a call: end the worker so that it is lost with kind ``exit`` and this code."""
        os._exit(code)

    @pytest.fixture
    def desk(self, backend: Backend) -> Desk:
        return Desk(backend)

    def test_its_traits_make_sense(self, backend: Backend) -> None:
        traits = backend.traits
        assert traits.workers >= 1
        assert traits.in_flight >= 1
        assert traits.batch_seconds > 0
        assert 0 < traits.spill_bytes <= traits.max_bytes

    @pytest.mark.parametrize("count", [1, 2, 1000, 20_000])
    def test_calls_of_one_plain_argument(self, desk: Desk, count: int) -> None:
        assert desk.run(desk.open(), negate, range(count)) == [-number for number in range(count)]

    def test_calls_of_several_plain_arguments(self, desk: Desk) -> None:
        items = [(number, 3) for number in range(100)]
        assert desk.run(desk.open(), pow, items, Layout.TUPLES) == [number**3 for number in range(100)]

    def test_calls_with_arguments_of_their_own(self, desk: Desk) -> None:
        def join(*args: Any, **kwargs: Any) -> Any:
            return args, kwargs

        items = [((number, [number]), {"key": {number}}) for number in range(20)]
        assert desk.run(desk.open(), join, items, Layout.EACH) == items

    def test_large_values_and_arguments(self, desk: Desk) -> None:
        items = [((bytes([number]) * 3_000_000,), {}) for number in range(5)]
        found = desk.run(desk.open(), lambda data: data[::-1], items, Layout.EACH)
        assert found == [item[0][0] for item in items]

    def test_outcomes_carry_sound_times(self, desk: Desk) -> None:
        before = time.time()
        worker = desk.open()
        desk.run(worker, negate, range(10))
        batches = desk.of(Batch, worker)
        for batch in batches:
            for started, wall, cpu in zip(batch.started, batch.wall, batch.cpu, strict=True):
                assert before - 1 <= started + batch.offset <= started + batch.offset + wall <= time.time() + 1
                assert cpu >= 0
            assert batch.memory > 1 << 20
        begun = [started for batch in batches for started in batch.started]
        assert len(begun) == 10
        assert begun == sorted(begun)

    def test_a_call_that_raises_is_an_outcome_and_the_others_go_on(self, desk: Desk) -> None:
        def inverse(value: int) -> float:
            return 1 / value

        found = desk.run(desk.open(), inverse, [1, 0, 2])
        assert found[0] == 1
        assert isinstance(found[1], ZeroDivisionError)
        assert found[2] == 0.5

    def test_a_call_that_exits_is_an_outcome(self, desk: Desk) -> None:
        found = desk.run(desk.open(), sys.exit, [3])
        assert "sys.exit(3)" in str(found[0])

    def test_invocations_of_a_worker_run_in_order(self, desk: Desk) -> None:
        worker = desk.open()
        for _ in range(20):
            desk.send(worker, negate, range(5))
        ended = desk.ended(worker, 20)
        assert [event.seq for event in ended] == list(range(0, 100, 5))
        assert [event.stopped for event in ended] == list(range(5, 105, 5))
        seen: list[int] = []
        for event in desk.events:
            if isinstance(event, Batch):
                seen.extend(event.seqs)
            if isinstance(event, Ended):
                assert seen == list(range(event.stopped)), "its outcomes come before its end"

    def test_a_function_is_sent_once(self, desk: Desk) -> None:
        worker = desk.open()
        assert desk.run(worker, negate, [1]) == [-1]
        assert desk.run(worker, abs, [-7]) == [7]
        assert desk.run(worker, negate, [2]) == [-2]

    def test_workers_have_numbers_of_their_own_and_work_side_by_side(self, desk: Desk, tmp_path: Path) -> None:
        first, second = desk.open(), desk.open()
        assert first != second
        desk.send(first, hold, [str(tmp_path)])
        assert desk.run(second, negate, [5]) == [-5]
        assert not desk.of(Ended, first)
        touch(f"{tmp_path}/hold-go")
        desk.ended(first)

    def test_the_mark_tells_what_runs_and_since_when(self, desk: Desk, tmp_path: Path) -> None:
        worker = desk.open()
        assert desk.backend.mark(worker) == Mark() or desk.backend.mark(worker).seq is None
        before = time.monotonic()
        desk.run(worker, negate, [1, 2])
        desk.send(worker, hold, [str(tmp_path)])
        wait_until(lambda: desk.backend.mark(worker).seq == 2, "the mark")
        assert before <= desk.backend.mark(worker).started <= time.monotonic()
        touch(f"{tmp_path}/hold-go")
        desk.ended(worker, 2)
        assert desk.backend.mark(worker).seq is None

    def test_a_lost_worker_names_its_call_after_what_it_finished(self, desk: Desk) -> None:
        worker = desk.open()
        die = self.die

        def work(number: int) -> int:
            return die(7) if number == 3 else -number

        desk.send(worker, work, range(6))
        desk.send(worker, work, range(6))
        lost = desk.lost(worker)
        assert (lost.loss.kind, lost.loss.code) == ("exit", 7)
        assert lost.running == (3 if desk.backend.traits.names_culprit else None)
        assert {seq: desk.values(worker)[seq] for seq in range(3)} == {0: 0, 1: -1, 2: -2}
        assert set(desk.values(worker)) == {0, 1, 2}
        assert desk.events.index(lost) == len(desk.events) - 1

    def test_nothing_comes_after_a_loss_and_the_number_is_not_used_again(self, desk: Desk) -> None:
        worker = desk.open()
        desk.send(worker, self.die, [1])
        desk.lost(worker)
        desk.backend.send(worker, Invocation(5, 1, "0" * 64, "gone", Layout.ITEMS, None, b""))
        desk.backend.revoke(worker, 5)
        desk.backend.kill(worker, "cancelled")
        desk.backend.retire(worker)
        assert desk.backend.mark(worker).seq is None
        assert list(desk.backend.peek(worker)) == []
        other = desk.open()
        assert other != worker
        assert desk.run(other, negate, [1]) == [-1]
        assert len(desk.of(Lost, worker)) == 1
        assert desk.events[-1].worker == other

    def test_a_killed_worker_is_lost_for_the_reason_given_first(self, desk: Desk, tmp_path: Path) -> None:
        if not desk.backend.traits.can_kill:
            pytest.skip("it can't kill")
        worker = desk.open()
        desk.send(worker, hold, [str(tmp_path)])
        desk.send(worker, negate, [1])
        wait_until(lambda: desk.backend.mark(worker).seq == 0, "the call to begin")
        desk.backend.kill(worker, "timeout", 1.5)
        desk.backend.kill(worker, "cancelled")
        lost = desk.lost(worker)
        assert (lost.loss.kind, lost.loss.limit, lost.running) == ("timeout", 1.5, 0)
        touch(f"{tmp_path}/hold-go")

    def test_an_idle_worker_can_be_killed(self, desk: Desk) -> None:
        if not desk.backend.traits.can_kill:
            pytest.skip("it can't kill")
        worker = desk.open()
        desk.run(worker, negate, [1])
        desk.backend.kill(worker, "cancelled")
        lost = desk.lost(worker)
        assert (lost.loss.kind, lost.running) == ("cancelled", None)

    def test_a_worker_stops_where_it_is_told(self, desk: Desk, tmp_path: Path) -> None:
        worker = desk.open()
        desk.send(worker, hold, [str(tmp_path)])
        desk.send(worker, negate, range(10))
        desk.send(worker, negate, range(10))
        wait_until(lambda: desk.backend.mark(worker).seq == 0, "the call to begin")
        desk.backend.revoke(worker, 4)
        touch(f"{tmp_path}/hold-go")
        ended = desk.ended(worker, 3)
        assert [(event.seq, event.stopped) for event in ended] == [(0, 1), (1, 4), (11, 11)]
        assert set(desk.values(worker)) == {0, 1, 2, 3}
        desk.backend.revoke(worker, None)
        assert desk.run(worker, negate, [3]) == [-3]

    def test_finished_outcomes_can_be_seen_while_a_long_call_holds_them_back(self, desk: Desk, tmp_path: Path) -> None:
        worker = desk.open()

        def work(number: int, folder: str = str(tmp_path)) -> int:
            if number == 2:
                hold(folder)
            return -number

        desk.send(worker, work, range(5))
        wait_until(lambda: desk.backend.mark(worker).seq == 2, "the long call to begin")
        seen: dict[int, int] = {}

        def look() -> bool:
            for event in (*desk.poll(0.01), *desk.backend.peek(worker)):
                assert isinstance(event, Batch)
                seen.update({seq: opened(v) for seq, v in zip(event.seqs, event.values, strict=True)})
            return len(seen) >= 2

        wait_until(look, "what is finished")
        assert seen == {0: 0, 1: -1}
        touch(f"{tmp_path}/hold-go")
        desk.ended(worker)
        assert desk.values(worker) == {number: -number for number in range(5)}

    def test_a_retired_worker_goes_in_good_order(self, desk: Desk) -> None:
        worker, other = desk.open(), desk.open()
        desk.run(worker, negate, [1])
        desk.backend.retire(worker)
        lost = desk.lost(worker)
        assert (lost.loss.kind, lost.running) == ("closed", None)
        assert desk.run(other, negate, [1]) == [-1]

    def test_poll_returns_when_nothing_happens_and_when_woken(self, desk: Desk) -> None:
        assert list(desk.backend.poll(0)) == []
        assert list(desk.backend.poll(0.01)) == []
        returned = threading.Event()

        def wait() -> None:
            while not woken:
                desk.backend.poll(None)
            returned.set()

        woken: list[bool] = []
        thread = threading.Thread(target=wait)
        thread.start()
        woken.append(True)
        desk.backend.wake()
        assert returned.wait(PATIENCE)
        thread.join()

    def test_sends_while_another_thread_polls(self, desk: Desk) -> None:
        workers = [desk.open() for _ in range(2)]
        stop = threading.Event()

        def drive() -> None:
            while not stop.is_set():
                desk.poll(0.05)

        thread = threading.Thread(target=drive)
        thread.start()
        try:
            for _ in range(50):
                for worker in workers:
                    desk.send(worker, len, [(bytes(100_000),)], Layout.TUPLES)
            wait_until(lambda: all(len(desk.of(Ended, worker)) == 50 for worker in workers), "all ends")
        finally:
            stop.set()
            desk.backend.wake()
            thread.join()
        assert all(set(desk.values(worker).values()) == {100_000} for worker in workers)

    def test_output_is_put_down_to_its_call(self, desk: Desk) -> None:
        if not self.captures_output:
            pytest.skip("it captures no output")

        def speak(number: int) -> None:
            print("says", number)
            print("warns", number, file=sys.stderr)

        worker = desk.open()
        desk.run(worker, speak, [0, 1])

        def said() -> dict[tuple[int | None, str], str]:
            found: dict[tuple[int | None, str], str] = {}
            for event in desk.of(Output, worker):
                found[event.seq, event.stream] = found.get((event.seq, event.stream), "") + event.text
            return found

        assert said() == {
            (0, "stdout"): "says 0\n",
            (0, "stderr"): "warns 0\n",
            (1, "stdout"): "says 1\n",
            (1, "stderr"): "warns 1\n",
        }

    def test_close_with_a_running_call_ends_and_may_be_called_twice(self, desk: Desk, tmp_path: Path) -> None:
        worker = desk.open()
        desk.send(worker, hold, [str(tmp_path)])
        wait_until(lambda: desk.backend.mark(worker).seq == 0, "the call to begin")
        desk.backend.close()
        desk.backend.close()
        touch(f"{tmp_path}/hold-go")
