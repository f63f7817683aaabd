"""A connection of frames on an event loop: of the server, and of an ASGI app's process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from bursty.core.asgiframes import BadFrame, Frames
from bursty.values import Buffer

HIGH, LOW = 256 << 10, 64 << 10
"""Bytes that wait for ``take``: from HIGH on the other side is made to wait, below LOW it may go on."""


class Link(asyncio.Protocol):
    """``made``, ``ended``: told when the connection is there, and when it is gone."""

    def __init__(self, made: Callable[[Link], None] | None = None, ended: Callable[[Link], None] | None = None) -> None:
        self.lost = False
        self.transport: asyncio.Transport | None = None
        self._frames = Frames()
        self._made, self._ended = made, ended
        self._waiters: list[asyncio.Future[None]] = []
        self._drainers: list[asyncio.Future[None]] = []
        self._corked: list[Buffer] = []
        self._is_full = False
        self._is_paused = False
        self._loop = asyncio.get_running_loop()

    # Reading

    def take(self) -> dict[str, Any] | None:
        """The next message, if it is there. A connection with bad ones is lost."""
        try:
            message = self._frames.take()
        except BadFrame:
            self.close()
            return None
        if self._is_paused and (message is None or len(self._frames) < LOW) and self.transport is not None:
            self._is_paused = False
            self.transport.resume_reading()
        return message

    async def changed(self) -> None:
        """Wait until something came, the connection is gone, or somebody called ``wake``."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def read(self) -> dict[str, Any] | None:
        """The next message; ``None``: the other side is gone."""
        while True:
            if (message := self.take()) is not None:
                return message
            if self.lost:
                return None
            await self.changed()

    def wake(self) -> None:
        """Have those who wait look again."""
        _wake(self._waiters)

    # Writing

    def write(self, frame: Buffer) -> None:
        """Send it, small ones together with what else is written in this turn of the loop."""
        if not self._corked:
            self._loop.call_soon(self._uncork)
        self._corked.append(frame)
        if len(frame) > LOW:
            self._uncork()

    def _uncork(self) -> None:
        frames, self._corked = self._corked, []
        if frames and self.transport is not None and not self.lost:
            self.transport.write(frames[0] if len(frames) == 1 else b"".join(frames))

    async def drain(self) -> None:
        """Wait while the other side is slow. Raises ``ConnectionResetError`` when it is gone."""
        while self._is_full and not self.lost:
            waiter = self._loop.create_future()
            self._drainers.append(waiter)
            await waiter
        if self.lost:
            raise ConnectionResetError("the other side is gone")

    def close(self) -> None:
        """End the connection at once."""
        if self.transport is not None:
            self.transport.abort()
        self._end()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._made is not None:
            self._made(self)

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        if len(self._frames) > HIGH and not self._is_paused and self.transport is not None:
            self._is_paused = True
            self.transport.pause_reading()
        _wake(self._waiters)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if self.lost:
            return
        self.lost = True
        _wake(self._waiters)
        _wake(self._drainers)
        if self._ended is not None:
            self._ended(self)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        _wake(self._drainers)


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    while waiters:
        waiter = waiters.pop()
        if not waiter.done():
            waiter.set_result(None)
