"""Mounted apps in tests: real processes behind a uvicorn on loopback."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn

from bursty.endpoints import MountSpec
from bursty.engine.session import Session
from bursty.ports import open_session
from bursty.serving.mounts import Mount, mount_at
from bursty.serving.mounts_launch import engine_launch
from bursty.values import FunctionSpec
from servers import wait_until

T = TypeVar("T")
GRACE = 5.0
APPS = Path(__file__).with_name("mount_apps")


class Front:
    """The least of a server: mounts by path, and what was said and printed."""

    def __init__(self, mounts: list[Mount], said: list[str], printed: list[tuple[str, str, str]]) -> None:
        self.mounts = mounts
        self.said = said
        self.printed = printed
        self.failures: list[BaseException] = []
        self.port = 0
        self.stop: Callable[[], None] = lambda: None
        """Have the server end in good order."""

    @staticmethod
    def plan(spec: MountSpec) -> Mount:
        """A mount that nobody starts."""
        return Mount(spec, lambda _path, _number: Future())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """In the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, **options)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self.loop = asyncio.get_running_loop()
            await receive()
            for mount in self.mounts:
                await mount.start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            for mount in self.mounts:
                await mount.stop(GRACE)
            await send({"type": "lifespan.shutdown.complete"})
            return
        mount = mount_at(scope["path"], self.mounts)
        assert mount is not None
        try:
            await mount(scope, receive, send)
        except BaseException as error:
            self.failures.append(error)
            raise


@contextmanager
def served(front: Front, *, wait: bool = True) -> Iterator[Front]:
    """``front`` behind uvicorn, in a thread, until the block ends; ``wait``: once its mounts are ready."""
    config = uvicorn.Config(
        front, host="127.0.0.1", port=0, log_level="critical", lifespan="on", ws="websockets-sansio"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="front")
    thread.start()
    try:
        assert wait_until(lambda: server.started or not thread.is_alive())
        front.stop = partial(setattr, server, "should_exit", True)
        front.port = server.servers[0].sockets[0].getsockname()[1]
        if wait:
            assert wait_until(lambda: all(mount.ready for mount in front.mounts)), front.said
        yield front
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def mounted(file: str, *specs: MountSpec, app: str, wait: bool = True, workers: int = 2) -> Iterator[Front]:
    """The apps of ``mount_apps/file`` on real workers."""
    said: list[str] = []
    printed: list[tuple[str, str, str]] = []

    def output(label: str, stream: str, text: str) -> None:
        printed.append((label, stream, text))

    session: Session = open_session(f"local?workers={workers}", output=output)
    try:
        mounts = [
            Mount(spec, engine_launch(session, spec, target=str(APPS / file), app=app), say=said.append)
            for spec in specs
        ]
        with served(Front(mounts, said, printed), wait=wait) as front:
            yield front
    finally:
        session.close()


def spec(path: str, name: str, kind: Any = "wsgi", **options: Any) -> MountSpec:
    return MountSpec(FunctionSpec(name), path, kind, **options)


def eventually(condition: Callable[[], bool]) -> None:
    assert wait_until(condition)
