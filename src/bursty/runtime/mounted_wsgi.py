"""A WSGI app at its socket: each connection has a thread, which reads, calls the app and writes without any detour.

An event loop in between would cost two changes of thread a message. That the socket is full or empty is what makes the
app or the client wait.
"""

from __future__ import annotations

import contextlib
import io
import selectors
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any

from bursty.core.asgiframes import DONE, FAILED, PIECE, SCOPE, BadFrame, Frames, body_pieces, pack
from bursty.runtime.faults import format_traceback
from bursty.runtime.mounted_socket import LOG_SECONDS, is_ours, listen, print_rest
from bursty.runtime.wsgi import Answering, Body, WsgiApp, environ_of
from bursty.values import Buffer


def serve_wsgi(app: WsgiApp, name: str, path: str, threads: int) -> None:
    """Until the first connection closes, and then all others."""
    leash: socket.socket | None = None
    at_work: list[threading.Thread] = []
    seats = threading.Semaphore(threads)
    with listen(path) as listener, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select(LOG_SECONDS)]
            print_rest()
            if leash in ready:
                break  # its other end was closed: nothing is ever sent on it
            if listener not in ready:
                continue
            connection, _ = listener.accept()
            if not is_ours(connection):
                connection.close()
            elif leash is None:
                leash = connection
                selector.register(leash, selectors.EVENT_READ)
            else:
                at_work = [thread for thread in at_work if thread.is_alive()]
                title = f"{name}-{len(at_work) + 1}"
                thread = threading.Thread(
                    target=_converse, args=(app, connection, seats, threads), name=title, daemon=True
                )
                thread.start()
                at_work.append(thread)
    for thread in at_work:
        thread.join()
    leash.close()


def _converse(app: WsgiApp, connection: socket.socket, seats: threading.Semaphore, threads: int) -> None:
    """``seats``: the server keeps to the number of threads, but does not wait for views whose client has hung up."""
    with connection, contextlib.suppress(OSError, BadFrame):
        line = Line(connection)
        while (message := line.read()) is not None:
            if message["type"] != SCOPE:
                continue
            with seats:
                if line.is_wanted():
                    _answer(app, line, message["scope"], threads)


def _answer(app: WsgiApp, line: Line, scope: Mapping[str, Any], threads: int) -> None:
    """One request. Raises ``OSError`` when the server has let go of it."""
    line.begin(has_body=scope.get("has_body", False))
    environ = environ_of(scope, io.BufferedReader(Body(line.pull), PIECE) if line.is_open else io.BytesIO())
    environ["wsgi.multithread"] = threads > 1
    answering = Answering(line, scope["method"])
    try:
        answering.run(app, environ)
    except BaseException as error:
        if line.is_lost:
            raise OSError from error  # the app was told by an error, and may have made another one of it
        sys.stderr.write(format_traceback(error))
        line.end(FAILED)
    else:
        line.end(DONE)


class Line:
    """A connection, read and written where one stands."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames = Frames()
        self._held = b""
        self.is_open = False
        """Whether more of the request's body is to come."""
        self.is_lost = False

    def begin(self, *, has_body: bool) -> None:
        self.is_open = has_body

    def read(self) -> dict[str, Any] | None:
        """The next message; ``None``: the server closed the connection."""
        while (message := self._frames.take()) is None:
            data = self._connection.recv(PIECE)
            if not data:
                self.is_lost = True
                return None
            self._frames.feed(data)
        return message

    def is_wanted(self) -> bool:
        """Whether the server has not closed the connection meanwhile. What it has sent first hides that."""
        with contextlib.suppress(BlockingIOError):
            return bool(self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        return True

    def pull(self) -> Buffer | None:
        """The next piece of the request's body."""
        if not self.is_open:
            return None
        message = self.read()
        if message is None or message["type"] != "http.request":
            self.is_lost = True
            raise ConnectionResetError("the client hung up")
        self.is_open = message.get("more_body", False)
        return message.get("body", b"")

    # wsgi.Sink

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Held back until there is a body to go with it."""
        self._held = pack({"type": "http.response.start", "status": status, "headers": headers})

    def body(self, data: Buffer, more: bool) -> None:
        pieces = list(body_pieces(data))
        for number, piece in enumerate(pieces, 1):
            is_more = more or number < len(pieces)
            self._send(pack({"type": "http.response.body", "body": piece, "more_body": is_more}))

    def end(self, how: str) -> None:
        """The app is through with the request."""
        if how == FAILED:
            self._held = b""
        self._send(pack({"type": how}))

    def _send(self, frame: bytearray) -> None:
        held, self._held = self._held, b""
        try:
            self._connection.sendall(held + frame if held else frame)
        except OSError:
            self.is_lost = True
            raise
