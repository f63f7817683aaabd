"""Paths of the server that need the version's description or the prediction log: the docs, and ``POST /labels``."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from bursty.endpoints import EndpointInfo, MountSpec
from bursty.errors import StoreError
from bursty.ports.serving import PredictionStore
from bursty.serving import problems
from bursty.serving.problems import Problem
from bursty.serving.server import Own, Page, reply
from bursty.serving.service import Receive, Scope, Send, read_body, refuse

if TYPE_CHECKING:
    from bursty.serving.page import Static

PAGES = ("/docs", "/docs/style.css", "/docs/script.js", "/openapi.json")
MOST_LABELS = 64 << 20
"""Bytes of a body with labels."""
GET, POST = frozenset(("GET", "HEAD")), frozenset(("POST",))


def own_pages(
    infos: Sequence[EndpointInfo],
    mounts: Sequence[MountSpec],
    store: PredictionStore | None,
    *,
    title: str,
    version: str,
    is_local: bool = False,
    later: bool = False,
) -> dict[str, Own]:
    """The docs are for everybody when every endpoint is; else for those who may ask the endpoints. ``store``: of
    predictions, where any are logged. ``is_local``: only this machine reaches the server. ``later``: make the docs when
    somebody asks for them."""

    @functools.cache
    def made() -> Mapping[str, Static]:
        from bursty.serving.page import pages

        return pages(infos, mounts, title=title, version=version, is_local=is_local)

    if not later:
        made()
    scope = "public" if all(info.spec.auth == "public" for info in infos) else "predict"
    found = {path: Own(GET, scope, _static(made, path)) for path in PAGES}
    if store is not None:
        keys = {info.spec.name: info.spec.log.key for info in infos if info.spec.log is not None}
        found["/labels"] = Own(POST, "labels", Labels(store, keys))
    return found


def _static(made: Callable[[], Mapping[str, Static]], path: str) -> Page:
    async def answer(scope: Scope, _receive: Receive, send: Send) -> int:
        page = made()[path]
        await send({"type": "http.response.start", "status": 200, "headers": list(page.headers)})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else page.body})
        return 200

    return answer


class Labels:
    """``POST /labels``. ``keys``: the fields of each endpoint's business key."""

    def __init__(self, store: PredictionStore, keys: Mapping[str, Sequence[str]]) -> None:
        self._store = store
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> int:
        from bursty.serving.labels import LabelsRefused, take_labels

        body = await read_body(receive, MOST_LABELS)
        if body is None:
            return 499
        if isinstance(body, Problem):
            return await refuse(send, body)
        content_type = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        try:
            report = await asyncio.to_thread(
                take_labels, self._store, content_type.decode("latin-1"), body, time.time(), self._keys
            )
        except LabelsRefused as error:
            return await refuse(send, problems.problem(error.status, error.message, error.hint))
        except StoreError as error:
            return await refuse(send, problems.problem(503, error.message, error.hint, kind="store"))
        return await reply(send, 200, msgspec.json.encode(report.as_json()), b"application/json")
