"""The server inside of an instance of AWS Lambda: one event at a time, and between two of them everything stands still.

It is the same app as ``bursty serve`` has, on an event loop that runs while an event is answered. Whatever would be
done a moment later (late results, newer models) is done when the instance is thawed the next time; what must not wait
for that, the prediction log, is done before the answer is returned.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from bursty.errors import RemoteError, WorkerLost
from bursty.serving import problems
from bursty.serving.lambda_events import LambdaRequest, request_of, response_of
from bursty.serving.problems import Header, Problem
from bursty.serving.server import Server
from bursty.serving.service import Head, Message

MARGIN_SECONDS = 0.2
"""The answer is returned so long before Lambda would end the function."""
LEAD_SECONDS, LEAD_PART = 0.01, 0.1
"""A fallback is returned so long before the deadline, or that part of it: a log is written, and there is a way back."""
FLUSH_SECONDS, LEAST_FLUSH_SECONDS = 1.0, 0.05
"""So long what was answered may take to be written; while there is time, and even when there is none."""
FAILED_FLUSH_SECONDS = 0.01
"""What did not work is not waited for again and again."""
OLDEST_SECONDS = 60.0
"""An event that is older than that came from a clock that has nothing to do with ours."""
LOOK_SECONDS = 0.005

Flush = Callable[[float], bool]
"""Writes what waits, at most so many seconds; tells whether nothing waits any more."""


class Context(Protocol):
    """What Lambda gives with an event."""

    def get_remaining_time_in_millis(self) -> int: ...


class Instance:
    """``flushes``: run before each answer is returned. ``provisioned``: Lambda started this instance before anybody
    asked, so there is no cold start to be excepted.
    """

    def __init__(self, server: Server, flushes: Sequence[Flush] = (), *, provisioned: bool = False) -> None:
        self._server = server
        self._flushes = flushes
        self._patience = [FLUSH_SECONDS] * len(flushes)
        self._provisioned = provisioned
        self._loop = asyncio.new_event_loop()
        self._began = 0.0
        """Since the epoch: what came to the gateway before had to wait for this instance, and its deadline counts from
        here."""
        self._is_warm = provisioned
        self._stood_since = 0.0

    def start(self, seconds: float) -> None:
        """Start the workers, and wait for them, at most so long."""
        self._loop.run_until_complete(self._server.startup())
        self._warm_up(seconds)
        self._stood_since = time.monotonic()

    def _warm_up(self, seconds: float) -> None:
        self._loop.run_until_complete(self._settle(time.monotonic() + seconds))
        if not self._provisioned:
            self._began = time.time()

    async def _settle(self, until: float) -> None:
        """Wait until the workers are ready, or can't be."""
        services, mounts = self._server.parts.services, self._server.parts.mounts
        while time.monotonic() < until:
            if all(s.pool.ready or s.pool.trouble for s in services) and all(mount.ready for mount in mounts):
                return
            await asyncio.sleep(LOOK_SECONDS)

    def answer(self, event: Any, context: Context) -> dict[str, Any]:
        """Raises ``ConfigError`` for events that are no HTTP requests."""
        now = time.monotonic()
        until = now + context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS
        for service in self._server.parts.services:
            service.pool.dispatch.stood_still(now - self._stood_since)
        try:
            return self._answer(request_of(event), until)
        finally:
            self._stood_since = time.monotonic()

    def _answer(self, request: LambdaRequest, until: float) -> dict[str, Any]:
        if not self._is_warm:
            self._is_warm = True
            self._warm_up(until - time.monotonic())
        arrived = self._arrival(request)
        seconds = self._limit(request, arrived, until)
        status, headers, body = self._loop.run_until_complete(self._ask(request, until))
        response = response_of(status, headers, body)
        self._flush(min(arrived + seconds, until))
        return response

    def _arrival(self, request: LambdaRequest) -> float:
        """When it came to the gateway, as ``time.monotonic`` has it."""
        age = time.time() - max(request.at, self._began) if request.at is not None else 0.0
        arrived = time.monotonic() - (age if 0 < age < OLDEST_SECONDS else 0.0)
        request.scope["bursty.arrived"] = arrived
        return arrived

    def _limit(self, request: LambdaRequest, arrived: float, until: float) -> float:
        """Have an endpoint keep to the time that Lambda leaves it; what it has from its arrival on, in seconds."""
        service, _ = self._server.router.find(request.scope["path"])
        if service is None:
            return 0.0
        wish = Head(request.scope["headers"]).deadline
        if wish == 0:  # what is no time is refused
            return 0.0
        seconds = service.spec.deadline if wish is None else min(wish, service.spec.deadline)
        granted = min(seconds - min(LEAD_SECONDS, LEAD_PART * seconds), until - arrived)
        milliseconds = b"%f" % (max(granted, 1e-6) * 1e3)
        others = [header for header in request.scope["headers"] if header[0] != b"bursty-deadline-ms"]
        request.scope["headers"] = [*others, (b"bursty-deadline-ms", milliseconds)]
        return seconds

    async def _ask(self, request: LambdaRequest, until: float) -> tuple[int, Sequence[Header], bytes]:
        await asyncio.sleep(0)  # first, what happened since the last event
        exchange = _Exchange(request.body)
        answering = self._server(request.scope, exchange.receive, exchange.send)
        try:
            await asyncio.wait_for(answering, max(until - time.monotonic(), 0.0))
        except TimeoutError:
            return _parts(problems.problem(504, "the function's own time is up", kind="late", title="Too late"))
        except (RemoteError, WorkerLost):  # in the middle of its answer
            return _parts(problems.problem(502, "the app gave no whole answer", "Its log says more.", kind="mount"))
        return exchange.status, exchange.headers, b"".join(exchange.pieces)

    def _flush(self, end: float) -> None:
        """What waits now would wait until the next event, if there is one."""
        for number, flush in enumerate(self._flushes):
            seconds = max(end - time.monotonic(), LEAST_FLUSH_SECONDS)
            worked = flush(min(seconds, self._patience[number]))
            self._patience[number] = FLUSH_SECONDS if worked else FAILED_FLUSH_SECONDS


class _Exchange:
    """ASGI's ``receive`` and ``send``: the body comes whole, and the answer is gathered."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.status = 500
        self.headers: Sequence[Header] = ()
        self.pieces: list[bytes] = []

    async def receive(self) -> Message:
        if self._body is None:
            await asyncio.get_running_loop().create_future()  # nobody tells us that the client hung up
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
        else:
            self.pieces.append(bytes(message.get("body", b"")))


def _parts(refusal: Problem) -> tuple[int, Sequence[Header], bytes]:
    return refusal.status, refusal.headers, refusal.body
