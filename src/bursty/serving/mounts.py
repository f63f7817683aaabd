"""Mounted apps: WSGI and ASGI apps of users in processes of their own, behind the server's HTTP."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable

from bursty.endpoints import MountSpec
from bursty.serving.mounts_child import Child, Launch
from bursty.serving.mounts_exchange import HttpExchange, Receive, Scope, Send, WebSocketExchange, refuse
from bursty.serving.problems import overloaded, problem

ASGI_CAPACITY = 512
"""Requests and WebSockets that one process of an ASGI app has at once: each is a connection to it."""
START_WAIT = 10.0
"""Seconds that a request waits for a process to come up."""
BUSY_WAIT = 60.0
"""Seconds that a request waits while all processes are busy."""
LONGEST_QUEUE = 1000


class Mount:
    """An ASGI app that has ``spec``'s app answer. For one event loop.

    ``launch``: starts a process, see ``mounts_child.Launch``. ``say``: told in words what becomes of processes.
    """

    def __init__(self, spec: MountSpec, launch: Launch, *, say: Callable[[str], None] = lambda _line: None) -> None:
        self.spec = spec
        self._root = spec.path.rstrip("/")
        self._title = f"the mounted app {spec.name!r}"
        self._launch = launch
        self._say = say
        self.children: list[Child] = []
        self._waiting: collections.deque[asyncio.Future[Child]] = collections.deque()
        self.folder = ""
        self._is_stopping = False
        self._idle = asyncio.Event()

    # Life

    async def start(self) -> None:
        """Start the processes; ``ready`` tells when one is up."""
        self.folder = tempfile.mkdtemp(prefix="bursty-")  # mode 0700
        capacity = self.spec.threads if self.spec.kind == "wsgi" else ASGI_CAPACITY
        self.children = [
            Child(self._title, number, capacity, self._launch, self.folder, self._hand_out, self._say)
            for number in range(self.spec.processes)
        ]
        for child in self.children:
            child.start()

    @property
    def ready(self) -> bool:
        """Whether a process is up."""
        return any(child.is_up for child in self.children)

    async def stop(self, grace: float) -> None:
        """Take no more requests, let those under way finish for ``grace`` seconds, end the processes."""
        self._is_stopping = True
        while self._waiting:
            if not (waiter := self._waiting.popleft()).done():
                waiter.cancel()
        self._note_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._idle.wait()
        await asyncio.gather(*(child.stop() for child in self.children))
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _note_idle(self) -> None:
        if self._is_stopping and not any(child.busy for child in self.children):
            self._idle.set()

    # Requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Scope types http and websocket. See ``Exchange.run`` for what it raises."""
        if self._is_stopping:
            await refuse(
                scope, send, problem(503, "the server is ending", kind="mount", headers=[(b"retry-after", b"1")])
            )
            return
        child = await self._seat()
        if child is None:
            await refuse(scope, send, overloaded(self._retry_after(), f"{self._title} is not up or has too much to do"))
            return
        try:
            await self._exchange(child, scope, receive, send)
        finally:
            self._free(child)

    async def _exchange(self, child: Child, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            link = await child.lease()
        except OSError:
            await refuse(
                scope, send, problem(502, "the process of this app has just ended", "Try again.", kind="mount")
            )
            return
        kind = HttpExchange if scope["type"] == "http" else WebSocketExchange
        exchange = kind(link, scope, receive, send, self._title, self._say)
        reusable = False
        try:
            reusable = await exchange.run(self._root)
        finally:
            child.give(link, reusable=reusable)
            if exchange.was_dropped:
                child.doubt()

    # Seats

    async def _seat(self) -> Child | None:
        """A process that has room, its seat taken; ``None``: none had any in time."""
        if not self._waiting and (child := self._roomiest()) is not None:
            child.busy += 1
            return child
        seconds = BUSY_WAIT if self.ready else START_WAIT
        if len(self._waiting) >= LONGEST_QUEUE or (not self.ready and self._until_start() > START_WAIT):
            return None
        waiter: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await asyncio.wait((waiter,), timeout=seconds)
        except asyncio.CancelledError:
            if not waiter.cancel() and not waiter.cancelled():
                self._free(waiter.result())
            raise
        return None if waiter.cancel() or waiter.cancelled() else waiter.result()

    def _roomiest(self) -> Child | None:
        return min((child for child in self.children if child.has_room), key=lambda child: child.busy, default=None)

    def _free(self, child: Child) -> None:
        child.busy -= 1
        self._hand_out()
        self._note_idle()

    def _hand_out(self) -> None:
        """Give free seats to those who wait longest."""
        while self._waiting and (child := self._roomiest()) is not None:
            waiter = self._waiting.popleft()
            if not waiter.done():
                child.busy += 1
                waiter.set_result(child)

    def _until_start(self) -> float:
        now = asyncio.get_running_loop().time()
        return min((child.next_start - now for child in self.children), default=0.0)

    def _retry_after(self) -> int:
        return max(1, math.ceil(self._until_start()))


def mount_at(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that a path belongs to: the longest that it lies under."""
    under = (mount for mount in mounts if path == mount.spec.path or path.startswith(mount.spec.path.rstrip("/") + "/"))
    return max(under, key=lambda mount: len(mount.spec.path), default=None)
