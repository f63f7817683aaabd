"""One request or WebSocket between a client and a mounted app's process: messages go both ways, nobody runs ahead."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from bursty.core.asgiframes import DENIAL, DONE, FAILED, SCOPE, bad_header, end_to_end, has_body, pack, scope_of
from bursty.errors import RemoteError, WorkerLost
from bursty.runtime.mounted_link import Link
from bursty.serving.problems import Problem, problem

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Say = Callable[[str], None]

LISTEN_AFTER = 0.02
"""Seconds before it is looked whether a client that has said all still is there: most have their answer by then, and
cost no task."""
INTERNAL_ERROR = 1011
"""How a WebSocket is closed that can't go on (RFC 6455, section 7.4.1, and IANA's registry)."""


class Exchange(ABC):
    """``title``: the mounted app, in words."""

    def __init__(self, link: Link, scope: Scope, receive: Receive, send: Send, title: str, say: Say) -> None:
        self._link = link
        self._scope = scope
        self._receive = receive
        self._send = send
        self._title = title
        self._say = say
        self._has_body = False
        self._pump_task: asyncio.Task[None] | None = None
        self._is_begun = False
        """Whether the client has seen some of the answer."""
        self._is_over = False
        self._is_gone = False
        """Whether the client hung up."""
        self.was_dropped = False
        """Whether the process let go of the connection: it is most likely gone."""

    async def run(self, root: str) -> bool:
        """Whether the connection may be used again. ``root``: the mount's path, without a slash at its end.

        Raises ``WorkerLost`` and ``RemoteError`` when an answer was begun that can't be completed: the server must cut
        the client's connection then, so that nobody takes it for whole.
        """
        scope = scope_of(self._scope, root)
        scope["has_body"] = has_body(self._scope["headers"])
        self._has_body = scope["has_body"] or scope["type"] == "websocket"
        self._link.write(pack({"type": SCOPE, "scope": scope}))
        listening = asyncio.get_running_loop().call_later(0 if self._has_body else LISTEN_AFTER, self._listen)
        try:
            return await self._relay()
        finally:
            listening.cancel()
            if self._pump_task is not None:
                self._pump_task.cancel()

    def _listen(self) -> None:
        self._pump_task = asyncio.create_task(self._pump())

    @abstractmethod
    async def _pump(self) -> None:
        """What the client says, to the app."""

    @abstractmethod
    async def _pass_on(self, message: Message) -> bool:
        """Give the client what the app says. ``False``: it can't be given."""

    async def _relay(self) -> bool:
        while True:
            message = await self._link.read()
            self.was_dropped = message is None and not self._is_gone
            if message is None or message["type"] == FAILED:
                return await self._broken(is_dead=message is None)
            if message["type"] == DONE:
                return True
            if not await self._pass_on(message):
                self._link.close()
                return False

    async def _broken(self, *, is_dead: bool) -> bool:
        if not (self._is_gone or self._is_over):
            if self._is_begun:
                await self._cut(is_dead)
            elif is_dead:
                detail = "the process of this app ended before it gave an answer"
                await self._refuse(problem(502, detail, "Try again.", kind="mount"))
            else:
                await self._refuse(problem(500, "the app raised an error", "Its log says more.", kind="mount"))
        return not is_dead

    async def _cut(self, is_dead: bool) -> None:
        if is_dead:
            raise WorkerLost(f"{self._title}: its process ended in the middle of an answer", "Its log may say why.")
        raise RemoteError(f"{self._title} raised an error in the middle of an answer", "Its log says which.")

    async def _refuse(self, refusal: Problem) -> None:
        await refuse(self._scope, self._send, refusal)

    async def _refuse_headers(self, message: Message) -> bool:
        """Whether these can't be passed on; then the client gets a 502."""
        bad = bad_header(message["headers"])
        if bad is None and 200 <= message.get("status", 200) <= 599:
            return False
        what = f"the header {bad!r}" if bad is not None else f"the status {message['status']}"
        self._say(f"{self._title} answered with {what}, which can't be sent")
        await self._refuse(problem(502, "the app's answer is no valid HTTP", "Its log says more.", kind="mount"))
        return True


class HttpExchange(Exchange):
    async def _pump(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                if not self._is_over:
                    self._is_gone = True
                    self._link.close()  # that is how the app learns of it
                return
            if self._has_body:
                self._link.write(pack(message))
                try:
                    await self._link.drain()
                except ConnectionResetError:
                    return  # the other direction tells

    async def _pass_on(self, message: Message) -> bool:
        if message["type"] == "http.response.start":
            message["headers"] = end_to_end((name, value) for name, value in message["headers"])
            if await self._refuse_headers(message):
                return False
            self._is_begun = True
        else:
            self._is_over = not message.get("more_body", False)
        await self._send(message)
        return True


class WebSocketExchange(Exchange):
    async def _pump(self) -> None:
        while not self._is_gone:
            message = await self._receive()
            self._is_gone = message["type"] == "websocket.disconnect"
            self._link.write(pack(message))
            try:
                await self._link.drain()
            except ConnectionResetError:
                return

    async def _pass_on(self, message: Message) -> bool:
        kind = message["type"]
        if "headers" in message:
            message["headers"] = end_to_end((name, value) for name, value in message["headers"])
            if await self._refuse_headers(message):
                return False
        self._is_begun = True
        self._is_over = kind == "websocket.close" or (kind == f"{DENIAL}.body" and not message["more_body"])
        if self._is_gone:
            return kind != "websocket.send"  # an app that goes on sending learns of it by its connection
        try:
            await self._send(message)
        except OSError:  # the client hung up in this moment
            return False
        return True

    async def _cut(self, is_dead: bool) -> None:
        await self._send({"type": "websocket.close", "code": INTERNAL_ERROR, "reason": "the app can't go on"})


async def refuse(scope: Scope, send: Send, refusal: Problem) -> None:
    """Answer a request, or a WebSocket that was not accepted, with a problem."""
    start, body = refusal.start(), {"type": "http.response.body", "body": refusal.body}
    if scope["type"] == "websocket":
        if DENIAL not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": INTERNAL_ERROR})
            return
        start["type"], body["type"] = f"{DENIAL}.start", f"{DENIAL}.body"
    await send(start)
    await send(body)
