"""Calls that make calls: no deadlock, no crowd of workers, and errors and cancellation find their way."""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError, as_completed
from pathlib import Path
from typing import Any

import pytest
from joblib import Parallel, delayed, parallel_config

import bursty.interop.joblib  # noqa: F401
from bursty import CallTimeout, Executor, WorkerLost
from conformance.backend import await_file, hold, negate, touch, wait_until
from processes import client, is_alive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes by Linux's means")


@pytest.fixture(params=[1, 2])
def some(request: pytest.FixtureRequest, folder: Path) -> Iterator[Executor]:
    with Executor(f"local?workers={request.param}", output="hide") as executor:
        yield executor


@pytest.fixture
def two(folder: Path) -> Iterator[Executor]:
    with Executor("local?workers=2", output="hide") as executor:
        yield executor


def squares(count: int) -> int:
    with Executor() as inner:
        return sum(inner.map(pow, range(count), [2] * count))


def deep(level: int, width: int) -> int:
    """The leaves of a tree of calls."""
    if level == 0:
        return 1
    with Executor() as inner:
        return sum(inner.starmap(deep, [(level - 1, width)] * width))


def test_calls_that_map(some: Executor) -> None:
    assert list(some.map(squares, range(12))) == [sum(n * n for n in range(count)) for count in range(12)]


def test_two_and_three_levels_deep(some: Executor) -> None:
    assert list(some.starmap(deep, [(2, 3)] * 4)) == [9] * 4
    assert some.submit(deep, 3, 2).result(120) == 8


def gather(numbers: list[int]) -> tuple[list[int], list[int]]:
    with Executor() as inner:
        futures = [inner.submit(negate, number) for number in numbers]
        done = [future.result() for future in as_completed(futures)]
        return sorted(done), [future.result() for future in futures]


def chain(number: int) -> int:
    with Executor() as inner:
        first = inner.submit(negate, number)
        second = inner.submit(max, first, inner.submit(abs, number))
        return second.result() + inner.map_reduce(range, range(4), lambda k, items: k * len(items), key=abs)[2]


def test_submit_as_completed_futures_as_arguments_and_map_reduce(some: Executor) -> None:
    assert some.submit(gather, [3, 1, 2]).result(60) == ([-3, -2, -1], [-3, -1, -2])
    assert list(some.map(chain, [-5, 5])) == [7, 7]


def large(number: int) -> bytes:
    with Executor() as inner:
        [found] = inner.map(bytes, [number])
        return found


def test_large_values_between_levels(some: Executor) -> None:
    size = 20 << 20
    assert some.submit(large, size).result(60) == bytes(size)


class OddError(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


def fail(number: int) -> int:
    if number == 2:
        raise OddError(number, reason="it is two")
    if number == 3:
        os._exit(7)
    return number


def outer_of_fail(numbers: list[int]) -> list[int]:
    with Executor() as inner:
        return list(inner.map(fail, numbers))


def outer_of_outer(numbers: list[int]) -> list[int]:
    with Executor() as inner:
        return inner.submit(outer_of_fail, numbers).result()


def catch(numbers: list[int]) -> list[str]:
    with Executor() as inner:
        return [type(value).__name__ for value in inner.map(fail, numbers, return_exceptions=True)]


@pytest.mark.parametrize("outer", [outer_of_fail, outer_of_outer])
def test_errors_keep_their_types(outer: Any, two: Executor) -> None:
    with pytest.raises(OddError, match="it is two") as caught:
        two.submit(outer, [1, 2]).result(60)
    assert caught.value.code == 2
    assert "raise OddError" in str(caught.value.__cause__)
    with pytest.raises(WorkerLost, match=r"call 1, fail\(") as lost:
        two.submit(outer, [1, 3]).result(60)
    assert "exited with code 7" in str(lost.value)
    assert two.submit(catch, [1, 2, 3, 4]).result(60) == ["int", "OddError", "WorkerLost", "int"]


def limited(folder: str) -> str:
    with Executor(timeout=0.3) as inner:
        return inner.submit(hold, folder).result()


def test_a_time_limit_of_the_inner_call(two: Executor, folder: Path) -> None:
    with pytest.raises(CallTimeout, match="300 ms"):
        two.submit(limited, str(folder)).result(60)


# The end of an outer call is the end of its inner calls


def report(folder: str, name: str) -> None:
    """Say who runs, and never end."""
    draft = Path(folder) / f"{name}.new"
    draft.write_text(str(os.getpid()))
    draft.rename(Path(folder) / name)
    await_file(f"{folder}/never")


def holds(folder: str) -> None:
    Path(folder, "outer-pid").write_text(str(os.getpid()))
    with Executor() as inner:
        list(inner.starmap(report, [(folder, f"inner{n}") for n in range(6)]))


def pid_in(path: Path) -> int:
    wait_until(path.exists, str(path))
    return int(path.read_text())


def begun(folder: Path) -> list[int]:
    wait_until(lambda: list(folder.glob("inner?")))
    return [pid_in(path) for path in folder.glob("inner?")]


def test_cancelling_the_outer_call_ends_the_inner_ones(some: Executor, folder: Path) -> None:
    future = some.submit(holds, str(folder))
    inner = begun(folder)
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(60)
    wait_until(lambda: not any(map(is_alive, inner)), "the end of inner calls")
    assert some.submit(squares, 5).result(60) == 30, "workers are there for others"
    assert len(list(folder.glob("inner?"))) <= 2, "those that waited are never made"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_losing_the_outer_worker_ends_the_inner_calls(number: int, some: Executor, folder: Path) -> None:
    future = some.options(idempotent=False).submit(holds, str(folder))
    inner = begun(folder)
    os.kill(pid_in(folder / "outer-pid"), number)
    with pytest.raises(WorkerLost, match=signal.Signals(number).name):
        future.result(60)
    wait_until(lambda: not any(map(is_alive, inner)), "the end of inner calls")
    assert some.submit(squares, 5).result(60) == 30
    assert len(list(folder.glob("inner?"))) <= 2


def cancels(folder: str) -> tuple[bool, bool]:
    with Executor() as inner:
        future = inner.submit(report, folder, "inner0")
        await_file(f"{folder}/inner0")
        other = inner.submit(negate, 1)
        return future.cancel() and future.cancelled(), other.result() == -1


def test_an_inner_call_can_be_cancelled(some: Executor, folder: Path) -> None:
    assert some.submit(cancels, str(folder)).result(60) == (True, True)
    wait_until(lambda: not is_alive(pid_in(folder / "inner0")))


# How many


def gauge(folder: str, number: int) -> int:
    """How many calls like this run at the moment, as seen from inside."""
    mine = Path(folder, f"in-{number}-{os.getpid()}")
    mine.touch()
    sum(range(200_000))
    seen = len(list(Path(folder).glob("in-*")))
    mine.unlink()
    return seen


def gauges(folder: str, first: int) -> tuple[int, set[int]]:
    with Executor() as inner:
        found = list(inner.starmap(gauge, [(folder, first + n) for n in range(10)]))
        return max(found), {os.getpid()}


def test_leaves_run_no_more_at_once_than_there_are_workers(some: Executor, folder: Path) -> None:
    found = [future.result(120) for future in [some.submit(gauges, str(folder), 10 * n) for n in range(6)]]
    assert 1 <= max(most for most, _ in found) <= some.workers


COUNTED = """
import os
from bursty import Executor


def leaf(n):
    return {os.getpid()}


def middle(n):
    with Executor() as inner:
        return set().union({os.getpid()}, *inner.map(leaf, range(5)))


def outer(n):
    with Executor() as inner:
        return set().union({os.getpid()}, *inner.map(middle, range(3)))


if __name__ == "__main__":
    with Executor("local?workers=2", output="hide") as executor:
        print(len(set().union(*executor.map(outer, range(8)))))
"""


def test_the_number_of_workers_is_bounded(folder: Path) -> None:
    """At most so many as the client may have for each level, however many calls ask for more."""
    with client(COUNTED, folder=folder) as (process, _):
        printed = process.communicate(timeout=120)[0]
    assert process.returncode == 0, (folder / "client.out").read_text()
    assert 3 <= int(printed) <= 2 * 3


def in_parallel(count: int) -> list[int]:
    with parallel_config("bursty"):
        return Parallel(n_jobs=2)(delayed(negate)(n) for n in range(count))


def test_joblib_inside_a_call(some: Executor) -> None:
    assert list(some.map(in_parallel, [3, 5])) == [[0, -1, -2], [0, -1, -2, -3, -4]]


def leaves_them(folder: str) -> None:
    """It waits for none of its calls."""
    inner = Executor()
    inner.submit(touch, f"{folder}/left")
    inner.shutdown(wait=False)


def test_an_executor_that_is_left_open_inside_a_call(some: Executor, folder: Path) -> None:
    assert some.submit(leaves_them, str(folder)).result(60) is None
    assert list(some.map(squares, [3, 4])) == [5, 14]
