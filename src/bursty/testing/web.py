"""A client for tests of an app: its endpoints answer in this process, by the same code that serves them.

Requests take the server's whole way but for its worker processes: so there are no deadlines and no fallbacks, and what
would kill a worker kills the test.
"""

from __future__ import annotations

import asyncio
import json as jsons
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode

from bursty.app import App
from bursty.core.deadline import Dispatch
from bursty.core.tickets import Plan, Ticket
from bursty.endpoints import EndpointInfo, EndpointSpec
from bursty.errors import ConfigError
from bursty.forms.offer import schema_of
from bursty.runtime.endpoint import Endpoint
from bursty.serving.metrics import Metrics
from bursty.serving.router import Router
from bursty.serving.service import Message, Service

VERSION = "test"


@dataclass(frozen=True, slots=True)
class Response:
    """``headers``: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises ``ValueError``."""
        return jsons.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """Asks the endpoints of an app. Models and the like are those of the process."""

    def __init__(self, app: App) -> None:
        services = [_service(app, spec) for spec in app.endpoints.values()]
        self._router = Router(services)

    def get(
        self, path: str, *, params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """``params``: of the query string."""
        return self.request("GET", path, params=params, headers=headers)

    def post(
        self,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """``json``: what the body is to say; or ``body``: the bytes themselves."""
        content = jsons.dumps(json).encode() if body is None else body
        given = {"content-type": "application/json", **(headers or {})}
        return self.request("POST", path, params=params, headers=given, body=content)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        """Any request. Raises ``ConfigError`` when no endpoint lies at this path."""
        where, _, query = path.partition("?")
        query = "&".join(filter(None, (query, urlencode(params or {}, doseq=True))))
        service, values = self._router.find(unquote(where))
        if service is None:
            raise ConfigError(f"no endpoint lies at {where}", f"There are: {', '.join(self._router.paths)}.")
        lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
        scope = {"type": "http", "method": method, "path": where, "query_string": query.encode(), "headers": lines}
        return asyncio.run(_exchange(service, scope, values, body))


class _Here:
    """Stands for a pool of workers: answers at once, in this process."""

    trouble = ""

    def __init__(self, endpoint: Endpoint, service: Service) -> None:
        self.dispatch = Dispatch(Plan(1), 0.0)
        self._endpoint = endpoint
        self._service = service

    def submit(self, ticket: Ticket, _now: float) -> bool:
        answer = self._endpoint.answer(ticket.request.data)
        ticket.answered = ticket.over = True
        self._service.answer(ticket, answer, late=False, stamp=VERSION)
        return True

    def stir(self) -> None:
        pass


def _service(app: App, spec: EndpointSpec) -> Service:
    info = EndpointInfo(app.name, VERSION, "", spec, schema_of(app.offered[spec.name], spec))
    service = Service(info, None, None, Metrics())
    service.pool = _Here(Endpoint.of(app, spec.name), service)  # pyright: ignore[reportAttributeAccessIssue]
    return service


async def _exchange(service: Service, scope: Any, values: Mapping[str, str], body: bytes) -> Response:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await service.respond(scope, receive, send, values)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Response(sent[0]["status"], headers, b"".join(bytes(message.get("body", b"")) for message in sent[1:]))
