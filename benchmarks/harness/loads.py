"""What is sent to servers: by wrk as fast as they answer, or at times of a plan, whatever they do."""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.hosting import SERVING
from harness.process import PeerFailed

WRK = shutil.which("wrk")
BUSY = 0.85
"""Of a core: a generator that takes more may be what is measured."""
WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Pace:
    """What a server gave in a closed loop. Seconds; ``value``: each request's share of the time. ``refused``: answers
    that were none; ``broken``: connections that failed. ``generator``: how much of a core the generator took."""

    value: float
    requests: int
    p50: float
    p99: float
    most: float
    refused: int
    broken: int
    generator: float


def closed_loop(port: int, path: str, bodies: Sequence[bytes], connections: int, seconds: float) -> Pace:
    """So many connections, each with one request after the other. Raises ``PeerFailed`` when one was not answered."""
    with tempfile.TemporaryDirectory(prefix="bursty-bench-") as folder:
        before = _children_cpu()
        drive = _wrk if WRK else _own
        pace = drive(Path(folder), port, path, bodies, connections, seconds)
        cpu = (_children_cpu() - before) / seconds
    if pace["refused"] or pace["broken"] or not pace["requests"]:
        told = f"{pace['requests']} requests, {pace['refused']} refused, {pace['broken']} broken"
        raise PeerFailed(f"not all were answered: {told}", fatal=False)
    return Pace(generator=round(cpu, 2), **pace)


def _children_cpu() -> float:
    """Of those that have ended: the servers have not."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _wrk(
    folder: Path, port: int, path: str, bodies: Sequence[bytes], connections: int, seconds: float
) -> dict[str, Any]:
    file = folder / "bodies"
    file.write_bytes(b"".join(body + b"\n" for body in bodies))
    options = ["-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "--timeout", "30s"]
    url = f"http://127.0.0.1:{port}"
    command = [str(WRK), *options, "-s", str(SERVING / "post.lua"), url, "--", path, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + WAIT_SECONDS)
    told = next((json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")), None)
    if told is None:
        raise PeerFailed(f"wrk: {(done.stderr or done.stdout).strip()[-200:]}", fatal=False)
    return {
        "value": told["microseconds"] / 1e6 / told["requests"] if told["requests"] else 0.0,
        "requests": told["requests"],
        **{name: told[name] / 1e6 for name in ("p50", "p99", "most")},
        "refused": told["refused"],
        "broken": told["broken"],
    }


def _own(
    folder: Path, port: int, path: str, bodies: Sequence[bytes], connections: int, seconds: float
) -> dict[str, Any]:
    """Where there is no wrk: slower, and enough for what takes a millisecond."""
    requests = [request(path, body) for body in bodies]
    plan = {"port": port, "requests": requests, "patience": 30.0, "connections": connections, "seconds": seconds}
    answers = _run(folder, "closed", plan, seconds)
    times = sorted(one.done - one.due for one in answers if one.done is not None) or [0.0]
    return {
        "value": seconds / len(times),
        "requests": len(answers),
        "p50": statistics.median(times),
        "p99": quantile(times, 0.99),
        "most": times[-1],
        "refused": sum(one.status not in (0, 200) for one in answers),
        "broken": sum(one.status == 0 for one in answers),
    }


@dataclass(frozen=True)
class Answer:
    """What became of one request: seconds since the start; ``None``: never. ``status``: 0 without an answer."""

    due: float
    request: int
    sent: float | None
    done: float | None
    status: int
    head: str
    body: str


def request(path: str, body: bytes) -> str:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body.decode()}"


class OpenLoop:
    """Requests at their times, sent by a process of its own."""

    def __init__(self, port: int, requests: Sequence[str], shots: Sequence[tuple[float, int]], patience: float) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bursty-bench-")
        plan = {"port": port, "requests": list(requests), "shots": list(shots), "patience": patience}
        self._seconds = (shots[-1][0] if shots else 0.0) + patience
        self._process = _begin(Path(self._folder.name), "open", plan)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def answers(self) -> list[Answer]:
        try:
            if self._process.wait(self._seconds + WAIT_SECONDS):
                raise RuntimeError(f"the generator ended with code {self._process.returncode}")
            return _read(Path(self._folder.name))
        finally:
            self.close()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()


def _run(folder: Path, kind: str, plan: dict[str, Any], seconds: float) -> list[Answer]:
    process = _begin(folder, kind, plan)
    try:
        if process.wait(seconds + WAIT_SECONDS):
            raise RuntimeError(f"the generator ended with code {process.returncode}")
    finally:
        process.kill()
        process.wait()
    return _read(folder)


def _begin(folder: Path, kind: str, plan: dict[str, Any]) -> subprocess.Popen[bytes]:
    (folder / "plan").write_text(json.dumps(plan))
    words = [sys.executable, str(SERVING / "load.py"), kind, str(folder / "plan"), str(folder / "results")]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.Popen(words, env=clean)


def _read(folder: Path) -> list[Answer]:
    with (folder / "results").open() as lines:
        return [Answer(*json.loads(line)) for line in lines]


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of values in order: the smallest that so many are not above."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def plain(pace: Pace) -> dict[str, Any]:
    return asdict(pace)
