"""A process of a mounted app, as the server sees it: started, connected to, started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from bursty.errors import BurstyError, in_words
from bursty.runtime.mounted_link import Link

Launch = Callable[[str, int], "Future[Any]"]
"""Start a process that will listen at this path; the number says which of the mount's processes it is. The future ends
with the process; cancelling it kills it. Called on a thread: it may take long."""

FIRST_DELAY, LAST_DELAY, LAST_DELAY_UP = 0.5, 30.0, 2.0
STEADY_SECONDS = 60.0
"""A process that was up for so long has not failed to start: the next one is started at once."""
LOOK_SECONDS = 0.02
DOUBT_SECONDS = 0.5
FAREWELL_SECONDS = 5.0
"""How long a process may take to end, once it has no connections."""


def restart_delay(failures: int, *, was_up: bool) -> float:
    """Seconds to wait before a process is started again that ended ``failures`` times in a row. ``was_up``: it had come
    up the last time, so most likely it will; others wait until somebody has mended something."""
    limit = LAST_DELAY_UP if was_up else LAST_DELAY
    return 0.0 if failures <= 1 else min(FIRST_DELAY * 2.0 ** min(failures - 2, 10), limit)


class Child:
    """``capacity``: how many requests at once. ``changed``: told when it comes up. ``say``: told of its ends."""

    def __init__(
        self,
        title: str,
        number: int,
        capacity: int,
        launch: Launch,
        folder: str,
        changed: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self.busy = 0
        self.is_up = False
        self.next_start = 0.0
        """When the loop's clock shows this it is started again, if it isn't up."""
        self._title = title
        self._number = number
        self._capacity = capacity
        self._launch = launch
        self._folder = folder
        self._changed = changed
        self._say = say
        self._path = ""
        self._launches = 0
        self._links: set[Link] = set()
        self._idle: list[Link] = []
        self._leash: Link | None = None
        self._future: Future[Any] | None = None
        self._came_up = False
        self._is_stopping = False
        self._keeper: asyncio.Task[None] | None = None

    @property
    def has_room(self) -> bool:
        return self.is_up and self.busy < self._capacity

    # Connections

    async def lease(self) -> Link:
        """A connection for one exchange. Raises ``OSError`` when the process is gone."""
        while self._idle:
            if not (link := self._idle.pop()).lost:
                return link
        return await self._connect()

    def give(self, link: Link, *, reusable: bool) -> None:
        if reusable and not link.lost and self.is_up:
            self._idle.append(link)
        else:
            link.close()

    def doubt(self) -> None:
        """A connection broke: nothing more is sent there until it is known whether the process lives."""
        if self.is_up:
            self.is_up = False
            asyncio.get_running_loop().call_later(DOUBT_SECONDS, self._trust)

    def _trust(self) -> None:
        if self._leash is not None and not self._leash.lost and not self._is_stopping:
            self.is_up = True
            self._changed()

    async def _connect(self) -> Link:
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(lambda: Link(ended=self._links.discard), self._path)
        self._links.add(link)
        return link

    def cut(self) -> None:
        """Close every connection, so that the process ends by itself."""
        self._idle.clear()
        for link in list(self._links):
            link.close()

    # Life

    def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep(), name=f"{self._title} {self._number}")

    async def stop(self) -> None:
        """End the process: at once when it did not come up yet, else in good order; by force after
        ``FAREWELL_SECONDS``."""
        self._is_stopping = True
        self.is_up = False
        was_up = self._leash is not None and not self._leash.lost
        self.cut()
        if self._keeper is None:
            return
        if not was_up:
            self._kill()
            self._keeper.cancel()
        await asyncio.wait((self._keeper,))

    def _kill(self) -> None:
        if self._future is not None:
            self._future.cancel()

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._is_stopping:
            began = loop.time()
            self._came_up = False
            why = await self._live()
            if self._is_stopping:
                return
            failures = 1 if loop.time() - began > STEADY_SECONDS else failures + 1
            delay = restart_delay(failures, was_up=self._came_up)
            again = f"in {delay:g} s" if delay else "now"
            self._say(f"{self._title}: its process {self._number} ended, and is started again {again}: {why}")
            self.next_start = loop.time() + delay
            await asyncio.sleep(delay)

    async def _live(self) -> str:
        """One life of the process; why it ended."""
        self._launches += 1
        self._path = os.path.join(self._folder, f"{self._number}-{self._launches}")
        try:
            self._future = await asyncio.to_thread(self._launched, self._path)
            end = asyncio.wrap_future(self._future)
            if await self._comes_up(end):
                self.is_up = self._came_up = True
                self._changed()
                await self._is_let_go()
                self.is_up = False
                self.cut()
                await asyncio.wait((end,), timeout=FAREWELL_SECONDS)
                if not end.done():
                    self._kill()
            await end
            return "it returned"
        except BurstyError as error:
            return str(error)
        except Exception as error:
            return in_words(error)
        finally:
            self.is_up = False
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    def _launched(self, path: str) -> Future[Any]:
        """On a thread: meanwhile nobody may want the process any more."""
        future = self._launch(path, self._number)
        if self._is_stopping:
            future.cancel()
        return future

    async def _comes_up(self, end: asyncio.Future[Any]) -> bool:
        """Wait until the process listens; ``False``: it has ended before."""
        while not end.done():
            try:
                self._leash = await self._connect()
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.wait((end,), timeout=LOOK_SECONDS)
            else:
                return True
        return False

    async def _is_let_go(self) -> None:
        assert self._leash is not None
        await self._leash.read()  # nothing ever comes
