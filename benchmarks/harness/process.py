"""Drivers as processes: ask, wait no longer than so long, and leave nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, Any

DRIVERS = Path(__file__).resolve().parents[1] / "drivers"
CLOSE_SECONDS = 15.0
MARK = "BURSTY_BENCH_MARK"


class PeerFailed(Exception):
    """A peer gave no answer, or an error for one. ``fatal``: its process is of no more use."""

    def __init__(self, reason: str, *, fatal: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fatal = fatal


class Driver:
    """One process, begun at once. Everything that descends from it carries its mark, wherever it has gone."""

    def __init__(self, python: Path, script: str, log: Path, *arguments: str) -> None:
        self.mark = secrets.token_hex(8)
        self.begun = time.perf_counter()
        self.log = log
        self._rest = b""
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [str(python), str(DRIVERS / script), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=variables(python, self.mark),
                start_new_session=True,
            )

    def ask(self, seconds: float, **question: Any) -> dict[str, Any]:
        """Put a question and return its answer; ``PeerFailed`` when there is none in time."""
        try:
            _pipe(self._process.stdin).write(json.dumps(question).encode() + b"\n")
            _pipe(self._process.stdin).flush()
        except OSError:
            raise self._ended() from None
        return self.listen(seconds)

    def listen(self, seconds: float) -> dict[str, Any]:
        line = self._line(seconds)
        try:
            answer = json.loads(line)
        except ValueError:
            raise PeerFailed(f"answered {line[:80]!r}", fatal=True) from None
        if "error" in answer:
            raise PeerFailed(answer["error"], fatal=False)
        return answer

    def _line(self, seconds: float) -> bytes:
        end = time.monotonic() + seconds
        pipe = _pipe(self._process.stdout)
        while b"\n" not in self._rest:
            ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise PeerFailed(f"timed out after {seconds:g} s", fatal=True)
            chunk = os.read(pipe.fileno(), 65536)
            if not chunk:
                raise self._ended()
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _ended(self) -> PeerFailed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_SECONDS)
        last = last_line(self.log)
        return PeerFailed(
            f"its driver ended with code {self._process.poll()}" + (f": {last}" if last else ""), fatal=True
        )

    def close(self) -> None:
        """In good order when it can, and in any case for good."""
        try:
            self.ask(CLOSE_SECONDS, do="close")
            _pipe(self._process.stdin).close()
            self._process.wait(CLOSE_SECONDS)
        except (PeerFailed, OSError, subprocess.TimeoutExpired):
            pass
        finally:
            self.kill()

    def finish(self, seconds: float = CLOSE_SECONDS) -> None:
        """Wait for a driver that ends by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        for pid in descendants(self.mark):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                _pipe(pipe).close()


def descendants(mark: str) -> list[int]:
    """Living processes with this mark in their environment. (Where there is no /proc: none are found.)"""
    wanted = f"{MARK}={mark}".encode()
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if wanted in _environment(entry).split(b"\0")]


def family(pid: int) -> set[tuple[int, str]]:
    """What descends from it now, each with the time of its start: some overwrite their environment with a title."""
    parents: dict[int, list[tuple[int, str]]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        found = _stat(int(entry.name))
        if found:
            parents.setdefault(int(found[1]), []).append((int(entry.name), found[19]))
    members: set[tuple[int, str]] = set()
    left = [pid]
    while left:
        for member in parents.get(left.pop(), ()):
            members.add(member)
            left.append(member[0])
    return members


def is_there(member: tuple[int, str]) -> bool:
    found = _stat(member[0])
    return bool(found) and found[19] == member[1]


def _stat(pid: int) -> list[str]:
    """The fields behind the name: the state, the parent, and so on; none when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _environment(entry: Path) -> bytes:
    try:
        return (entry / "environ").read_bytes()
    except OSError:
        return b""


def variables(python: Path, mark: str, modules: Path = DRIVERS) -> dict[str, str]:
    """The peer's own bin first on the PATH, and the folder where its workers find the functions."""
    kept = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONHOME")}
    path = os.pathsep.join([str(python.parent), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "PYTHONPATH": str(modules), MARK: mark}


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise PeerFailed("its driver has no pipe", fatal=True)
    return pipe


def last_line(log: Path) -> str:
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line), "")
