"""bursty in a notebook: a real Jupyter kernel runs the cells."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel

from processes import MARK, marked

PATIENCE = 60.0
SETUP = """
from bursty import Executor
executor = Executor("local?workers=2")
OFFSET = 10
class Point:
    def __init__(self, x): self.x = x
def move(point): return Point(point.x + OFFSET)
def square(x): return x * x
"""


class Notebook:
    """A kernel and what its cells showed."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.manager, self.client = start_new_kernel(
            startup_timeout=PATIENCE, cwd=str(folder), env={**os.environ, MARK: mark}
        )

    def begin(self, code: str) -> str:
        return self.client.execute(code)

    def outputs(self, cell: str, until: str | None = None) -> list[Any]:
        """What a cell showed until it ended, or until it showed this text."""
        found: list[Any] = []
        end = time.monotonic() + PATIENCE
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.0, end - time.monotonic()))
            if message["parent_header"].get("msg_id") != cell:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return found
            if message["msg_type"] in ("stream", "execute_result", "display_data", "error"):
                found.append(nbformat.v4.output_from_msg(message))
                if until is not None and until in found[-1].get("text", ""):
                    return found

    def run(self, code: str) -> list[Any]:
        return self.outputs(self.begin(code))

    def value(self, code: str) -> str:
        """The text of a cell's result; what it raised is an error here."""
        found = self.run(code)
        errors = [output for output in found if output.output_type == "error"]
        assert not errors, errors[0].evalue
        return next(output.data["text/plain"] for output in found if output.output_type == "execute_result")

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def stream(outputs: list[Any], name: str) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == name)


@pytest.fixture(scope="module")
def mark() -> str:
    return f"notebook-{os.getpid()}-{time.time_ns()}"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory, mark: str) -> Iterator[Notebook]:
    found = Notebook(tmp_path_factory.mktemp("notebook"), mark)
    try:
        assert found.run(SETUP) == []
        yield found
    finally:
        found.close()
        end = time.monotonic() + PATIENCE
        while marked(mark) and time.monotonic() < end:
            asyncio.run(asyncio.sleep(0.02))
        assert marked(mark) == [], "nothing outlives the kernel"


def test_functions_and_classes_of_cells(notebook: Notebook) -> None:
    assert notebook.value("[p.x for p in executor.map(move, map(Point, range(3)))]") == "[10, 11, 12]"
    assert notebook.value("isinstance(executor.submit(move, Point(1)).result(), Point)") == "True"


def test_a_cell_that_is_run_again_counts(notebook: Notebook) -> None:
    assert notebook.value("def square(x): return x * x * 10\nlist(executor.map(square, [2, 3]))") == "[40, 90]"
    assert notebook.value("def square(x): return x * x\nOFFSET = 20\nlist(executor.map(square, [2, 3]))") == "[4, 9]"
    assert notebook.value("executor.submit(move, Point(1)).result().x") == "21"


def test_await_in_a_cell(notebook: Notebook) -> None:
    code = """
    import asyncio
    futures = executor.submit_many(square, range(5))
    await asyncio.gather(*map(asyncio.wrap_future, futures))
    """
    assert notebook.value("\n".join(line.strip() for line in code.splitlines())) == "[0, 1, 4, 9, 16]"
    code = "await asyncio.get_running_loop().run_in_executor(executor, square, 6)"
    assert notebook.value(code) == "36"


def test_what_calls_print_lands_in_the_cell(notebook: Notebook) -> None:
    code = "def speak(n):\n    print('said', n)\n    return n\nlist(executor.map(speak, [5], progress=False))"
    found = notebook.run(code + "\nexecutor.submit(speak, 6).result()")
    assert "[speak 0] said 5\n" in stream(found, "stdout")


def test_an_error_shows_the_remote_line(notebook: Notebook) -> None:
    found = notebook.run("def fail(n):\n    return 1 / n  # here\nlist(executor.map(fail, [1, 0]))")
    [error] = [output for output in found if output.output_type == "error"]
    assert error.ename == "ZeroDivisionError"
    assert "return 1 / n" in "\n".join(error.traceback), "\n".join(error.traceback)
    assert notebook.value("executor.submit(square, 3).result()") == "9"


def test_a_bar_is_drawn(notebook: Notebook) -> None:
    code = "def slow(n):\n    import threading\n    threading.Event().wait(0.4)\n    return n\n"
    found = notebook.run(code + "results = list(executor.map(slow, range(6)))")
    bars = [output.data.get("text/plain", "") for output in found if output.output_type == "display_data"]
    assert "slow" in stream(found, "stderr") + "".join(bars)


def test_an_interrupt_ends_the_cell_and_not_the_executor(notebook: Notebook, tmp_path: Path) -> None:
    code = f"""
def hold(n):
    open({str(tmp_path)!r} + f"/{{n}}", "w").close()
    import threading
    threading.Event().wait()
results = executor.map(hold, range(4), progress=False)
list(results)
"""
    cell = notebook.begin(code)
    end = time.monotonic() + PATIENCE
    while len(os.listdir(tmp_path)) < 2:
        assert time.monotonic() < end
        asyncio.run(asyncio.sleep(0.02))
    notebook.manager.interrupt_kernel()
    found = notebook.outputs(cell)
    assert [output.ename for output in found if output.output_type == "error"] == ["KeyboardInterrupt"]
    assert notebook.value("list(executor.map(square, range(4)))") == "[0, 1, 4, 9]"
    assert sorted(os.listdir(tmp_path)) == ["0", "1"], "what waited was not begun"


def test_the_report_is_html_with_a_picture(notebook: Notebook) -> None:
    [shown] = [output for output in notebook.run("executor.report()") if output.output_type == "execute_result"]
    html = shown.data["text/html"]
    assert "square" in html
    assert "<svg" in html or "<img" in html
    assert "<table" in html


def test_the_default_executor_of_an_app(notebook: Notebook) -> None:
    code = "from bursty import App\napp = App('cells')\n@app.function\ndef double(x): return 2 * x\n"
    assert notebook.value(code + "[double(1), double.submit(2).result(), *double.map([3, 4])]") == "[2, 4, 6, 8]"
