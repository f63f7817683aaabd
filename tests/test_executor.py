"""The contract of concurrent.futures, and what Executor adds, on real workers."""

import asyncio
import concurrent.futures
import itertools
import json
import operator
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, CancelledError, as_completed, wait
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bursty import (
    BackendError,
    CallExited,
    CallTimeout,
    ConfigError,
    Executor,
    MemoryLimit,
    RemoteError,
    SerializationError,
    WorkerLost,
)
from bursty.backends.local import LocalBackend
from bursty.engine.session import Session
from bursty.stores.parts import ClientParts
from conformance.backend import hold, negate, touch, wait_until

MIB = 1 << 20


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """An executor of two workers that tests share; they leave it as they found it."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("executor"))
    executor = Executor("local?workers=2", output="hide")
    yield executor
    executor.kill()
    os.chdir(before)


def inverse(value: float) -> float:
    return 1 / value


class OddError(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class TestContract:
    def test_it_is_an_executor_and_its_futures_are_futures(self, shared: Executor) -> None:
        future = shared.submit(pow, 2, exp=5)
        assert isinstance(shared, concurrent.futures.Executor)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result(60) == 32
        assert future.done()
        assert not future.running()
        assert future.exception() is None

    def test_map_gives_results_in_order(self, shared: Executor) -> None:
        assert list(shared.map(pow, [2, 3, 4], [5, 2, 1, 7])) == [32, 9, 4]
        assert list(shared.map(negate, range(5000), chunksize=17)) == [-n for n in range(5000)]
        assert list(shared.map(negate, [])) == []
        with pytest.raises(ValueError, match="chunksize"):
            shared.map(negate, [1], chunksize=0)
        with pytest.raises(ValueError, match="buffersize"):
            shared.map(negate, [1], buffersize=0)

    def test_map_gives_what_came_before_an_error(self, shared: Executor) -> None:
        results = shared.map(inverse, [1, 2, 0, 4])
        assert [next(results), next(results)] == [1, 0.5]
        with pytest.raises(ZeroDivisionError):
            next(results)

    def test_map_times_out(self, shared: Executor, tmp_path: Path) -> None:
        results = shared.map(hold, [str(tmp_path)], timeout=0.05)
        with pytest.raises(TimeoutError):
            next(results)
        wait_until(lambda: not shared.submit(negate, 1).exception())

    def test_an_error_has_its_type_and_the_remote_traceback(self, shared: Executor) -> None:
        future = shared.submit(inverse, 0)
        error = future.exception(60)
        assert type(error) is ZeroDivisionError
        assert isinstance(error.__cause__, RemoteError)
        assert "return 1 / value" in str(error.__cause__)
        assert any("inverse" in note for note in error.__notes__)
        with pytest.raises(ZeroDivisionError):
            future.result()

    def test_wait_and_as_completed(self, shared: Executor, tmp_path: Path) -> None:
        slow = shared.submit(hold, str(tmp_path))
        quick = shared.submit(negate, 1)
        assert wait([slow, quick], 60, FIRST_COMPLETED).done == {quick}
        bad = shared.submit(inverse, 0)
        assert bad in wait([slow, bad], 60, FIRST_EXCEPTION).done
        touch(f"{tmp_path}/hold-go")
        assert set(as_completed([slow, quick, bad], 60)) == {slow, quick, bad}

    def test_callbacks(self, shared: Executor) -> None:
        called: list[Any] = []
        future = shared.submit(negate, 1)
        future.add_done_callback(called.append)
        future.result(60)
        wait_until(lambda: called == [future])
        future.add_done_callback(called.append)
        assert called == [future, future]

    def test_asyncio(self, shared: Executor) -> None:
        async def work() -> list[Any]:
            loop = asyncio.get_running_loop()
            one = asyncio.wrap_future(shared.submit(negate, 1))
            return [await one, await loop.run_in_executor(shared, negate, 2)]

        assert asyncio.run(work()) == [-1, -2]

    def test_a_running_call_can_be_cancelled_and_wakes_its_waiters(self, shared: Executor, tmp_path: Path) -> None:
        future = shared.submit(hold, str(tmp_path))
        wait_until((tmp_path / "hold-begun").exists)
        assert future.running()
        woken: list[Any] = []
        waiter = threading.Thread(target=lambda: woken.append(wait([future], 60)))
        waiter.start()
        assert future.cancel()
        assert future.cancel()
        waiter.join(60)
        assert woken[0].done == {future}
        assert future.cancelled()
        assert not future.running()
        with pytest.raises(CancelledError):
            future.result()
        with pytest.raises(CancelledError):
            future.exception()
        assert list(as_completed([future], 60)) == [future]
        assert shared.submit(negate, 3).result(60) == -3

    def test_a_waiting_call_can_be_cancelled_and_is_never_made(self, shared: Executor, tmp_path: Path) -> None:
        held = [shared.submit(hold, str(tmp_path), f"hold{n}") for n in range(2)]
        wait_until(lambda: all((tmp_path / f"hold{n}-begun").exists() for n in range(2)))
        waiting = shared.submit(touch, str(tmp_path / "made"))
        assert not waiting.running()
        assert waiting.cancel()
        for n in range(2):
            touch(f"{tmp_path}/hold{n}-go")
        assert [future.result(60) for future in held] == ["hold0", "hold1"]
        assert list(shared.map(negate, range(10))) == [-n for n in range(10)]
        assert not (tmp_path / "made").exists()

    def test_what_is_done_can_not_be_cancelled(self, shared: Executor) -> None:
        future = shared.submit(negate, 1)
        future.result(60)
        assert not future.cancel()
        assert future.result() == -1

    def test_shutdown_waits_and_refuses_more(self, folder: Path) -> None:
        with Executor("local?workers=1", output="hide") as executor:
            futures = executor.submit_many(negate, range(100))
        assert [future.result(0) for future in futures] == [-n for n in range(100)]
        executor.shutdown()
        with pytest.raises(BackendError, match="shut down"):
            executor.submit(negate, 1)

    def test_shutdown_without_waiting(self, folder: Path) -> None:
        executor = Executor("local?workers=1", output="hide")
        future = executor.submit(hold, str(folder))
        wait_until((folder / "hold-begun").exists)
        executor.shutdown(wait=False)
        assert not future.done()
        touch(str(folder / "hold-go"))
        assert future.result(60) == "hold"

    def test_shutdown_that_cancels(self, folder: Path) -> None:
        executor = Executor("local?workers=1", output="hide")
        running = executor.submit(hold, str(folder))
        wait_until((folder / "hold-begun").exists)
        waiting = [executor.submit(touch, str(folder / f"made{n}")) for n in range(20)]
        executor.shutdown(wait=False, cancel_futures=True)
        assert all(future.cancelled() for future in waiting)
        touch(str(folder / "hold-go"))
        assert running.result(60) == "hold"
        assert not list(folder.glob("made*"))

    def test_an_exception_in_the_block_lets_calls_finish(self, folder: Path) -> None:
        futures: list[Any] = []

        def work() -> None:
            with Executor("local?workers=1", output="hide") as executor:
                futures.append(executor.submit(negate, 1))
                raise LookupError

        with pytest.raises(LookupError):
            work()
        assert futures[0].result(0) == -1


class TestMaps:
    def test_an_iterator_is_pulled_under_buffersize(self, shared: Executor) -> None:
        pulled: list[int] = []

        def inputs() -> Iterator[int]:
            for number in range(100):
                pulled.append(threading.get_ident())
                yield number

        results = shared.map(negate, inputs(), buffersize=10)
        assert len(pulled) == 10
        for number in range(100):
            assert next(results) == -number
            assert len(pulled) <= number + 1 + 10 + 10
        assert list(results) == []
        assert set(pulled) == {threading.get_ident()}

    def test_an_endless_iterator_is_let_go_by_close(self, shared: Executor) -> None:
        closed: list[bool] = []

        def inputs() -> Iterator[int]:
            number = 0
            try:
                while True:
                    yield number
                    number += 1
            finally:
                closed.append(True)

        source = inputs()
        results = shared.map(negate, source, buffersize=4)
        assert [next(results) for _ in range(10)] == [-n for n in range(10)]
        results.close()
        del source, results
        assert closed == [True]
        assert shared.submit(negate, 1).result(60) == -1

    def test_an_iterator_is_drained_when_the_executor_closes(self, folder: Path) -> None:
        with Executor("local?workers=2", output="hide") as executor:
            results = executor.map(negate, iter(range(3000)), buffersize=5)
            assert next(results) == 0
        assert list(results) == [-n for n in range(1, 3000)]

    def test_an_iterator_that_raises(self, shared: Executor) -> None:
        def inputs() -> Iterator[int]:
            yield 1
            raise LookupError("no more inputs")

        with pytest.raises(LookupError, match="no more inputs"):
            list(shared.map(negate, inputs()))
        assert shared.submit(negate, 1).result(60) == -1

    def test_starmap_submit_many_and_return_exceptions(self, shared: Executor) -> None:
        assert list(shared.starmap(pow, [(2, 3), (3, 2)])) == [8, 9]
        assert list(shared.starmap(pow, iter([[2, 3], (3, 2)]))) == [8, 9]
        assert [future.result(60) for future in shared.submit_many(negate, iter(range(3)))] == [0, -1, -2]
        found = list(shared.map(inverse, [1, 0, 2], return_exceptions=True))
        assert [type(value) for value in found] == [float, ZeroDivisionError, float]

    def test_many_threads_at_once(self, shared: Executor) -> None:
        def work(number: int) -> None:
            futures = [shared.submit(negate, number * 1000 + n) for n in range(50)]
            mapped = list(shared.map(negate, range(number, number + 300)))
            assert mapped == [-n for n in range(number, number + 300)]
            cancelled = shared.submit(time.sleep, 0)
            cancelled.cancel()
            for n, future in enumerate(futures):
                assert future.result(60) == -(number * 1000 + n)

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for done in [pool.submit(work, number) for number in range(32)]:
                done.result(120)


class TestOptions:
    def test_retries(self, shared: Executor, tmp_path: Path) -> None:
        def flaky(folder: str, times: int) -> int:
            tries = len(os.listdir(folder))
            touch(f"{folder}/{tries}")
            if tries < times:
                raise OSError(f"try {tries}")
            return tries

        for name in "ab":
            (tmp_path / name).mkdir()
        future = shared.options(retries=3).submit(flaky, str(tmp_path / "a"), 2)
        assert future.result(60) == 2
        assert future.stats.attempt == 3
        with pytest.raises(OSError, match="try 1"):
            shared.options(retries=1).submit(flaky, str(tmp_path / "b"), 9).result(60)
        assert len(os.listdir(tmp_path / "b")) == 2
        with pytest.raises(ConfigError):
            shared.options(retries=-1)

    def test_a_retry_after_a_time_out_of_the_only_worker(self, folder: Path) -> None:
        """Its worker was killed, and when its time has come there is none."""

        def slow_once(path: str) -> str:
            if not os.path.exists(path):
                touch(path)
                time.sleep(600)
            return "done"

        with Executor("local?workers=1", output="hide", retries=1, timeout=0.3) as executor:
            assert executor.submit(slow_once, str(folder / "tried")).result(60) == "done"

    def test_a_time_limit(self, shared: Executor) -> None:
        futures = shared.options(timeout="300 ms").submit_many(time.sleep, [0, 600, 0])
        assert futures[0].result(60) is None
        with pytest.raises(CallTimeout, match="300 ms") as caught:
            futures[1].result(60)
        assert isinstance(caught.value, TimeoutError)
        assert "sleep(600)" in str(caught.value)
        assert futures[2].result(60) is None

    def test_a_memory_limit(self, shared: Executor) -> None:
        with pytest.raises(MemoryLimit, match="150 MiB"):
            shared.options(memory="150 MiB").submit(lambda n: len(b"x" * n), 500 * MIB).result(60)

    def test_a_call_that_must_not_run_twice(self, shared: Executor, tmp_path: Path) -> None:
        def die(path: str) -> None:
            with open(path, "a") as file:
                file.write("x")
            os._exit(9)

        for name, idempotent, runs in (("a", False, "x"), ("b", None, "xx")):
            future = shared.options(idempotent=idempotent).submit(die, str(tmp_path / name))
            with pytest.raises(WorkerLost, match="exited with code 9"):
                future.result(60)
            assert (tmp_path / name).read_text() == runs

    def test_stats(self, shared: Executor) -> None:
        before = time.time()
        future = shared.submit(sum, list(range(100_000)))
        future.result(60)
        stats = future.stats
        times = [before - 1, stats.submitted, stats.queued, stats.started, stats.finished, stats.done, time.time() + 1]
        assert all(first <= second + 0.5 for first, second in itertools.pairwise(times))  # type: ignore[operator]
        assert stats.cpu is not None
        assert stats.worker is not None
        assert stats.worker.startswith("w")
        assert stats.attempt == 1
        assert (stats.memory or MIB) >= MIB

    def test_output_has_the_label_of_its_call(self, folder: Path) -> None:
        said: list[tuple[str, str, str]] = []

        def speak(number: int) -> None:
            print("hello", number)
            os.system(f"echo shell {number} >&2")

        with Executor("local?workers=1", output=lambda *what: said.append(what)) as executor:
            list(executor.map(speak, [7, 8]))
        for number in range(2):
            label = next(label for label, _, text in said if f"hello {number + 7}" in text)
            assert label.endswith(f"speak {number}")
        assert any(stream == "stderr" and "shell 8" in text for _, stream, text in said)


class TestFuturesAsArguments:
    def test_at_any_depth(self, shared: Executor) -> None:
        one, two = shared.submit(negate, -1), shared.submit(negate, -2)
        total = shared.submit(lambda data, *, more: (data, more), {"a": [one, (two, one)]}, more={"x": two})
        assert total.result(60) == ({"a": [1, (2, 1)]}, {"x": 2})
        assert shared.submit(negate, one).result(60) == -1

    def test_large_values_between_calls(self, shared: Executor) -> None:
        array = shared.submit(np.ones, 2_000_000)
        assert shared.submit(np.sum, array).result(60) == 2_000_000
        assert shared.submit(lambda pairs: [float(p.sum()) for p in pairs], [array, array]).result(60) == [2e6, 2e6]

    def test_errors_and_cancellation_pass_on(self, shared: Executor, tmp_path: Path) -> None:
        bad = shared.submit(inverse, 0)
        with pytest.raises(ZeroDivisionError):
            shared.submit(negate, bad).result(60)
        held = shared.submit(hold, str(tmp_path))
        later = shared.submit(len, held)
        assert not later.done()
        held.cancel()
        with pytest.raises(CancelledError):
            later.result(60)

    def test_a_call_that_waits_for_another_can_be_cancelled(self, shared: Executor, tmp_path: Path) -> None:
        held = shared.submit(hold, str(tmp_path))
        later = shared.submit(len, held)
        assert later.cancel()
        touch(f"{tmp_path}/hold-go")
        assert held.result(60) == "hold"
        assert later.cancelled()

    def test_a_future_of_another_library_is_refused(self, shared: Executor) -> None:
        with pytest.raises(SerializationError, match="another library"):
            shared.submit(negate, concurrent.futures.Future())


class TestBadInput:
    def test_functions_that_can_not_be_calls(self, shared: Executor) -> None:
        def generates() -> Iterator[int]:
            yield 1

        async def awaits() -> None: ...

        for function in (generates, awaits):
            with pytest.raises(ConfigError, match=function.__name__):
                shared.submit(function)
        with pytest.raises(ConfigError, match="can't be called"):
            shared.submit(7)  # type: ignore[arg-type]

    def test_a_lambda_with_a_socket(self, shared: Executor) -> None:
        with socket.socket() as connection:
            with pytest.raises(SerializationError, match="connection") as caught:
                shared.submit(lambda: connection.fileno())
            assert "on the worker" in caught.value.hint
            with pytest.raises(SerializationError, match=r"\['a'\]\[1\]"):
                shared.submit(negate, {"a": [1, connection]})

    def test_results_and_exceptions_that_can_not_travel(self, shared: Executor) -> None:
        with pytest.raises(SerializationError, match=r"result\['key'\]"):
            shared.submit(lambda: {"key": threading.Lock()}).result(60)

        def fail() -> None:
            error = ValueError("with a lock")
            error.lock = threading.Lock()  # type: ignore[attr-defined]
            raise error

        found = shared.submit(fail).exception(60)
        assert "with a lock" in str(found)
        assert isinstance(found, ValueError | RemoteError)

    def test_recursive_and_deep_structures(self, shared: Executor) -> None:
        ring: list[Any] = [1]
        ring.append(ring)
        found = shared.submit(lambda value: value, ring).result(60)
        assert found[1] is found
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        with pytest.raises(SerializationError, match="too deeply"):
            shared.submit(len, deep)
        while deep:  # or freeing it recurses
            deep = deep[0]

    def test_an_exception_with_another_constructor(self, shared: Executor) -> None:
        def fail() -> None:
            raise OddError(7, reason="on purpose")

        error = shared.submit(fail).exception(60)
        assert isinstance(error, OddError)
        assert (error.code, error.reason, str(error)) == (7, "on purpose", "7: on purpose")

    def test_exits(self, shared: Executor) -> None:
        with pytest.raises(CallExited, match=r"sys.exit\(3\)"):
            shared.submit(sys.exit, 3).result(60)
        with pytest.raises(RemoteError, match="KeyboardInterrupt"):  # a call must not interrupt its client
            shared.submit(exec, "raise KeyboardInterrupt").result(60)

    def test_a_module_that_fails_to_import(
        self, shared: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flag = tmp_path / "broken"
        (tmp_path / "half_a_module.py").write_text(
            f"import os\nif os.path.exists({str(flag)!r}):\n    1 / 0\ndef f(x): return x"
        )
        monkeypatch.syspath_prepend(tmp_path)
        import half_a_module  # type: ignore[import-not-found]

        with Executor("local?workers=1", output="hide") as executor:
            flag.touch()
            error = executor.submit(half_a_module.f, 1).exception(60)
            assert isinstance(error, ZeroDivisionError)
            assert "half_a_module.py" in str(error.__cause__)
            assert executor.submit(negate, 1).result(60) == -1

    def test_objects_of_other_packages(self, shared: Executor) -> None:
        import pandas as pd
        import polars as pl
        from sklearn.linear_model import LinearRegression

        array = np.arange(300_000.0).reshape(-1, 3)
        found = shared.submit(lambda a: a * 2, array).result(60)
        assert np.array_equal(found, array * 2)
        found[0, 0] = 5  # large arrays that come back can be written
        frame = pd.DataFrame({"a": range(5), "b": list("abcde")})
        assert shared.submit(lambda f: f[::-1], frame).result(60).equals(frame[::-1])
        table = pl.DataFrame({"a": range(5)})
        assert shared.submit(lambda t: t.sum(), table).result(60).item() == 10
        model = shared.submit(LinearRegression().fit, [[0], [1]], [1, 3]).result(60)
        assert model.predict([[2]]) == pytest.approx([5])
        written = shared.submit(lambda a: a.fill(1), array).exception(60)
        assert written is None, "a call may write into the arrays it gets"
        assert array[0, 1] == 1.0

    def test_classes_and_functions_of_main(self, folder: Path) -> None:
        script = folder / "script.py"
        script.write_text(
            textwrap.dedent("""
            import dataclasses, enum, json
            from bursty import Executor
            class Colour(enum.Enum):
                RED = 1
            @dataclasses.dataclass
            class Point:
                x: int
                colour: Colour = Colour.RED
                def moved(self, by): return Point(self.x + by)
            class Wrong(Exception): pass
            OFFSET = 10
            def move(point): return point.moved(OFFSET)
            def fail(): raise Wrong("wrong")
            if __name__ == "__main__":
                with Executor("local?workers=1") as executor:
                    found = executor.submit(move, Point(1)).result()
                    OFFSET = 20
                    again = executor.submit(move, Point(1)).result()
                    error = executor.submit(fail).exception()
                print(json.dumps([isinstance(found, Point), found.x, again.x, found.colour is Colour.RED,
                                  isinstance(error, Wrong)]))
            """)
        )
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [True, 11, 21, True, True]

    def test_use_after_fork_is_refused(self, shared: Executor) -> None:
        assert shared.submit(negate, 1).result(60) == -1
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                shared.submit(negate, 1)
            except BackendError:
                os.write(writer, b"refused")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        os.close(writer)
        assert os.read(reader, 100) == b"refused"
        os.close(reader)
        assert shared.submit(negate, 2).result(60) == -2

    def test_an_argument_of_two_gigabytes(self, folder: Path) -> None:
        if psutil.virtual_memory().available < 10 << 30 or psutil.disk_usage(str(folder)).free < 6 << 30:
            pytest.skip("needs 10 GiB of memory and 6 GiB of disk")
        size = (2 << 30) + 5
        big = np.zeros(size, dtype=np.uint8)
        big[-1] = 7
        with Executor("local?workers=1", output="hide") as executor:
            assert executor.submit(lambda a: (len(a), int(a[-1])), big).result(200) == (size, 7)


def test_a_call_that_waits_for_another_is_made_before_the_executor_closes() -> None:
    with Executor("local?workers=1") as executor:
        future = executor.submit(abs, executor.submit(abs, -3))
    assert future.result() == 3


def test_single_submits_behind_each_other_are_one_block_and_keep_their_own_futures() -> None:
    with Executor("local?workers=1") as executor:
        futures = [executor.submit(operator.mul, number, 2) for number in range(5000)]
        assert [future.result() for future in futures] == [2 * number for number in range(5000)]


def test_cancelling_many_single_submits_leaves_the_others_alone() -> None:
    with Executor("local?workers=1") as executor:
        futures = [executor.submit(operator.mul, number, 2) for number in range(500)]
        cancelled = {number for number in range(0, 500, 3) if futures[number].cancel()}
        kept = [number for number in range(500) if number not in cancelled]
        assert [futures[number].result() for number in kept] == [2 * number for number in kept]
        assert all(futures[number].cancelled() for number in cancelled)


def test_workers_without_work_are_let_go_and_others_come(tmp_path: Path) -> None:
    backend = LocalBackend(1, blobs=str(tmp_path))
    session = Session(backend, ClientParts(str(tmp_path), 1 << 20), lambda: tmp_path, idle_seconds=0.05)
    with Executor(session) as executor:
        first = executor.submit(os.getpid).result()
        wait_until(lambda: not psutil.pid_exists(first), "the idle worker to end")
        assert executor.submit(os.getpid).result() != first
