"""How executors begin and end, and what they must not do on the way."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bursty import BackendError, Executor
from conformance.backend import await_file, touch, wait_until


def test_a_derived_executor_ends_nothing() -> None:
    with Executor("local?workers=1") as executor:
        with executor.options(retries=1) as derived:
            assert list(derived.map(abs, [-1])) == [1]
        assert executor.submit(abs, -2).result() == 2


def test_a_dropped_executor_finishes_its_calls_and_leaves_no_process(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    executor = Executor("local?workers=1")
    future = executor.submit(await_file, str(tmp_path / "go"))
    del executor
    gc.collect()
    touch(str(tmp_path / "go"))
    assert future.result(60) is None
    wait_until(lambda: not set(psutil.Process().children()) - before, "the workers to end")


def test_results_come_while_slow_inputs_still_come() -> None:
    pulled: list[int] = []

    def inputs() -> Iterator[int]:
        for number in range(20):
            pulled.append(number)
            time.sleep(0.05)  # a source that takes its time
            yield -number

    with Executor("local?workers=1") as executor:
        executor.submit(abs, -1).result()
        results = executor.map(abs, inputs())
        assert next(results) == 0
        assert len(pulled) < 20
        assert list(results) == list(range(1, 20))


def test_a_map_that_was_never_read_is_let_go_when_closed(tmp_path: Path) -> None:
    with Executor("local?workers=1") as executor:
        results = executor.map(await_file, [str(tmp_path / "never")])
        results.close()
        assert executor.submit(abs, -1).result(60) == 1


def test_result_of_an_unfinished_call_in_a_callback_is_refused() -> None:
    seen: list[BaseException | None] = []
    done = threading.Event()
    with Executor("local?workers=1") as executor:

        def callback(_: object) -> None:
            try:
                executor.submit(abs, -1).result()
            except BackendError as error:
                seen.append(error)
            done.set()

        executor.submit(abs, -1).add_done_callback(callback)
        assert done.wait(60)
    assert "done-callback" in str(seen[0])


def run(code: str, folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    (folder / "main.py").write_text(textwrap.dedent(code))
    return subprocess.run(
        [sys.executable, "main.py"], cwd=folder, capture_output=True, text=True, timeout=120, check=False, **options
    )


def test_a_module_that_makes_calls_when_it_is_imported_is_told(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(
        "from bursty import Executor\ndef f(x):\n    return x\n"
        "with Executor('local?workers=1') as executor:\n    list(executor.map(f, [1]))\n"
    )
    done = run("import tasks", tmp_path)
    assert done.returncode == 1
    assert "if __name__ == '__main__':" in done.stderr


def test_a_script_that_catches_ctrl_c_ends(tmp_path: Path) -> None:
    done = run(
        """
        import os, signal, sys, threading, time
        from bursty import Executor
        if __name__ == "__main__":
            executor = Executor("local?workers=1")
            future = executor.submit(time.sleep, 1000)
            while not future.running():
                time.sleep(0.01)
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                future.result()
            except KeyboardInterrupt:
                sys.exit(130)
        """,
        tmp_path,
    )
    assert done.returncode == 130, done.stderr


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors by /proc")
def test_no_worker_to_be_had_is_an_error_and_no_hang(tmp_path: Path) -> None:
    done = run(
        """
        import os, resource
        from bursty import BackendError, Executor
        if __name__ == "__main__":
            with Executor("local?workers=1") as executor:
                used = len(os.listdir("/proc/self/fd"))
                resource.setrlimit(resource.RLIMIT_NOFILE, (used + 2, used + 2))
                try:
                    executor.submit(abs, -1)
                except BackendError as error:
                    print("told:", error)
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "told: no worker can be started" in done.stdout


def say_without_a_line_end(text: str) -> None:
    print(text, end="")


def test_text_without_a_line_end_is_shown_when_its_call_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    shown = ""

    def is_there() -> bool:
        nonlocal shown
        shown += capsys.readouterr().out
        return "half a line" in shown

    with Executor("local?workers=1") as executor:
        executor.submit(say_without_a_line_end, "half a line").result()
        wait_until(is_there)
        assert executor.submit(abs, -1).result() == 1
