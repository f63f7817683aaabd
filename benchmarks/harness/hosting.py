"""A server as a process: start it, wait until it answers rightly, ask it, and leave nothing of it behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness import envs
from harness.process import PeerFailed, descendants, family, is_there, last_line, variables
from harness.served import BAD_ITEM, ECHO, ITEM, Served

SERVING = Path(__file__).resolve().parents[1] / "serving"
READY_SECONDS = 180.0
STOP_SECONDS = 10.0
PORTS = 3
"""MLServer listens for gRPC and metrics, too."""
TOLERANCE = 1e-9


class Truth:
    """The flowers, and what the forest says of each: trained once, and the same file for all."""

    def __init__(self, folder: Path) -> None:
        found = json.loads((folder / "truth.json").read_text())
        self.folder = folder
        self.version: str = found["version"]
        self.rows: list[list[float]] = found["rows"]
        self.probabilities: list[list[float]] = found["probabilities"]

    def is_right(self, number: int, probabilities: Any) -> bool:
        """What was said of this row."""
        true = self.probabilities[number]
        return (
            isinstance(probabilities, list)
            and len(probabilities) == len(true)
            and all(abs(one - other) < TOLERANCE for one, other in zip(probabilities, true, strict=True))
        )


def truth(python: Path) -> Truth:
    """``python``: one that has scikit-learn."""
    folder = envs.ENVS / "forest"
    subprocess.run([str(python), str(SERVING / "forest.py"), str(folder)], check=True)
    return Truth(folder)


class Host:
    """A running server of one peer, on loopback and a port of its own."""

    def __init__(self, served: Served, python: Path, truth: Truth, more: Mapping[str, str] | None = None) -> None:
        self.served = served
        self.truth = truth
        self.port = free_ports()
        self.starts = 0
        self.log = envs.ENVS / "logs" / f"serve-{served.name}.log"
        self._python = python
        self._more = {**served.variables, **(more or {})}
        self._scratch = tempfile.mkdtemp(prefix="bbs-", dir="/tmp")
        self._mark = ""
        self._begin()

    def _begin(self) -> None:
        self._mark = secrets.token_hex(8)
        self.starts += 1
        program, *words = (word.format(port=self.port) for word in self.served.command)
        own = {
            "BURSTY_BENCH_FOREST": str(self.truth.folder),
            "BURSTY_BENCH_SCRATCH": self._scratch,
            "TMPDIR": self._scratch,
            **self._more,
        }
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._python.with_name(program)), *words],
                cwd=SERVING,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=variables(self._python, self._mark, SERVING) | own,
                start_new_session=True,
            )

    def ready(self) -> None:
        """Wait until it is; then see that it is right about every flower, and refuses what is no item."""
        end = time.monotonic() + READY_SECONDS
        while not self._answers():
            if self._process.poll() is not None:
                raise PeerFailed(
                    f"ended with code {self._process.returncode} as it started: {last_line(self.log)}", fatal=True
                )
            if time.monotonic() > end:
                raise PeerFailed(f"was not ready after {READY_SECONDS:g} s: {last_line(self.log)}", fatal=True)
            time.sleep(0.1)
        self._check_forest()
        if self.served.takes_part(ECHO):
            self._check_echo()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.post(self.served.wire.path, self.served.wire.prediction(self.truth.rows[0]))[0] == 200
        return False

    def _check_forest(self) -> None:
        wire = self.served.wire
        for number, row in enumerate(self.truth.rows):
            status, body = self.post(wire.path, wire.prediction(row))
            if status != 200 or not self.truth.is_right(number, wire.told(json.loads(body))):
                raise PeerFailed(f"is wrong about flower {number}: {status} {body[:80]!r}", fatal=True)

    def _check_echo(self) -> None:
        wire = self.served.wire
        status, body = self.post(wire.echo_path, wire.item(ITEM))
        if status != 200 or wire.echoed(json.loads(body)) != ITEM:
            raise PeerFailed(f"echoes {body[:80]!r}", fatal=True)
        status, body = self.post(wire.echo_path, wire.item(BAD_ITEM))
        if not 400 <= status < 500:
            raise PeerFailed(f"does not refuse what is no item: {status} {body[:80]!r}", fatal=True)

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @property
    def gone(self) -> bool:
        return self._process.poll() is not None

    def again(self) -> None:
        """Start it anew where it was, without waiting until it answers."""
        self._kill(family(self._process.pid))
        self._begin()

    def stop(self) -> None:
        """In good order when it can, and in any case for good."""
        members = family(self._process.pid)
        with contextlib.suppress(OSError):
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self._kill(members)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _kill(self, members: Iterable[tuple[int, str]]) -> None:
        for pid in {*descendants(self._mark), *(member[0] for member in members if is_there(member))}:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def free_ports(count: int = PORTS) -> int:
    """The first of so many in a row."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            first: int = server.getsockname()[1]
        with contextlib.suppress(OSError, OverflowError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
