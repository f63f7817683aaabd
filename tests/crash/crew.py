"""The processes of a trial: started, hit, replaced, counted at the end."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash.journal import read_journal
from crash.plan import Blow
from labs import eventually
from processes import MARK

TESTS = Path(__file__).parent.parent
READY_SECONDS = 60.0
END_SECONDS = 60.0


class Nursery:
    """``fork`` gives a process that follows an order (see ``roles.start``); all end with ``close``."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.output = folder / "output"
        environ = {**os.environ, MARK: mark, "PYTHONPATH": str(TESTS), "PYTHONFAULTHANDLER": "1"}
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "crash.nursery"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True, env=environ, cwd=folder,
                start_new_session=True,
            )  # fmt: skip
        self._lock = threading.Lock()

    def fork(self, order: dict[str, Any]) -> Child:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        assert answer, self.output.read_text(errors="replace")[-4000:]
        return Child(int(answer))

    def close(self) -> None:
        """Kill everybody. May be called twice."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()


class Child:
    """A forked process. Known by a file descriptor, so that no signal ever goes to somebody else."""

    def __init__(self, pid: int) -> None:
        self._fd = os.pidfd_open(pid)

    def send(self, number: signal.Signals) -> None:
        """To one that is gone, nothing is sent."""
        try:
            signal.pidfd_send_signal(self._fd, number)
        except ProcessLookupError:
            return

    def wait(self, seconds: float) -> bool:
        """Whether it is over within this time."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        """Forget it."""
        os.close(self._fd)


@dataclass(slots=True)
class Member:
    """``how``: why it ended; ``None`` while it lives."""

    serial: int
    place: int
    child: Child
    journal: Path
    how: str | None = None


class Crew:
    """So many processes of one role, one at each place. ``order``: what the process with a serial number
    is told, at a place."""

    def __init__(self, nursery: Nursery, folder: Path, size: int, order: Callable[[int, int], dict[str, Any]]) -> None:
        self._nursery = nursery
        self._folder = folder
        self._order = order
        self._stalls: list[threading.Timer] = []
        self.members: list[Member] = []
        self._places = [self._start(place) for place in range(size)]
        eventually(lambda: all(_has(member, "hello") for member in self._places), READY_SECONDS)

    def _start(self, place: int) -> Member:
        serial = len(self.members)
        path = self._folder / f"{serial:04d}.jsonl"
        path.touch()
        child = self._nursery.fork({**self._order(serial, place), "serial": serial, "journal": str(path)})
        member = Member(serial, place, child, path)
        self.members.append(member)
        return member

    def hit(self, blow: Blow) -> None:
        """A stall ends by itself, whatever else hangs: all others may wait for a lock that the stalled one has."""
        member = self._places[blow.place]
        if blow.kind == "stall":
            member.child.send(signal.SIGSTOP)
            self._stalls.append(threading.Timer(blow.seconds, member.child.send, (signal.SIGCONT,)))
            self._stalls[-1].start()
            return
        member.how = blow.kind
        member.child.send(signal.SIGKILL if blow.kind == "kill" else signal.SIGTERM)
        self._places[blow.place] = self._start(blow.place)

    def end(self) -> None:
        """All end in good order."""
        for member in self.members:
            if member.how is None:
                member.child.send(signal.SIGTERM)
        for member in self.members:
            assert member.child.wait(END_SECONDS), f"process {member.serial} does not end"
            if member.how is None:
                member.how = "end"
        for stall in self._stalls:
            stall.join()
        for member in self.members:
            member.child.close()

    def journals(self) -> list[list[dict[str, Any]]]:
        return [read_journal(member.journal) for member in self.members]


def _has(member: Member, what: str) -> bool:
    return any(line["what"] == what for line in read_journal(member.journal))
