"""The server's side of HTTP/1.1: uvicorn's protocol on httptools, with limits.

llhttp, which parses, refuses by itself what smuggling is made of: Content-Length beside Transfer-Encoding, two lengths,
folded lines, bare line feeds, control characters. What it and uvicorn leave open is closed here: how large a head may
be, how slowly it and a body may come, how many connections there may be, fields behind a body, offers to speak HTTP/2,
and what a client is told whose request can't be read.
"""

from __future__ import annotations

from asyncio import Transport
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from bursty.serving.problems import Problem, bad_request, header_too_large, overloaded, too_slow

if TYPE_CHECKING:
    from asyncio import TimerHandle

OFFERS = frozenset((b"upgrade", b"http2-settings"))
"""Headers of an offer to speak another protocol."""


_on_headers_complete = HttpToolsProtocol.on_headers_complete  # super() would cost a tenth of a microsecond a request


@dataclass(frozen=True, slots=True)
class Limits:
    """``head_bytes``: of the request line and all headers; ``headers``: how many of them. ``head_seconds``: from the
    beginning of a connection, or from a later request's first byte, to the end of its headers. ``body_seconds`` and
    ``body_rate``: in every span of so many seconds a body must come at so many bytes a second. ``linger_seconds``: how
    long a refused client is still listened to, so that it gets to read the refusal. ``connections``: at once.
    """

    head_bytes: int = 32 << 10
    headers: int = 100
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    body_rate: float = 100.0
    linger_seconds: float = 2.0
    connections: int = 10_000


def limited(limits: Limits, refused: Callable[[int], None] = lambda _status: None) -> type[HttpToolsProtocol]:
    """For ``uvicorn.Config(http=…)``. ``refused``: told the status of each refusal made here."""
    members: dict[str, Any] = {"limits": limits, "refused": staticmethod(refused)}
    return type("LimitedProtocol", (LimitedProtocol,), members)


class LimitedProtocol(HttpToolsProtocol):
    """A connection. A request that comes whole in one piece, as nearly all do, costs no timer of its own.

    Apps find it in the scope, as ``bursty.connection``. ``on_lost``: called once when the client hangs up; until then
    the app may set it, and should take it away with its answer.

    ``_in_body``: a request's head is complete, its body not. ``_closing``: nothing more is read as HTTP, for a refusal
    was sent, or the connection ends with the answer in work. ``_ahead``: requests before the latest that were not
    answered when it came. ``_seen``: bytes of an unfinished head, or those that
    came since the last piece of a body. ``_pieces``: bytes that came in this span of ``body_seconds``.
    """

    # Slots, since the base class has as many attributes as CPython keeps in its fast layout.
    __slots__ = (
        "_ahead",
        "_closing",
        "_in_body",
        "_pieces",
        "_quiet_since",
        "_refusal",
        "_seen",
        "_timed",
        "_timer",
        "on_lost",
    )

    limits = Limits()

    @staticmethod
    def refused(_status: int) -> None: ...

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.on_lost: Callable[[], None] | None = None
        self._timer: TimerHandle | None = None
        self._timed: Literal["head", "body"] = "head"
        self._in_body = False
        self._closing = False
        self._seen = 0
        self._pieces = 0
        self._quiet_since = 0.0
        self._refusal: Problem | None = None
        self._ahead: list[Any] = []

    # What the transport tells

    def connection_made(self, transport: Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._answer(overloaded(1, "there are too many connections"))
        else:
            self._await("head")

    def connection_lost(self, exc: Exception | None) -> None:
        self._await_nothing()
        if self.on_lost is not None:
            self.on_lost()
            self.on_lost = None
        for cycle in self._ahead:  # uvicorn tells only the latest
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._seen += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(self._refusal or bad_request(f"this is no HTTP request that can be read: {_why(error)}"))
            return
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
            return
        cycle: Any = self.cycle
        if self._in_body:
            self._unfinished_body(len(data))
        elif cycle is None or cycle.scope is not self.scope:
            self._unfinished_head()
        else:
            self._seen = 0
            if self._timer is not None:
                self._await_nothing()

    def on_response_complete(self) -> None:
        """As uvicorn's, but the timer of a connection that is kept for later is not set anew with each request: it
        looks by itself since when nothing has happened."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._quiet_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_after(self.timeout_keep_alive)

    def _look_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self.transport.is_closing():
            return
        busy = self._timer is not None or not self.cycle.response_complete
        quiet = 0.0 if busy else self.loop.time() - self._quiet_since
        if quiet < self.timeout_keep_alive:
            self._look_after(self.timeout_keep_alive - quiet)
        else:
            self.transport.close()

    # What the parser tells; all but the first is what uvicorn does, without asking the parser anew each time

    def on_headers_complete(self) -> None:
        limits = self.limits
        if len(self.headers) > limits.headers:
            self._stop(header_too_large(f"the request has more than {limits.headers} headers"))
        if self._seen > limits.head_bytes and self._head_size() > limits.head_bytes:
            self._stop(self._large_head())
        if self.parser.should_upgrade():
            return  # see _upgrade
        scope: Any = self.scope
        scope["bursty.connection"] = self
        self.begin()
        self._in_body = True
        self.headers = _NOWHERE

    def begin(self) -> None:
        """Begin to answer: the head is complete and within its limits."""
        before: Any = self.cycle
        if before is not None and not before.response_complete:
            self._ahead = [*(cycle for cycle in self._ahead if not cycle.response_complete), before]
        _on_headers_complete(self)

    def on_body(self, body: bytes) -> None:
        self._seen = 0
        cycle = self.cycle
        if self._in_body and not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        cycle = self.cycle
        if self._in_body and not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()
        self._in_body = False

    # Heads and bodies that take several pieces

    def _unfinished_head(self) -> None:
        if self._seen > self.limits.head_bytes:
            self._refuse(self._large_head())
        else:
            self._await("head")

    def _unfinished_body(self, size: int) -> None:
        self._pieces += size
        if self._seen > self.limits.head_bytes:
            self._refuse(header_too_large("between the pieces of the body, or behind it, is too much else"))
        else:
            self._await("body")

    def _await(self, what: Literal["head", "body"]) -> None:
        """Begin to wait for the end of it, unless that has begun."""
        if self._timer is not None:
            if self._timed == what:
                return
            self._timer.cancel()
        self._timed, self._pieces = what, 0
        seconds = self.limits.head_seconds if what == "head" else self.limits.body_seconds
        self._timer = self.loop.call_later(seconds, self._waited)

    def _await_nothing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _waited(self) -> None:
        self._timer = None
        limits = self.limits
        if self._timed == "head" and not self.flow.read_paused:
            self._refuse(too_slow("the request's headers", limits.head_seconds))
        elif self.flow.read_paused or self._pieces >= limits.body_rate * limits.body_seconds:
            self._await(self._timed)  # it is we who don't read, or enough has come
        else:
            self._refuse(too_slow("enough of the request's body", limits.body_seconds))

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _large_head(self) -> Problem:
        return header_too_large(f"the request's line and headers are larger than {self.limits.head_bytes:,} bytes")

    # Ends

    def _stop(self, problem: Problem) -> None:
        """Out of a callback of the parser."""
        self._refusal = problem
        raise ValueError

    def _refuse(self, problem: Problem) -> None:
        """What can be said, is; an answer in work to an earlier request of this connection is not disturbed."""
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            self._answer(problem)
        elif not self._in_body:  # the next head is the bad one
            self._closing = True
            self._await_nothing()
            cycle.keep_alive = False
        elif self.pipeline or cycle.response_started:
            self.transport.close()
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self._answer(problem)

    def _answer(self, problem: Problem) -> None:
        """Send it, and end the connection so that the client gets to read it: closing at once, with bytes of the
        client's still unread, would reset the connection under the answer."""
        self._closing = True
        self._await_nothing()
        self._unset_keepalive_if_required()
        self.refused(problem.status)
        lines = [*self.server_state.default_headers, *problem.headers, (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % line for line in dict(lines).items())
        self.transport.write(b"".join((STATUS_LINE[problem.status], head, b"\r\n", problem.body)))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(self.limits.linger_seconds, self.transport.close)

    def _upgrade(self, rest: bytes) -> None:
        """A WebSocket begins, or what was offered is not taken: then the request counts as if nothing had been.

        Java's client offers HTTP/2 with every request, and httptools would lose the body of it.
        """
        method = self.parser.get_method()
        if self._should_upgrade():
            self._await_nothing()
            self.scope["method"] = method.decode()
            self.handle_websocket_upgrade()
            return
        if method == b"CONNECT":
            self._refuse(bad_request("this is no proxy"))
            return
        self.parser = httptools.HttpRequestParser(self)
        lines = [b"%b %b HTTP/1.1\r\n" % (method, self.url)]
        for name, value in self.headers:
            kept = _without_offers(value) if name == b"connection" else value
            if name not in OFFERS and kept:
                lines.append(b"%b: %b\r\n" % (name, kept))
        self._seen = 0
        self.data_received(b"".join((*lines, b"\r\n", rest)))


class _Nowhere(list[tuple[bytes, bytes]]):
    """Where fields behind a chunked body (trailers) go: nobody reads them, and no proxy in front has looked at them."""

    def append(self, _field: tuple[bytes, bytes], /) -> None:
        pass


_NOWHERE = _Nowhere()


def _without_offers(connection: bytes) -> bytes:
    tokens = (token.strip() for token in connection.split(b","))
    return b", ".join(token for token in tokens if token.lower() not in OFFERS)


def _why(error: httptools.HttpParserError) -> str:
    """llhttp's words; of an error in a callback: the target of the request, which they read, was none."""
    if isinstance(error, httptools.HttpParserCallbackError):
        return "its target is no path"
    return str(error)
