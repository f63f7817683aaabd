"""The short way for requests to endpoints: from the parser to the pool and back in one write, without ASGI between.

Whatever is not plain (path parameters, long or chunked bodies, expectations, refusals, a client that doesn't read)
takes the way of all other requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from bursty.serving.accesslog import NOTED, Noted
from bursty.serving.http import LimitedProtocol, Limits
from bursty.serving.replies import Reply
from bursty.serving.service import Head, Request, Service
from bursty.values import Buffer

LONGEST_BODY = 60_000
"""Bytes, declared in advance: what fits into uvicorn's buffer, so that reading is never paused."""


class Desk(Protocol):
    """The server, as seen from a connection."""

    def express(self, scope: Any, path: bytes) -> Service | None:
        """The endpoint at this very path, if whoever asks may."""
        ...

    @property
    def keeps_notes(self) -> bool: ...

    def note(self, scope: Any, status: int, seconds: float) -> None: ...


class _Standing:
    """The headers that all answers have, as text; uvicorn makes new ones each second."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._text = b""

    def text(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._headers:
            self._headers, self._text = headers, b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._text


_standing = _Standing()


class _Nobody:
    """Stands for an event that nobody waits for."""

    def set(self) -> None:
        pass


_nobody = _Nobody()


class ExpressCycle:
    """A request on the short way; to uvicorn's protocol it looks like a cycle of its own."""

    __slots__ = (
        *("_arrived", "_head", "_protocol", "_service", "body", "disconnected", "keep_alive"),
        *("more_body", "response_complete", "response_started", "scope", "waiting_for_100_continue"),
    )
    message_event = _nobody

    def __init__(self, protocol: ExpressProtocol, service: Service, head: Head, keep_alive: bool) -> None:
        self._protocol = protocol
        self._service = service
        self._head = head
        self._arrived = time.monotonic()
        self.scope: Any = protocol.scope
        self.body = bytearray()
        self.more_body = True
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.waiting_for_100_continue = False

    def ask(self) -> None:
        """The body is complete."""
        submit, query = self._service.submit, self.scope["query_string"]
        submit(query, self.body, self._head.deadline, self._arrived, self._answer, self._protocol)

    def _answer(self, request: Request, reply: Reply) -> None:
        protocol, answer = self._protocol, reply.answer
        headers = self._service.headers_of(request, reply)
        protocol.on_lost = None
        self.response_started = self.response_complete = True
        if self.disconnected or protocol.transport.is_closing():
            return
        lines: list[Buffer] = [STATUS_LINE[answer.status], _standing.text(protocol.server_state.default_headers)]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        lines += (b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n", answer.body)
        protocol.transport.write(b"".join(lines))
        if protocol.desk.keeps_notes:
            self.scope[NOTED] = Noted(request.id, reply.kind, len(answer.body))
            protocol.desk.note(self.scope, answer.status, time.monotonic() - self._arrived)
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()


class ExpressProtocol(LimitedProtocol):
    """A connection that knows the short way. ``desk``: the server."""

    __slots__ = ()

    desk: Desk

    def begin(self) -> None:
        cycle = self._express()
        if cycle is None:
            super().begin()
        else:
            self.cycle = cast(Any, cycle)

    def _express(self) -> ExpressCycle | None:
        before = cast(Any, self.cycle)
        if (before is not None and not before.response_complete) or self.pipeline or self.expect_100_continue:
            return None
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or self.flow.write_paused:
            return None
        path, _, query = self.url.partition(b"?")
        scope = cast(Any, self.scope)
        service = self.desk.express(scope, path)
        if service is None or b"#" in query:
            return None
        head = Head(self.headers)
        if head.length is None or head.length > LONGEST_BODY or service.refusal("POST", head) is not None:
            return None
        scope["method"], scope["path"], scope["query_string"] = "POST", service.spec.path, query
        return ExpressCycle(self, service, head, parser.should_keep_alive())

    def on_message_complete(self) -> None:
        super().on_message_complete()
        cycle = cast(Any, self.cycle)
        if type(cycle) is ExpressCycle and not cycle.response_started:
            cycle.response_started = True
            cycle.ask()


def express(desk: Desk, limits: Limits, refused: Callable[[int], None]) -> type[ExpressProtocol]:
    """The protocol of a server's connections; see ``serving.http.limited``."""
    names: dict[str, Any] = {"desk": desk, "limits": limits, "refused": staticmethod(refused), "__slots__": ()}
    return type("ServerProtocol", (ExpressProtocol,), names)
