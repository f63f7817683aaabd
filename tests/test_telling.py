"""What goes on for long says its lines whether or not somebody reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from bursty.cli.telling import Teller
from servers import free_port, stop, wait_until
from serving_process import BURSTY


def take_stderr(monkeypatch: pytest.MonkeyPatch) -> int:
    """Standard error is a pipe from now on; its reader."""
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stderr", os.fdopen(writer, "w", encoding="utf-8"))
    return reader


def lines_of(reader: int, count: int) -> list[str]:
    with os.fdopen(reader, encoding="utf-8") as file:
        return [file.readline().rstrip("\n").split("  ", 1)[1] for _ in range(count)]


def test_lines_are_written_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = take_stderr(monkeypatch)
    teller = Teller()
    for number in range(100):
        teller.say(f"line {number} ✓")
    assert teller.flush(10)
    assert lines_of(pipe, 100) == [f"line {number} ✓" for number in range(100)]


def test_a_full_pipe_holds_up_nobody_and_what_is_dropped_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = take_stderr(monkeypatch)
    teller = Teller(capacity=10)
    for number in range(60):
        teller.say(f"{number:02} {'x' * 50_000}")
    assert not teller.flush(0.1)
    found: list[str] = []
    with os.fdopen(pipe, encoding="utf-8") as file:
        while "dropped" not in (line := file.readline()):
            found.append(line.split("  ", 1)[1])
    said = line.rstrip("\n").split("  ", 1)[1]
    kept = [int(line[:2]) for line in found]
    assert kept == sorted(kept)
    assert said == f"{60 - len(kept)} lines were dropped here: nobody read them in time"


def test_a_reader_who_has_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = take_stderr(monkeypatch)
    os.close(pipe)
    teller = Teller()
    teller.say("to nobody")
    assert teller.flush(10)
    teller.say("again")
    assert teller.flush(10)


def test_lines_go_to_a_file_without_a_descriptor(capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller()
    teller.say("hello")
    assert teller.flush(10)
    assert capsys.readouterr().err.endswith("  hello\n")


APP = """
from bursty import App
app = App("loud")

@app.endpoint("/say", deadline="5 s", concurrency=1)
def say(times: int) -> int:
    for _ in range(times):
        print("x" * 1000)
    return times
"""


def test_a_server_answers_though_nobody_reads_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    port = free_port()
    command = [BURSTY, "serve", "app.py", "--port", str(port)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            assert wait_until(lambda: is_ready(client), 120)
            for _ in range(20):
                answer = client.post("/say", json={"times": 100})
                assert (answer.status_code, answer.json()) == (200, 100)
                assert answer.headers["bursty-answer"] == "fresh"
    finally:
        stop(process)
    assert process.returncode == 0, "ends in good order, with its pipe still full"


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.TransportError:
        return False
