"""A server on a private port that speaks our HTTP, and callers that speak to it in bytes."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from bursty.serving.http import Limits, limited
from labs import eventually

HOST = b"Host: here\r\n"
SHORT = Limits(head_seconds=0.8, body_seconds=0.8, body_rate=10.0, linger_seconds=0.5, connections=20)
LONG = Limits(head_seconds=60, body_seconds=60, linger_seconds=60)


class App:
    """Tells what it was asked. ``/wait`` answers when ``go`` is set; ``/early`` answers before the body has come."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hung_up: list[str] = []
        self.cut_off: list[str] = []
        self.go = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.asked.append(path)
        scope["bursty.connection"].on_lost = lambda: self.hung_up.append(path)
        body = b""
        while path != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                self.cut_off.append(path)
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if path == "/wait":
            await asyncio.to_thread(self.go.wait)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        told = {"path": path, "method": scope["method"], "headers": headers, "body": body.decode(), "size": len(body)}
        data = json.dumps(told).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(data))]})
        await send({"type": "http.response.body", "body": data})


class Site:
    """A server on a private port, in a thread."""

    def __init__(self, limits: Limits, keep_alive: int = 60) -> None:
        self.app = App()
        self.refused: list[int] = []
        config = uvicorn.Config(
            self.app,
            http=limited(limits, self.refused.append),
            loop="uvloop",
            lifespan="off",
            log_config=None,
            timeout_keep_alive=keep_alive,
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()
        eventually(lambda: self.server.started)

    def close(self) -> None:
        self.app.go.set()
        self.server.should_exit = True
        self._thread.join()
        self._listener.close()

    @property
    def open(self) -> int:
        return len(self.server.server_state.connections)

    @contextmanager
    def connected(self) -> Iterator[Caller]:
        with socket.create_connection(self.address, timeout=30) as connection:
            caller = Caller(connection)
            try:
                yield caller
            finally:
                caller.close()

    def says(self, data: bytes) -> Answer:
        with self.connected() as caller:
            caller.send(data)
            return caller.answer()


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """One connection, spoken to in bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._file = connection.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self.connection.close()

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(self) -> Answer:
        line = self._file.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        headers: dict[str, str] = {}
        while (field := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode().partition(":")
            assert name not in headers, f"{name} twice"
            headers[name] = value.strip()
        return Answer(int(line.split()[1]), headers, self._file.read(int(headers.get("content-length", 0))))

    def is_silent(self, seconds: float) -> bool:
        """Nothing comes for so long, nor the end."""
        return not select.select([self.connection], [], [], seconds)[0]

    def is_closed(self) -> bool:
        """The other side sends no more. Waits for it."""
        return self._file.read(1) == b""


def check_problem(answer: Answer, status: int, words: str = "") -> None:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert answer.json["status"] == status
    assert words in answer.json["detail"]


def run_site(limits: Limits) -> Iterator[Site]:
    """For fixtures."""
    found = Site(limits)
    yield found
    found.close()


def run_sites() -> Iterator[Callable[..., Site]]:
    """For fixtures: what opens any number of them."""
    sites: list[Site] = []

    def build(*how: Any) -> Site:
        sites.append(Site(*how))
        return sites[-1]

    yield build
    for one in sites:
        one.close()
