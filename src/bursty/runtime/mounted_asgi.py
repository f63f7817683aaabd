"""An ASGI app at its socket, on an event loop of the standard library."""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from bursty.core.asgiframes import DONE, FAILED, SCOPE, body_pieces, pack
from bursty.errors import ConfigError
from bursty.runtime.faults import format_traceback
from bursty.runtime.mounted_link import Link
from bursty.runtime.mounted_socket import LOG_SECONDS, is_ours, listen, print_rest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

STREAMED = ("http.response.body", "websocket.send")
ENDS = {"http": {"type": "http.disconnect"}, "websocket": {"type": "websocket.disconnect", "code": 1006, "reason": ""}}


async def serve_asgi(app: AsgiApp, name: str, path: str) -> None:
    """Until the first connection closes, and then all others. Raises ``ConfigError`` when the app's startup fails."""
    lifespan = Lifespan(app, name)
    await lifespan.start()
    leash: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
    at_work: set[asyncio.Task[None]] = set()

    def made(link: Link) -> None:
        assert link.transport is not None
        if not is_ours(link.transport.get_extra_info("socket")):
            link.close()
        elif not leash.done():
            leash.set_result(link)
        else:
            task = asyncio.create_task(_converse(app, link, lifespan.state))
            at_work.add(task)
            task.add_done_callback(at_work.discard)

    server = await asyncio.get_running_loop().create_unix_server(lambda: Link(made), sock=listen(path))
    printing = asyncio.create_task(_print())
    try:
        await (await leash).read()
        server.close()
        if at_work:
            await asyncio.wait(at_work)
    finally:
        printing.cancel()
    await lifespan.stop()


async def _print() -> None:
    while True:
        await asyncio.sleep(LOG_SECONDS)
        print_rest()


async def _converse(app: AsgiApp, link: Link, state: Mapping[str, Any]) -> None:
    try:
        while (message := await link.read()) is not None:
            if message["type"] == SCOPE:
                await _answer(app, link, message["scope"], state)
    finally:
        link.close()


async def _answer(app: AsgiApp, link: Link, scope: dict[str, Any], state: Mapping[str, Any]) -> None:
    """One request or WebSocket."""
    scope["headers"] = [(name, value) for name, value in scope["headers"]]
    scope["state"] = dict(state)
    exchange = Http(link, scope) if scope["type"] == "http" else WebSocket(link, scope)
    failed = ""
    try:
        await app(scope, exchange.receive, exchange.send)
        if not exchange.is_over and not link.lost:
            await exchange.leave_off()
    except (Exception, SystemExit) as error:
        failed = format_traceback(error)
    finally:
        exchange.end()
    if failed:
        sys.stderr.write(f"{failed.rstrip()}\n")
    link.write(pack({"type": FAILED if failed else DONE}))


class Exchange(ABC):
    """What is given to the app: ``receive`` and ``send``, as a server of its own would."""

    kind = ""

    def __init__(self, link: Link, scope: Mapping[str, Any]) -> None:
        self._link = link
        self._spec = tuple(map(int, scope["asgi"].get("spec_version", "2.0").split(".")))
        self._phase = "start"
        self._is_gone = False
        """Nothing more is to be received."""

    @property
    def is_over(self) -> bool:
        """Whether the app has said all there is to say."""
        return self._phase == "over"

    async def leave_off(self) -> None:
        """The app has returned without saying all. Raises ``RuntimeError`` where that is none."""
        raise RuntimeError("the app returned without a whole answer")

    def end(self) -> None:
        """The app has returned: tasks that it left behind must not take what belongs to the next request."""
        self._is_gone = True
        self._phase = "over"
        self._link.wake()

    async def receive(self) -> Message:
        while not self._is_gone:
            if (message := self._link.take()) is not None:
                return self._received(message)
            if self._link.lost:
                break
            await self._link.changed()
        return dict(ENDS[self.kind])

    def _received(self, message: dict[str, Any]) -> Message:
        return message

    async def send(self, message: Message) -> None:
        """Waits while the client is slow. What is sent to a client that is gone is dropped, or raises ``OSError`` where
        the server's version of ASGI says so (2.4)."""
        for part in self._checked(message):
            if not self._link.lost:
                self._link.write(pack(part))
        try:
            await self._link.drain()
        except ConnectionResetError:
            if self._spec >= (2, 4):
                raise
        if message["type"] in STREAMED and not self.is_over:
            await asyncio.sleep(0)  # an app that only ever sends must not hold up the others

    @abstractmethod
    def _checked(self, message: Message) -> list[Message]:
        """As it travels. Raises ``RuntimeError`` when it isn't its turn."""

    def _refuse(self, kind: str) -> RuntimeError:
        return RuntimeError(f"the app sent {kind!r} out of turn: its {self.kind} exchange is at {self._phase!r}")


class Http(Exchange):
    kind = "http"

    def __init__(self, link: Link, scope: dict[str, Any]) -> None:
        super().__init__(link, scope)
        self._is_empty = not scope.pop("has_body", False)

    async def receive(self) -> Message:
        if self._is_empty:
            self._is_empty = False
            return {"type": "http.request", "body": b"", "more_body": False}
        return await super().receive()

    def _checked(self, message: Message) -> list[Message]:
        kind = message["type"]
        if kind == "http.response.start" and self._phase == "start":
            self._phase = "body"
            return [{"type": kind, "status": int(message["status"]), "headers": _headers(message)}]
        if kind == "http.response.body" and self._phase == "body":
            more = bool(message.get("more_body", False))
            parts = _body_parts(kind, message)
            if not more:
                self._phase, self._is_gone = "over", True
                self._link.wake()
            return parts
        raise self._refuse(kind)


class WebSocket(Exchange):
    kind = "websocket"

    async def leave_off(self) -> None:
        if self._phase != "open":
            await super().leave_off()
        await self.send({"type": "websocket.close"})

    def _received(self, message: dict[str, Any]) -> Message:
        if message["type"] == "websocket.disconnect":
            self._is_gone = True
            self._phase = "over"
        return message

    def _checked(self, message: Message) -> list[Message]:
        kind = message["type"]
        match self._phase, kind:
            case "start", "websocket.accept":
                self._phase = "open"
                return [{"type": kind, "subprotocol": message.get("subprotocol"), "headers": _headers(message)}]
            case "start", "websocket.http.response.start":
                self._phase = "denial"
                return [{"type": kind, "status": int(message["status"]), "headers": _headers(message)}]
            case "denial", "websocket.http.response.body":
                self._phase = "denial" if message.get("more_body", False) else "over"
                return _body_parts(kind, message)
            case "open", "websocket.send":
                return [{"type": kind, "bytes": message.get("bytes"), "text": message.get("text")}]
            case "start" | "open", "websocket.close":
                self._phase = "over"
                return [{"type": kind, "code": message.get("code", 1000), "reason": message.get("reason") or ""}]
            case "over", "websocket.send" if self._is_gone:
                raise ConnectionResetError("the client hung up")
            case "over", _ if self._is_gone:
                return []
            case _:
                raise self._refuse(kind)


def _headers(message: Message) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in message.get("headers") or ()]


def _body_parts(kind: str, message: Message) -> list[Message]:
    more = bool(message.get("more_body", False))
    pieces = list(body_pieces(message.get("body", b"")))
    last = len(pieces) - 1
    return [{"type": kind, "body": piece, "more_body": more or at < last} for at, piece in enumerate(pieces)]


class Lifespan:
    """The app's startup and shutdown; an app that knows neither is served as it is. ``state``: what startup left for
    requests."""

    def __init__(self, app: AsgiApp, name: str) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._name = name
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._is_known = False

    async def start(self) -> None:
        """Raises ``ConfigError`` when the app says that its startup failed."""
        self._task = asyncio.create_task(self._run())
        answer = await self._ask("lifespan.startup")
        self._is_known = answer is not None
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise ConfigError(
                f"the startup of the mounted app {self._name!r} failed:\n{answer.get('message', '').rstrip()}",
                "Mend it, or what it needs; it is tried again by itself.",
            )

    async def stop(self) -> None:
        if self._is_known:
            answer = await self._ask("lifespan.shutdown")
            if answer is not None and answer["type"] == "lifespan.shutdown.failed":
                sys.stderr.write(f"its shutdown failed: {answer.get('message', '')}\n")

    async def _ask(self, kind: str) -> Message | None:
        """``None``: the app has returned or raised instead of answering."""
        self._events.put_nowait({"type": kind})
        return await self._answers.get()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._events.get, self._answers.put)
        except Exception as error:
            if self._is_known:
                sys.stderr.write(format_traceback(error))
        finally:
            self._answers.put_nowait(None)
