"""The access log: a line for each request, written by a thread."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bursty.errors import ConfigError
from bursty.serving.accesslog import NOTED, AccessLog, Noted
from labs import eventually


def scope(**more: Any) -> dict[str, Any]:
    base = {"type": "http", "method": "GET", "path": "/a b", "raw_path": b"/a%20b", "query_string": b"", "headers": []}
    return {**base, "client": ("10.0.0.7", 4711), **more}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_for_each_request(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock=lambda: 1_700_000_000.1234)
    noted = Noted("0197a3", "cached", 321)
    log.note(scope(headers=[(b"host", b"x"), (b"user-agent", b"curl/8")], **{NOTED: noted}), 200, 0.0123456)
    log.note({"type": "websocket", "path": "/ws", "headers": []}, 101, 1.5)
    log.close()
    assert lines(path) == [
        {
            "time": "2023-11-14T22:13:20.123Z", "id": "0197a3", "method": "GET", "path": "/a%20b", "status": 200,
            "ms": 12.346, "bytes": 321, "answer": "cached", "client": "10.0.0.7", "agent": "curl/8",
        },
        {"time": "2023-11-14T22:13:20.123Z", "method": "WEBSOCKET", "path": "/ws", "status": 101, "ms": 1500.0},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (b"token=hunter2&x=1", "/p?token&x"),
        (b"x=1=hunter2", "/p?x"),
        (b"=hunter2", "/p?"),
        (b"a;b=hunter2", "/p?a;b"),
        (b"\xffk=hunter2", "/p?\ufffdk"),
    ],
)
def test_values_of_a_query_are_left_out(tmp_path: Path, query: bytes, shown: str) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    headers = [(b"authorization", b"Bearer hunter2"), (b"cookie", b"hunter2")]
    log.note(scope(raw_path=b"/p", query_string=query, headers=headers), 200, 0.0)
    log.close()
    assert lines(path)[0]["path"] == shown
    assert "hunter2" not in path.read_text()


def test_what_is_long_is_cut_and_nothing_breaks_a_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    log.note(scope(raw_path=b"/" + b"x" * 10_000, headers=[(b"user-agent", b'"\xff\t' * 1000)]), 200, 0.0)
    log.close()
    (line,) = lines(path)
    assert len(line["path"]) == 500
    assert len(line["agent"]) == 200


def test_lines_come_while_it_runs_and_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text('{"old": 1}\n')
    log = AccessLog(str(path), every=0.01)
    log.note(scope(), 200, 0.0)
    eventually(lambda: len(lines(path)) == 2)
    log.close()


def test_more_than_can_be_written_is_dropped_and_counted(tmp_path: Path) -> None:
    """Nobody reads the pipe: the thread waits, requests don't."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(path), capacity=1000, every=0.01)
    noted, most = 0, 100_000
    while log.dropped < 10 and noted < most:
        log.note(scope(), 200, 0.0)
        noted += 1
    assert log.dropped == 10
    os.set_blocking(reader, True)
    with os.fdopen(reader, "rb") as file:
        found = sum(1 for _ in (file.readline() for _ in range(noted - 10)))
        log.close()
    assert found == noted - 10


def test_a_reader_that_went_away_ends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(path), every=0.01)
    os.close(reader)
    log.note(scope(), 200, 0.0)
    eventually(lambda: log.dropped == 1)
    log.close()


def test_a_file_that_can_not_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be opened"):
        AccessLog(str(tmp_path))
