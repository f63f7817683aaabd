"""The ASGI app of ``bursty serve``: endpoints, mounted apps, and what every server has (health, metrics, labels)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bursty.core.deadline import Dispatch
from bursty.core.tickets import State
from bursty.endpoints import Auth
from bursty.ids import new_id
from bursty.serving import metrics as exposition
from bursty.serving import problems
from bursty.serving.access import TokenBook, authorization, needs_token
from bursty.serving.accesslog import NOTED, Noted
from bursty.serving.metrics import Metrics
from bursty.serving.mounts import Mount, mount_at
from bursty.serving.pool import Floor, Pool
from bursty.serving.problems import Problem
from bursty.serving.router import Router
from bursty.serving.service import Message, Receive, Scope, Send, Service, refuse

READY_SECONDS = 0.02
RELOAD_SECONDS = 2.0
"""How often it is looked whether a newer model was promoted."""


Page = Callable[[Scope, Receive, Send], Awaitable[int]]


@dataclass(slots=True)
class Own:
    """A page of the server's own. ``auth``: ``public``, or what scope a token needs."""

    methods: frozenset[str]
    scope: str
    page: Page


@dataclass(slots=True)
class Parts:
    """What a server is made of. ``host``: it listens on. ``pool_of``: makes an endpoint's pool, on the event loop.
    ``current_model``: the current version of a model, asked on a thread. ``pages``: further paths. ``closers``: run
    on a thread when all is over."""

    host: str
    floor: Floor
    services: Sequence[Service]
    mounts: Sequence[Mount]
    pool_of: Callable[[Service], Pool]
    book: TokenBook
    metrics: Metrics
    current_model: Callable[[str], int | None]
    pages: Mapping[str, Own] = field(default_factory=dict[str, Own])
    note: Callable[[Scope, int, float], None] | None = None
    closers: Sequence[Callable[[], object]] = ()
    grace: float = 30.0


class Server:
    """The app. ``startup`` and ``shutdown`` come as ASGI's lifespan."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.stopping = False
        self.router = Router(parts.services)
        self._express = {path.encode(): service for path, service in self.router.fixed.items()}
        self._pages: dict[str, Own] = {
            "/health": Own(frozenset(("GET", "HEAD")), "public", self._health),
            "/ready": Own(frozenset(("GET", "HEAD")), "public", self._ready),
            "/metrics": Own(frozenset(("GET", "HEAD")), "metrics", self._metrics),
            **parts.pages,
        }
        self._reloads: asyncio.Task[None] | None = None
        self._reloaded: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            begun = time.monotonic()
            status = await self._respond(scope, receive, send)
            self.note(scope, status, time.monotonic() - begun)
        elif scope["type"] == "websocket":
            await self._talk(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    # Routing

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> int:
        path: str = scope["path"]
        if (own := self._pages.get(path)) is not None:  # endpoints with a pattern such as /{item} would have it, too
            return await self._own(own, scope, receive, send)
        service, values = self.router.find(path)
        if service is not None:
            refusal = self._refusal(scope, service.spec.auth, f"predict:{service.spec.path}")
            if refusal is not None:
                return await turn_away(scope, send, refusal)
            return await service.respond(scope, receive, send, values)
        if (mount := mount_at(path, self.parts.mounts)) is not None:
            refusal = self._refusal(scope, mount.spec.auth, f"mount:{mount.spec.path}")
            if refusal is not None:
                return await turn_away(scope, send, refusal)
            status = await _follow(mount, scope, receive, send)
            self.parts.metrics.count("mount_requests", mount.spec.name, str(status))
            return status
        known = [*self.router.paths, *self._pages]
        return await turn_away(scope, send, problems.not_found(path, known))

    def express(self, scope: Scope, path: bytes) -> Service | None:
        """For ``serving.express``."""
        service = self._express.get(path)
        if service is not None and service.spec.auth != "public":
            scope["method"] = "POST"
            if self._refusal(scope, service.spec.auth, f"predict:{service.spec.path}") is not None:
                return None
        return service

    @property
    def keeps_notes(self) -> bool:
        return self.parts.note is not None

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """Of each response."""
        if self.parts.note is not None:
            self.parts.note(scope, status, seconds)

    def refused(self, status: int) -> None:
        """A request was refused before it could be read."""
        self.parts.metrics.count("refusals", str(status))

    def _refusal(self, scope: Scope, auth: Auth, needed: str) -> Problem | None:
        """What to answer to those who may not ask."""
        if auth == "public":
            return None
        client = scope.get("client")
        headers = scope["headers"]
        address = client[0] if client else None
        if not needs_token(self.parts.host, address, headers, auth, scope.get("method", "CONNECT")):
            return None
        return self.parts.book.check(authorization(headers), needed, time.time()).problem

    async def _own(self, own: Own, scope: Scope, receive: Receive, send: Send) -> int:
        if scope["method"] not in own.methods:
            return await turn_away(scope, send, problems.method_not_allowed(scope["method"], own.methods))
        if own.scope != "public" and (refusal := self._refusal(scope, "token", own.scope)) is not None:
            return await turn_away(scope, send, refusal)
        return await own.page(scope, receive, send)

    async def _talk(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket: only mounted apps have them."""
        mount = mount_at(scope["path"], self.parts.mounts)
        if mount is None or self._refusal(scope, mount.spec.auth, f"mount:{mount.spec.path}") is not None:
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        await mount(scope, receive, send)

    # Pages of every server

    async def _health(self, _scope: Scope, _receive: Receive, send: Send) -> int:
        return await reply(send, 200, b'{"status":"ok"}', b"application/json")

    async def _ready(self, scope: Scope, _receive: Receive, send: Send) -> int:
        """503 until every endpoint has its workers and every mounted app answers, and again while it shuts down. Why
        workers can't start (in the words of the user's code, which may tell anything) only those learn who may read
        metrics."""
        import msgspec

        may_know = self._refusal(scope, "token", "metrics") is None
        waiting = {
            s.name: (s.pool.trouble if may_know else s.pool.trouble and "can't start; see the log") or "starting"
            for s in self.parts.services
            if not s.pool.ready
        }
        waiting |= {mount.spec.name: "starting" for mount in self.parts.mounts if not mount.ready}
        if self.stopping:
            waiting["server"] = "shutting down"
        words = {name: text.splitlines()[0] for name, text in waiting.items()}
        body = msgspec.json.encode({"status": "waiting" if words else "ready", **({"waiting": words} if words else {})})
        return await reply(send, 503 if words else 200, body, b"application/json")

    async def _metrics(self, _scope: Scope, _receive: Receive, send: Send) -> int:
        for service in self.parts.services:
            for size in service.pool.batches:
                self.parts.metrics.batch(service.name, size)
            service.pool.batches.clear()
        return await reply(send, 200, self.parts.metrics.render(), exposition.MEDIA_TYPE)

    # Life

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.startup()
                except Exception as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    raise
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.shutdown()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def startup(self) -> None:
        """Begin to start workers and mounted apps; ``/ready`` tells when they are."""
        self.parts.floor.start()
        await asyncio.to_thread(self.parts.book.start)
        for service in self.parts.services:
            service.pool = self.parts.pool_of(service)
            service.pool.on_ready = service.follow
            service.pool.stir()
            watch(self.parts.metrics, service)
        self._reloads = asyncio.create_task(self._reload_models())
        for mount in self.parts.mounts:
            await mount.start()

    async def wait_ready(self) -> None:
        """Until every endpoint has its workers and every mounted app answers."""
        while not self.is_ready:  # noqa: ASYNC110 (a property that costs nothing to ask)
            await asyncio.sleep(READY_SECONDS)

    @property
    def is_ready(self) -> bool:
        started = all(hasattr(service, "pool") and service.pool.ready for service in self.parts.services)
        return started and all(mount.ready for mount in self.parts.mounts)

    async def shutdown(self, grace: float | None = None) -> None:
        """Requests are over by now; end workers, write what waits to be written. ``grace``: seconds that mounted apps
        have for theirs; ``None``: as declared."""
        grace = self.parts.grace if grace is None else grace
        self.stopping = True
        if self._reloads is not None:
            self._reloads.cancel()
        for service in self.parts.services:
            service.pool.close()
        await asyncio.gather(*(mount.stop(grace) for mount in self.parts.mounts))
        self.parts.floor.close()
        for close in self.parts.closers:
            await asyncio.to_thread(close)

    async def _reload_models(self) -> None:
        """Where a newer model was promoted, replace the workers that loaded the one before."""
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            loaded = {name for service in self.parts.services for name, _ in service.models}
            found = {name: await asyncio.to_thread(self._current, name) for name in sorted(loaded)}
            self.follow_models({name: version for name, version in found.items() if version is not None})

    def follow_models(self, current: Mapping[str, int]) -> None:
        """Replace the workers of endpoints of which one loaded another version of a model than the current one."""
        for service in self.parts.services:
            wanted = {name: current[name] for name, version in service.models if current.get(name, version) != version}
            if wanted and wanted != service.awaited:
                words = ", ".join(f"{name} version {version}" for name, version in wanted.items())
                self.parts.floor.say(f"{service.name}: loading {words}")
                service.pool.renew()
            service.awaited = wanted

    def _current(self, name: str) -> int | None:
        try:
            return self.parts.current_model(name)
        except Exception as error:
            self.parts.floor.say(f"model {name}: its current version can't be told now: {error}")
            return None


async def _follow(mount: Mount, scope: Scope, receive: Receive, send: Send) -> int:
    """Let a mounted app answer, and note its status."""
    status = 500

    async def passed(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    await mount(scope, receive, passed)
    return status


async def turn_away(scope: Scope, send: Send, problem: Problem) -> int:
    """Answer with a problem, under a name by which the access log knows it, too."""
    name = new_id()
    scope[NOTED] = Noted(name, "", len(problem.body))
    return await refuse(send, problem, (b"x-request-id", name.encode()))


async def reply(send: Send, status: int, body: bytes, media_type: bytes) -> int:
    """A whole response."""
    headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    return status


def watch(metrics: Metrics, service: Service) -> None:
    """Gauges and counters of an endpoint that its pool keeps."""
    dispatch, name = service.pool.dispatch, service.name
    metrics.watch("queue_length", lambda: dispatch.waiting, name)
    metrics.watch("in_flight", lambda: service.in_flight, name)
    for state, words in (
        (State.IDLE, "ready"),
        (State.BUSY, "busy"),
        (State.LATE, "late"),
        (State.STARTING, "starting"),
    ):
        metrics.watch("workers", _counting(dispatch, state), name, words)
    metrics.watch("worker_starts", lambda: dispatch.tally.opened, name)
    metrics.watch("worker_kills", lambda: dispatch.tally.kills, name)
    metrics.watch("worker_losses", lambda: dispatch.tally.lost, name)
    metrics.watch("sheds", lambda: dispatch.tally.shed, name)
    metrics.watch("hangups", lambda: service.hangups, name)


def _counting(dispatch: Dispatch, state: State) -> Callable[[], float]:
    return lambda: sum(1 for worker in dispatch.workers.values() if worker.state is state)
