"""``bursty endpoint try``: one request by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from serving_process import BURSTY

APP = """
import ctypes, os
from pathlib import Path
from bursty import App

app = App("shop")
RUNS = Path(r"{folder}") / "runs"

@app.endpoint("/price")
def price(area: float, rooms: int = 1) -> float:
    print("asked for", area)
    if area < 0:
        raise ValueError("an area below nothing")
    if area > 1000:
        with RUNS.open("a") as file:
            file.write("x")
        ctypes.string_at(0)
    return area * rooms

@app.endpoint("/prices", chunk=2)
def prices(areas: list[float]) -> list[float]:
    return areas
"""

Try = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def try_it(tmp_path: Path) -> Try:
    (tmp_path / "app.py").write_text(APP.format(folder=tmp_path), encoding="utf-8")

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [BURSTY, "endpoint", "try", *arguments]
        return subprocess.run(command, cwd=tmp_path, input=stdin, capture_output=True, text=True, timeout=120)

    return run


def test_the_answer_alone_goes_to_standard_output(try_it: Try) -> None:
    done = try_it("app.py::price", '{"area": 20}')
    assert (done.returncode, done.stdout) == (0, "20.0\n")
    assert "[endpoint price] asked for 20.0" in done.stderr
    assert "200" in done.stderr
    assert try_it("app.py::price", "-q", "area=20", "-q", "rooms=2", "--quiet").stdout == "40.0\n"
    assert try_it("app.py::price", "-", stdin='{"area": 1}').stdout == "1.0\n"


def test_an_error_is_a_problem_and_its_traceback_is_shown(try_it: Try) -> None:
    done = try_it("app.py::price", '{"area": -1}')
    assert done.returncode == 1
    assert json.loads(done.stdout)["detail"] == "ValueError: an area below nothing"
    assert "in price" in done.stderr


def test_what_kills_its_worker_is_run_once(try_it: Try, tmp_path: Path) -> None:
    done = try_it("app.py::price", '{"area": 1001}')
    assert done.returncode not in (0, 1)
    assert done.stdout == ""
    assert "SIGSEGV" in done.stderr
    assert (tmp_path / "runs").read_text() == "x"


@pytest.mark.parametrize(("arguments", "words"), [
    (["app.py::cost", "1"], "It has: price, prices."),
    (["app.py", "1"], "FILE.py::ENDPOINT"),
    (["none.py::price", "1"], "names no endpoint of a file that is here"),
    (["app.py::price", "-q", "area"], "Write it NAME=VALUE"),
    (["app.py::prices", "[1, 2, 3]"], "Try it with a shorter one"),
])  # fmt: skip
def test_what_can_not_be_tried_is_said(try_it: Try, arguments: list[str], words: str) -> None:
    done = try_it(*arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
