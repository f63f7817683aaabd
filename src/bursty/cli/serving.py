"""``bursty serve``: endpoints and web apps, online from this machine."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bursty.cli.ending import heard_by
from bursty.cli.telling import say, told
from bursty.cli.terminal import console
from bursty.errors import ConfigError
from bursty.stage import Stage

if TYPE_CHECKING:
    from bursty.serving.server import Server

SWITCH_SECONDS = 5e-4
"""How long another thread of the server may keep the event loop from the interpreter (Python's own: 5 ms)."""
READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class ServeRequest:
    """The command line. ``file``: declares the app; ``version``: of an app that is known, instead of a file."""

    file: str | None
    host: str = "127.0.0.1"
    port: int = 8000
    app: str | None = None
    version: str | None = None
    access_log: bool = False


def serve(request: ServeRequest) -> None:
    """Serve until a signal asks for the end. Raises ``BurstyError`` for what can't be served."""
    from bursty.hosting import build_server

    with told(), Stage(say=say) as stage:
        digest, name = _version_of(stage, request)
        listener = _listen(request.host, request.port)
        server = build_server(stage, digest, request.host, say, access_log=request.access_log)
        if not server.parts.services and not server.parts.mounts:
            raise ConfigError(
                f"{name} has neither endpoints nor mounted apps", '@app.endpoint("/predict") or app.mount().'
            )
        _run(server, listener, name)


def _version_of(stage: Stage, request: ServeRequest) -> tuple[str, str]:
    """The digest of what to serve, and its name for people."""
    if request.file is not None:
        if request.version is not None or request.app is not None:
            raise ConfigError("--version and --app go without FILE", "bursty serve --version 3")
        version, _ = stage.versions.take(request.file, "bursty serve", say=say)
    else:
        apps = stage.versions.apps()
        if request.app is None and len(apps) != 1:
            raise ConfigError(f"which app? There are {', '.join(apps) or 'none'}.", "bursty serve FILE, or --app NAME")
        version = stage.versions.get(request.app or apps[0], request.version)
    return version.digest, f"{version.app} v{version.number}"


def _listen(host: str, port: int) -> socket.socket:
    """Raises ``ConfigError`` for an address that can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        hint = "Take another one: --port 8001, or --port 0 for any that is free." if port else ""
        raise ConfigError(f"{host}:{port} can't be listened on: {error.strerror or error}", hint) from error


def _run(server: Server, listener: socket.socket, name: str) -> None:
    import uvicorn

    from bursty.serving.express import express
    from bursty.serving.http import Limits

    config = uvicorn.Config(
        _Asgi(server),
        http=express(server, Limits(), server.refused),
        loop="uvloop",
        ws="websockets-sansio",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(server.parts.grace),
    )
    runner = uvicorn.Server(config)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()

    async def main() -> None:
        _show(server, listener, name)
        watcher = asyncio.create_task(_announce(server, time.monotonic()))
        with _ending_well():
            await runner.serve([listener])
            if not server.stopping:  # a second signal: requests are cut off, but what waits to be logged isn't
                say("ended at once; requests in work have no answer")
                await server.shutdown(grace=0.0)
        watcher.cancel()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as loop:
        loop.run(main())


def _ending_well() -> AbstractContextManager[None]:
    """uvicorn, ended by a signal, raises that once more when it is through, which would kill us before the stores are
    closed."""

    def pass_over(_number: int, _frame: object) -> None:
        pass

    return heard_by(pass_over, (signal.SIGINT, signal.SIGTERM))


class _Asgi:
    """What uvicorn calls; it looks at signatures, which bound methods of slotted classes confuse."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._server(scope, receive, send)
            return
        with contextlib.suppress(asyncio.CancelledError):  # by a second signal
            await self._server(scope, receive, send)


def _show(server: Server, listener: socket.socket, name: str) -> None:
    """Where it is, once it listens."""
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    out = console(stderr=True)
    out.print(f"[bold]{name}[/] at [link={url}]{url}[/]  [dim]· {url}/docs shows and tries it · Ctrl-C ends it[/]")
    for service in server.parts.services:
        spec, methods = service.spec, "/".join(sorted(service.methods))
        out.print(f"  [cyan]{methods}[/] {spec.path}  [dim]{spec.title}, {_in_words(spec.deadline)}[/]")
    for mount in server.parts.mounts:
        out.print(f"  [cyan]app[/] {mount.spec.path}")


def _in_words(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1e3:g} ms"


async def _announce(server: Server, begun: float) -> None:
    await server.wait_ready()
    say(f"✓ ready after {time.monotonic() - begun:.1f} s", dated=False)
