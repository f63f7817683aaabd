"""Sends requests to a server on loopback and writes down what came of each. Standard library, one thread, no asyncio.

``python load.py open PLAN RESULTS``: at the times of the plan, whatever became of those before: what is late is
counted from when it was meant to be sent. ``python load.py closed PLAN RESULTS``: so many connections for so many
seconds, each with one request after the other.

A plan is JSON: ``port``, ``requests`` (texts), ``patience`` (seconds until an answer is given up), and ``shots`` (time
and number of the request) or ``connections`` and ``seconds``. Results are one line of JSON for each request: when it
was due, sent and answered (seconds since the start; ``null``: never), the status (0: no answer), the head, the body.
"""

import collections
import contextlib
import errno
import gc
import json
import os
import re
import select
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IDLE_SECONDS = 2.0
"""A connection that rested longer is not used again: the server may be closing it."""
MOST_CONNECTIONS = 3000
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass
class Shot:
    due: float
    request: int
    sent: float | None = None
    done: float | None = None
    status: int = 0
    head: bytes = b""
    body: bytes = b""


class Connection:
    """One to the server. ``shot``: what it carries; ``unsent``: what of it still has to go out."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.failed = self.socket.connect_ex(("127.0.0.1", port)) not in (0, errno.EINPROGRESS)
        self.shot: Shot | None = None
        self.unsent = b""
        self.got = b""
        self.rested = 0.0

    def write(self) -> None:
        """Raises ``OSError`` when the other side is gone."""
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise

    def read(self) -> bool:
        """Whether the other side is still there."""
        try:
            found = self.socket.recv(65536)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self.got += found
        return bool(found)


def complete(got: bytes) -> tuple[int, bytes, bytes] | None:
    """The status, the head and the body of an answer, once it is all there."""
    end = got.find(b"\r\n\r\n")
    if end < 0:
        return None
    head, body = got[:end], got[end + 4 :]
    if CHUNKED.search(head):
        if not body.endswith(b"0\r\n\r\n"):
            return None
        body = b"".join(chunks(body))
    else:
        length = LENGTH.search(head)
        if length is None or len(body) < int(length[1]):
            return None
    return int(got[9:12]), head, body


def chunks(body: bytes) -> Iterator[bytes]:
    while True:
        size, _, rest = body.partition(b"\r\n")
        count = int(size, 16)
        if not count:
            return
        yield rest[:count]
        body = rest[count + 2 :]


class Generator:
    """Connections to one server, and the requests on them. ``ended``: those that were answered or given up."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.port = plan["port"]
        self.requests = [text.encode() for text in plan["requests"]]
        self.patience = plan.get("patience", 5.0)
        self.ended: list[Shot] = []
        self.begun = time.perf_counter()
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self._waiting: collections.deque[tuple[Connection, Shot]] = collections.deque()
        """What was sent, the oldest first; some have got their answer since."""

    def now(self) -> float:
        return time.perf_counter() - self.begun

    def fire(self, shot: Shot) -> None:
        shot.sent = self.now()
        connection = self._rested() or self._new()
        if connection is None:
            self.ended.append(shot)
            return
        connection.shot, connection.unsent, connection.got = shot, self.requests[shot.request], b""
        self._waiting.append((connection, shot))
        self._write(connection)

    def _rested(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if self.now() - connection.rested < IDLE_SECONDS:
                return connection
            self._drop(connection)
        return None

    def _new(self) -> Connection | None:
        if len(self._connections) >= MOST_CONNECTIONS:
            return None
        connection = Connection(self.port)
        if connection.failed:
            connection.socket.close()
            return None
        self._connections[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.EPOLLIN | select.EPOLLOUT)
        return connection

    def _write(self, connection: Connection) -> None:
        try:
            connection.write()
        except OSError:
            self._fail(connection)
            return
        wanted = select.EPOLLIN | (select.EPOLLOUT if connection.unsent else 0)
        self._poll.modify(connection.socket, wanted)

    def wait(self, until: float) -> None:
        """Take what comes in, until this moment or the first thing that comes."""
        left = max(0.0, until - self.now())
        if left:  # select knows microseconds, epoll only milliseconds
            select.select([self._poll.fileno()], [], [], left)
        for number, _ in self._poll.poll(0):
            connection = self._connections.get(number)
            if connection is not None:
                self._serve(connection)
        self._give_up()

    def _serve(self, connection: Connection) -> None:
        alive = connection.read()
        if connection.unsent and alive:
            self._write(connection)
            return
        found = complete(connection.got) if connection.shot else None
        if found is None:
            if not alive or not connection.shot:
                self._fail(connection)
            return
        shot, connection.shot = connection.shot, None
        assert shot is not None
        shot.done = self.now()
        shot.status, shot.head, shot.body = found
        if alive and not CLOSES.search(shot.head):
            connection.rested = shot.done
            self._idle.append(connection)
        else:
            self._drop(connection)
        self.ended.append(shot)

    def _fail(self, connection: Connection) -> None:
        shot, connection.shot = connection.shot, None
        self._drop(connection)
        if shot is not None:
            self.ended.append(shot)

    def _drop(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
        if self._connections.pop(connection.socket.fileno(), None):
            self._poll.unregister(connection.socket)
            connection.socket.close()

    def _give_up(self) -> None:
        while self._waiting:
            connection, shot = self._waiting[0]
            if connection.shot is shot:
                if self.now() - shot.due < self.patience:
                    return
                self._fail(connection)
            self._waiting.popleft()

    @property
    def busy(self) -> bool:
        return any(connection.shot for connection in self._connections.values())


def written(shots: list[Shot], out: Any) -> None:
    for one in shots:
        head, body = one.head.decode("latin-1"), one.body.decode("utf-8", "replace")
        out.write(json.dumps([one.due, one.request, one.sent, one.done, one.status, head, body]) + "\n")


def open_loop(generator: Generator, plan: dict[str, Any]) -> None:
    shots = [Shot(due, request) for due, request in plan["shots"]]
    for shot in shots:
        while generator.now() < shot.due:
            generator.wait(shot.due)
        generator.fire(shot)
    end = generator.now() + generator.patience + 1
    while generator.busy and generator.now() < end:
        generator.wait(generator.now() + 0.05)


def closed_loop(generator: Generator, plan: dict[str, Any]) -> None:
    count = len(generator.requests)
    fired = 0
    for _ in range(plan["connections"]):
        generator.fire(Shot(generator.now(), fired % count))
        fired += 1
    seen = 0
    while generator.now() < plan["seconds"]:
        generator.wait(plan["seconds"])
        while seen < len(generator.ended):
            seen += 1
            generator.fire(Shot(generator.now(), fired % count))
            fired += 1


def main() -> None:
    kind, source, target = sys.argv[1:]
    plan = json.loads(Path(source).read_text())
    with contextlib.suppress(OSError):
        os.nice(-5)
    gc.disable()
    generator = Generator(plan)
    (open_loop if kind == "open" else closed_loop)(generator, plan)
    with Path(target).open("w") as out:
        written(generator.ended, out)


if __name__ == "__main__":
    main()
