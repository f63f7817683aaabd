"""An endpoint on the server: takes requests apart no further than bytes, and sees that each is answered in time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from bursty.core.answers import RAISED, SOME_FAILED, SPLIT, Answer, Stamp, pack_answer, pack_request, unpack_answer
from bursty.core.tickets import Ticket
from bursty.endpoints import AnswerKind, EndpointInfo
from bursty.ids import new_id
from bursty.serving import problems
from bursty.serving.accesslog import NOTED, Noted
from bursty.serving.answers import Answers
from bursty.serving.fallbacks import Fallbacks, Found
from bursty.serving.metrics import Metrics
from bursty.serving.pieces import Gather, Piece
from bursty.serving.pool import Pool
from bursty.serving.predictions import PredictionWriter
from bursty.serving.problems import Problem
from bursty.serving.replies import Reply
from bursty.values import Buffer

LEAD_SECONDS, LEAD_PART = 0.005, 0.05
"""A fallback is sent so long before the deadline, or that part of it, so that it arrives in time."""
JSON = b"application/json"
FINE = frozenset((JSON, b""))
NO_BODY = frozenset(("GET", "HEAD", "DELETE"))

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]


class Request:
    """A request on its way. ``on_reply``: told its ``Reply``, once. ``prepared``: a fallback that was looked up.
    ``seconds``: it has from its arrival on. ``shares``: of the pieces of a long list."""

    __slots__ = ("data", "id", "on_reply", "prepared", "seconds", "shares", "ticket", "ts_ms")

    def __init__(self, data: bytes, on_reply: OnReply, seconds: float) -> None:
        self.id = new_id()
        self.seconds = seconds
        self.data = data
        self.on_reply: OnReply | None = on_reply
        self.ts_ms = time.time_ns() // 1_000_000
        self.prepared: Found | None = None
        self.ticket: Ticket | None = None
        self.shares: Sequence[Ticket] = ()

    def settle(self, reply: Reply) -> None:
        if (on_reply := self.on_reply) is not None:
            self.on_reply = None
            on_reply(self, reply)


OnReply = Callable[[Request, Reply], None]


class Service:
    """One endpoint. Requests come by ``respond``; the pool tells what became of them."""

    def __init__(
        self, info: EndpointInfo, answers: Answers | None, log: PredictionWriter | None, metrics: Metrics
    ) -> None:
        spec = info.spec
        self.info = info
        self.spec = spec
        self.name = spec.name
        self.methods = frozenset(info.schema["methods"])
        self.pool: Pool
        self.stamp = info.version[:12]
        self.awaited: dict[str, int] = {}
        """Versions of models that workers are being started for."""
        self.in_flight = 0
        self.hangups = 0
        self._log = log
        self._metrics = metrics
        self._fallbacks = Fallbacks(info.app, spec, answers)
        metrics.endpoint(self.name, spec.deadline)

    @property
    def prepares(self) -> bool:
        """Whether fallbacks may have to be looked up."""
        return self._fallbacks.uses_cache

    @property
    def models(self) -> set[tuple[str, int]]:
        """Names and versions of what any of its workers loaded."""
        return {_named(model) for stamp in self.pool.stamps.values() for model in stamp.models}

    # Requests

    async def respond(self, scope: Scope, receive: Receive, send: Send, path_values: Mapping[str, str]) -> int:
        """Answer one request, and tell the status."""
        arrived: float = scope.get("bursty.arrived") or time.monotonic()
        head = Head(scope["headers"])
        refusal = self.refusal(scope["method"], head)
        if refusal is None:
            body = await read_body(receive, self.spec.max_body)
            if body is None:
                self.hangups += 1
                return 499
            if not isinstance(body, Problem):
                return await self._ask(scope, send, path_values, body, head, arrived)
            refusal = body
        self._metrics.request(self.name, AnswerKind.NONE, refusal.status, time.monotonic() - arrived)
        return await refuse(send, refusal, (b"x-request-id", new_id().encode()))

    def refusal(self, method: str, head: Head) -> Problem | None:
        """What to answer at once, before the body is read."""
        if method not in self.methods and not (method == "HEAD" and "GET" in self.methods):
            return problems.method_not_allowed(method, self.methods)
        if head.deadline is not None and not head.deadline > 0:
            return problems.bad_request("Bursty-Deadline-Ms must be a number of milliseconds above 0")
        if method in NO_BODY:
            return None
        if head.length is not None and head.length > self.spec.max_body:
            return problems.body_too_large(self.spec.max_body)
        if head.content_type not in FINE and not head.content_type.partition(b";")[0].strip().lower().endswith(b"json"):
            return problems.unsupported_media(head.content_type.decode("latin-1"))
        return None

    async def _ask(
        self, scope: Scope, send: Send, path_values: Mapping[str, str], body: bytes, head: Head, arrived: float
    ) -> int:
        query = scope["query_string"]
        if path_values:
            own = "&".join(f"{name}={quote(value, safe='')}" for name, value in path_values.items())
            query = own.encode() + (b"&" + query if query else b"")
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        connection = scope.get("bursty.connection")
        request = self.submit(query, body, head.deadline, arrived, _settler(future), connection)
        reply = await future
        answer, headers = reply.answer, self.headers_of(request, reply)
        if connection is not None:
            connection.on_lost = None
        scope[NOTED] = Noted(request.id, reply.kind, len(answer.body))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
        return answer.status

    def submit(
        self,
        query: bytes,
        body: Buffer,
        deadline: float | None,
        arrived: float,
        on_reply: OnReply,
        connection: Any = None,
    ) -> Request:
        """Have a request answered. ``deadline``: seconds that the client grants. ``arrived``: monotonic. ``on_reply``
        is told in time, perhaps before this returns. ``connection``: tells when the client hangs up (``serving.http``).
        """
        seconds = self.spec.deadline if deadline is None else min(deadline, self.spec.deadline)
        request = Request(pack_request(query, body), on_reply, seconds)
        late_at = arrived + seconds - min(LEAD_SECONDS, LEAD_PART * seconds)
        ticket = request.ticket = Ticket(arrived, late_at, request)
        if connection is not None:
            connection.on_lost = lambda: self._hung_up(ticket)
        self.in_flight += 1
        if not self.pool.submit(ticket, arrived):
            self._shed(request)
        return request

    def _hung_up(self, ticket: Ticket) -> None:
        request: Request = ticket.request
        if request.on_reply is None:
            return
        self.hangups += 1
        for one in (ticket, *request.shares):
            if not one.over and not one.answered:
                self.pool.dispatch.give_up(one)
        request.settle(Reply(AnswerKind.NONE, _problem_answer(problems.problem(503, "the client hung up"))))
        self.pool.stir()

    def headers_of(self, request: Request, reply: Reply) -> list[tuple[bytes, bytes]]:
        """Of the response. The request counts as answered now."""
        answer, name = reply.answer, request.id.encode()
        headers = [
            (b"content-type", JSON if answer.status < 400 else problems.MEDIA_TYPE),
            (b"content-length", b"%d" % len(answer.body)),
            (b"x-request-id", name),
        ]
        if reply.kind is not AnswerKind.NONE:
            headers.append((b"bursty-answer", reply.kind.encode()))
        if self._log is not None and answer.status < 500:
            headers.append((b"bursty-prediction", name))
        if reply.items:
            headers.append((b"bursty-items", reply.items.encode()))
        if answer.status == 503:
            headers.append((b"retry-after", b"%d" % max(1, round(self.pool.dispatch.expected_wait()))))
        self.in_flight -= 1
        assert request.ticket is not None
        self._metrics.request(self.name, reply.kind, answer.status, time.monotonic() - request.ticket.arrived)
        return headers

    # What the pool tells

    def follow(self, stamp: Stamp) -> None:
        """A worker has become ready: what it answers with is what counts from now on."""
        self.stamp = str(stamp)

    def answer(self, ticket: Ticket, answer: Buffer, late: bool, stamp: str) -> None:
        request: Request | Piece = ticket.request
        found = unpack_answer(answer)
        if found.flags & SPLIT and isinstance(request, Request):
            if not late:
                self._share_out(request, found)
            return
        if found.status < 300 and not found.flags & SOME_FAILED and isinstance(request, Request):
            self._fallbacks.remember(stamp, request.data, answer)
        if late:
            return
        if found.status >= 500:
            self._fall_back(request, AnswerKind.NONE, found)
            return
        kind = AnswerKind.FRESH if found.status < 400 else AnswerKind.NONE
        request.settle(self._noted(request, Reply(kind, found, stamp)))

    def fail(self, ticket: Ticket, why: str, late: bool) -> None:
        if not late:
            problem = problems.problem(500, f"the request could not be answered: {why}", kind="worker")
            self._fall_back(ticket.request, AnswerKind.NONE, _problem_answer(problem))

    def too_late(self, ticket: Ticket) -> None:
        seconds = ticket.request.seconds if isinstance(ticket.request, Request) else self.spec.deadline
        problem = problems.too_late(seconds, self.pool.trouble and "its workers can't start; see the log")
        self._fall_back(ticket.request, AnswerKind.NONE, _problem_answer(problem))

    def prepare(self, ticket: Ticket) -> None:
        if isinstance(ticket.request, Request):
            self._fallbacks.prepare(self.stamp, ticket.request, ticket.late_at)

    def _shed(self, request: Request | Piece) -> None:
        wait = self.pool.dispatch.expected_wait()
        trouble = self.pool.trouble and not self.pool.dispatch.has_workers()
        problem = problems.overloaded(wait, "its workers can't start; see the log" if trouble else "it is overloaded")
        self._fall_back(request, AnswerKind.NONE, _problem_answer(problem))

    def _fall_back(self, request: Request | Piece, kind: AnswerKind, problem: Answer) -> None:
        """The first declared fallback that there is, else the problem."""
        found = self._fallbacks.find(self.stamp, request)
        if found is None:
            reply = Reply(kind, self._told(problem), self.stamp, why=_why(problem))
        else:
            reply = Reply(found.kind, found.answer, self.stamp, why=_why(problem))
        request.settle(self._noted(request, reply))

    def _told(self, problem: Answer) -> Answer:
        """What a client gets of it. What the user's exceptions say is for the log, where everybody may ask."""
        if self.spec.auth != "public" or not problem.flags & RAISED:
            return problem
        return _problem_answer(problems.raised())

    # Long lists

    def _share_out(self, request: Request, answer: Answer) -> None:
        """A list that is long is answered in pieces by several workers."""
        assert request.ticket is not None
        gather = Gather(answer, self.spec.chunk, lambda reply: self._gathered(request, reply))
        now = time.monotonic()
        request.shares = [Ticket(now, request.ticket.late_at, piece) for piece in gather.pieces]
        for ticket in request.shares:
            ticket.alone = True  # a batch of pieces would be the long list again, on one worker
            if not self.pool.submit(ticket, now):
                self._shed(ticket.request)

    def _gathered(self, request: Request, reply: Reply) -> None:
        answer = reply.answer
        if answer.status >= 500:
            self._fall_back(request, reply.kind, answer)
            return
        is_good = reply.kind is AnswerKind.FRESH and not answer.flags & SOME_FAILED
        if is_good and all(part.stamp == reply.stamp for _, part, _ in reply.parts):
            self._fallbacks.remember(reply.stamp, request.data, pack_answer(200, answer.body, items=answer.items))
        request.settle(self._noted(request, reply))

    # The log

    def _noted(self, request: Request | Piece, reply: Reply) -> Reply:
        """Remember the answer. Items that got a fallback or an error in a list of others are logged as such, too."""
        if self._log is None or self.spec.log is None or isinstance(request, Piece) or request.on_reply is None:
            return reply
        answer, kind = reply.answer, reply.kind
        latency = time.time() * 1e3 - request.ts_ms
        for first, part, asked in reply.parts or ((0, reply, request.data),):
            found = part.answer
            about = (self.name, self.spec.log, request.id, request.ts_ms, part.stamp, latency, part.kind)
            if found.status >= 400:
                self._log.add(*about, request=asked, items=found.items, first=first, error=part.why or _why(found))
            elif found.log:
                self._log.add(*about, log=bytes(found.log), items=found.items, first=first, error=part.why or None)
            else:
                self._log.add(*about, request=asked, items=found.items, first=first, error=part.why or None)
        return Reply(kind, answer, reply.stamp, reply.items)


class Head:
    """What matters of a request's headers. ``deadline``: seconds that the client grants; 0 when it
    says what is no time."""

    __slots__ = ("content_type", "deadline", "length")

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.content_type = b""
        self.deadline: float | None = None
        self.length: int | None = None
        for name, value in headers:
            if name == b"content-type":
                self.content_type = value
            elif name == b"content-length":
                self.length = int(value) if value.isdigit() else None
            elif name == b"bursty-deadline-ms":
                self.deadline = _milliseconds(value)


def _settler(future: asyncio.Future[Reply]) -> OnReply:
    def settle(_request: Request, reply: Reply) -> None:
        if not future.done():
            future.set_result(reply)

    return settle


def _named(model: str) -> tuple[str, int]:
    name, _, version = model.rpartition("@")
    return name, int(version)


def _milliseconds(value: bytes) -> float:
    """As seconds; 0 for what is no time."""
    try:
        found = float(value) / 1e3
    except ValueError:
        return 0.0
    return found if 0 < found < math.inf else 0.0


async def read_body(receive: Receive, limit: int) -> bytes | Problem | None:
    """The body; a problem when it is too large; ``None`` when the client has gone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    body = message.get("body", b"")
    if not message.get("more_body", False):
        return body if len(body) <= limit else problems.body_too_large(limit)
    parts, size = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return problems.body_too_large(limit)
    return b"".join(parts)


async def refuse(send: Send, problem: Problem, *more: tuple[bytes, bytes]) -> int:
    """Answer with a problem; its status."""
    await send(problem.start(*more))
    await send({"type": "http.response.body", "body": problem.body})
    return problem.status


def _why(problem: Answer) -> str:
    """What the log keeps of a problem."""
    found: dict[str, Any] = msgspec.json.decode(problem.body)
    return str(found.get("detail") or found.get("title") or found.get("status"))


def _problem_answer(problem: Problem) -> Answer:
    return Answer(problem.status, 0, None, b"", problem.body)
