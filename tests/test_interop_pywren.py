"""Programs written for PyWren, after changing one import."""

import functools
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

import bursty.interop.pywren as pywren
from bursty import Executor
from bursty.errors import CallExited, CallTimeout, SerializationError


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    with Executor("local?workers=2", output="hide") as executor:
        yield executor


@pytest.fixture
def wrenexec(workers: Executor) -> pywren.Executor:
    return pywren.default_executor(backend=workers)


def wait_for_file(path: str) -> str:
    """A call that ends when the test says so."""
    while not os.path.exists(path):
        time.sleep(0.005)
    return "seen"


# PyWren's README and tests, retold


def test_call_async(wrenexec: pywren.Executor) -> None:
    def sum_list(x: np.ndarray) -> int:
        return np.sum(x)

    future = wrenexec.call_async(sum_list, np.arange(10))
    assert future.result() == 45
    assert future.done()
    assert future.state is pywren.JobState.success


def test_map_gives_a_list_of_futures_at_once(wrenexec: pywren.Executor) -> None:
    futures = wrenexec.map(lambda x: x + 1, np.arange(10))
    assert isinstance(futures, list)
    assert len(futures) == 10
    assert [future.call_id for future in futures] == [f"{n:05d}" for n in range(10)]
    assert len({future.callset_id for future in futures}) == 1
    result_count = 0
    while result_count < 10:
        dones, notdones = pywren.wait(futures)
        result_count = len(dones)
    assert notdones == []
    np.testing.assert_array_equal(np.array([future.result() for future in futures]), np.arange(10) + 1)
    assert pywren.wait(futures) == (futures, [])
    assert wrenexec.map(abs, []) == []
    assert pywren.get_all_results(wrenexec.map(lambda x: x, (n for n in range(3)))) == [0, 1, 2]
    assert pywren.get_all_results(wrenexec.map(len, [None, ""][1:])) == [0]


def test_reduce(wrenexec: pywren.Executor) -> None:
    futures = wrenexec.map(lambda x: x + 1, range(10))
    assert wrenexec.reduce(sum, futures).result() == 55
    assert wrenexec.reduce(len, []).result() == 0
    assert wrenexec.map_reduce(abs, [-1, -2], max).result() == 2


def test_reduce_of_a_failed_call_fails_as_it_did(wrenexec: pywren.Executor) -> None:
    futures = wrenexec.map(lambda x: 1 / x, [1, 0])
    with pytest.raises(ZeroDivisionError):
        wrenexec.reduce(sum, futures).result()


def test_exceptions(wrenexec: pywren.Executor) -> None:
    def throw(x: object) -> None:
        raise Exception("Throw me out!")

    future = wrenexec.call_async(throw, None)
    with pytest.raises(Exception, match="Throw me out!"):
        future.result()
    with pytest.raises(Exception, match="Throw me out!"):
        future.result()
    assert future.result(throw_except=False) is None
    assert future.errored()
    assert not future.succeeded()
    assert future.state is pywren.JobState.error
    assert "Throw me out!" in future.run_status["exception"]
    with pytest.raises(ZeroDivisionError):
        pywren.get_all_results(wrenexec.map(lambda x: 1 / x, [1, 0]))


def test_a_call_that_exits_is_an_exception_and_the_client_goes_on(wrenexec: pywren.Executor) -> None:
    futures = wrenexec.map(lambda x: sys.exit(x) if x else "stays", [3, 0, 1])
    with pytest.raises(CallExited) as caught:
        futures[0].result()
    assert isinstance(caught.value, Exception)
    assert futures[1].result() == "stays"
    assert [future.errored() for future in futures] == [True, False, True] or pywren.wait(futures)
    assert futures[2].result(throw_except=False) is None
    with pytest.raises(Exception, match="code 4"):
        wrenexec.call_async(os._exit, 4).result()


def test_subprocess_and_none(wrenexec: pywren.Executor) -> None:
    assert b"Linux" in wrenexec.call_async(lambda _: subprocess.check_output(["echo", "Linux"]), None).result()
    future = wrenexec.call_async(lambda _: None, None)
    assert future.result() is None
    assert future.succeeded()


# wait


def test_wait_any_always_and_all(wrenexec: pywren.Executor, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    slow = wrenexec.call_async(wait_for_file, str(gate))
    quick = wrenexec.call_async(abs, -1)
    try:
        assert pywren.wait([slow, quick], return_when=pywren.ANY_COMPLETED) == ([quick], [slow])
        assert pywren.wait([slow, quick], return_when=pywren.ALWAYS) == ([quick], [slow])
        assert pywren.wait([slow, quick], timeout=0.05) == ([quick], [slow])
        assert not slow.done()
        assert slow.result(check_only=True) is None
        assert not slow.succeeded()
        assert not slow.errored()
        with pytest.raises(TimeoutError):
            slow.result(timeout=0.05)
        with pytest.raises(TimeoutError):
            slow.result(timeout=0.05, throw_except=False)
    finally:
        gate.touch()
    assert pywren.wait([slow, quick], pywren.ALL_COMPLETED, 64, 10) == ([slow, quick], [])
    assert slow.result() == "seen"


def test_wait_for_nothing_and_for_nonsense() -> None:
    for when in (pywren.ALL_COMPLETED, pywren.ANY_COMPLETED, pywren.ALWAYS):
        assert pywren.wait([], when) == ([], [])
    with pytest.raises(ValueError, match="return_when"):
        pywren.wait([], return_when=7)
    assert pywren.get_all_results([]) == []


def test_cancel(wrenexec: pywren.Executor, tmp_path: Path) -> None:
    future = wrenexec.call_async(wait_for_file, str(tmp_path / "never"))
    assert not future.cancelled()
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    assert future.errored()
    with pytest.raises(CancelledError):
        future.result()
    assert future.result(throw_except=False) is None
    assert pywren.wait([future]) == ([future], [])
    assert future.state is pywren.JobState.error
    finished = wrenexec.call_async(abs, -1)
    assert finished.result() == 1
    assert not finished.cancel()


def test_states_and_callbacks(wrenexec: pywren.Executor, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"

    def work(_: object) -> str:
        begun.touch()
        return wait_for_file(str(gate))

    future = wrenexec.call_async(work, None)
    assert future.state in (pywren.JobState.invoked, pywren.JobState.running)
    assert future.run_status is None
    wait_for_file(str(begun))
    assert future.running()
    assert future.state is pywren.JobState.running
    told = threading.Event()
    future.add_done_callback(lambda done: told.set() if done is future else None)
    gate.touch()
    assert future.result() == "seen"
    assert told.wait(30)
    assert future.exception() is None
    status, invoked = future.run_status, future.invoke_status
    assert status["start_time"] <= status["end_time"] <= invoked["status_done_timestamp"]
    assert status["host_submit_time"] <= invoked["lambda_invoke_timestamp"]
    assert "success" in repr(future)


# Futures inside calls


def test_futures_among_the_inputs_arrive_done(wrenexec: pywren.Executor) -> None:
    firsts = wrenexec.map(functools.partial(pow, 2), range(4))

    def total(futures: list[pywren.ResponseFuture[int]]) -> int:
        dones, notdones = pywren.wait(futures)
        assert not notdones
        return sum(future.result() for future in dones)

    assert wrenexec.call_async(total, firsts).result() == 15
    assert pywren.get_all_results(wrenexec.map(lambda future: future.result() + 1, firsts)) == [2, 3, 5, 9]


def test_a_future_cannot_go_into_a_file(wrenexec: pywren.Executor) -> None:
    with pytest.raises(SerializationError, match="future"):
        pickle.dumps(wrenexec.map(abs, [1]))


def test_unpicklable_inputs_say_so(wrenexec: pywren.Executor) -> None:
    with pytest.raises(SerializationError, match="lock"):
        wrenexec.map(str, [threading.Lock()])


# Options


def test_extra_env(wrenexec: pywren.Executor) -> None:
    def look(name: str) -> str | None:
        return os.environ.get(name)

    names = ["HELLO", "BURSTY_TEST_NONE"]
    assert pywren.get_all_results(wrenexec.map(look, names, extra_env={"HELLO": "WORLD"})) == ["WORLD", None]
    assert wrenexec.reduce(lambda _: os.environ["HELLO"], [], extra_env={"HELLO": 5}).result() == "5"
    assert pywren.get_all_results(wrenexec.map(look, ["HELLO"] * 4)) == [None] * 4
    assert wrenexec.map(abs, [-1], None, None, 8, data_all_as_one=False, use_cached_runtime=False)[0].result() == 1


def test_default_executor_and_its_names(folder: Path, workers: Executor) -> None:
    for make in (pywren.lambda_executor, pywren.remote_executor, pywren.standalone_executor, pywren.dummy_executor):
        assert make(config={"account": {}}, backend=workers).call_async(abs, -2).result() == 2
    with Executor("local?workers=1") as around:
        assert pywren.default_executor().executor is around
        assert pywren.default_executor().call_async(abs, -2).result() == 2
    wrenexec = pywren.default_executor(job_max_runtime=0.2, backend="local?workers=1")
    with wrenexec.executor, pytest.raises(CallTimeout):
        wrenexec.call_async(wait_for_file, "never").result()
    with pytest.raises(NotImplementedError):
        wrenexec.get_logs(None)


def test_a_program_of_its_own(folder: Path) -> None:
    """The talk's: a list of futures over workers, no executor closed, the script just ends."""
    Path("talk.py").write_text(
        "import bursty.interop.pywren as pywren\n"
        "def square(x):\n    return x * x\n"
        "if __name__ == '__main__':\n"
        "    wrenexec = pywren.default_executor()\n"
        "    futures = wrenexec.map(square, [1, 2, 3, 4, 5, 36])\n"
        "    print(pywren.get_all_results(futures))\n"
    )
    done = subprocess.run([sys.executable, "talk.py"], capture_output=True, text=True, check=False)
    assert done.stdout == "[1, 4, 9, 16, 25, 1296]\n", done.stderr
    assert done.returncode == 0
