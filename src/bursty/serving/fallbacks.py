"""What is answered when time is up: the fallbacks of an endpoint, in the order declared."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple, Protocol

import msgspec

from bursty.core.answers import Answer, is_brief, unpack_answer, unpack_request
from bursty.endpoints import AnswerKind, Default, EndpointSpec
from bursty.serving.answers import Answers
from bursty.serving.pieces import Piece
from bursty.values import Buffer

MARGIN = 0.002
"""Seconds that a look into the shared cache must end before the fallback is sent."""


class Found(NamedTuple):
    kind: AnswerKind
    answer: Answer


class Asking(Protocol):
    """A request that may need one; ``prepared``: what was found for it."""

    data: bytes
    prepared: Found | None


class Fallbacks:
    """Of one endpoint of an app."""

    def __init__(self, app: str, spec: EndpointSpec, answers: Answers | None) -> None:
        self._spec = spec
        self._answers = answers
        self._name = f"{app}/{spec.name}"
        self._any_key = answers.any_key(self._name) if answers is not None else b""
        self.uses_cache = answers is not None and any(isinstance(one, str) for one in spec.fallback)
        self._looking: set[asyncio.Task[None]] = set()

    def remember(self, stamp: str, request: bytes, answer: Buffer) -> None:
        """Keep a good answer, where a fallback may need it."""
        if not self.uses_cache or self._answers is None:
            return
        kept = bytes(answer)
        for one in self._spec.fallback:
            key = self._key(one, stamp, request)
            if key is not None:
                self._answers.remember(key, kept, self._spec.cache_ttl)

    def _key(self, one: object, stamp: str, request: bytes) -> bytes | None:
        if self._answers is None or isinstance(one, Default):
            return None
        return self._any_key if one == "last_good_any" else self._answers.key(self._name, stamp, request)

    def prepare(self, stamp: str, request: Asking, late_at: float) -> None:
        """Begin to look into the shared cache, so that what it has is at hand in time."""
        if self._answers is None or self.find_cached(stamp, request.data) is not None:
            return
        task = asyncio.get_running_loop().create_task(self._look(stamp, request, late_at))
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _look(self, stamp: str, request: Asking, late_at: float) -> None:
        assert self._answers is not None
        for one in self._spec.fallback:
            if isinstance(one, Default):  # what is declared behind it is not better
                return
            key = self._key(one, stamp, request.data)
            if key is None:
                continue
            kept = await self._answers.recall(key, late_at - MARGIN - time.monotonic())
            if kept is not None:
                request.prepared = _cached(one, kept)
                return

    def find_cached(self, stamp: str, request: bytes) -> Found | None:
        """What memory holds."""
        for one in self._spec.fallback:
            if isinstance(one, Default):
                return None
            if (found := self._recalled(one, stamp, request)) is not None:
                return found
        return None

    def _recalled(self, one: object, stamp: str, request: bytes) -> Found | None:
        key = self._key(one, stamp, request)
        kept = self._answers.recall_now(key) if key is not None and self._answers is not None else None
        return _cached(one, kept) if kept is not None else None

    def find(self, stamp: str, request: Asking | Piece) -> Found | None:
        """The first that there is."""
        if isinstance(request, Piece):
            return self._default_of(request.items)
        for one in self._spec.fallback:
            if isinstance(one, Default):
                found = self._default(one, request.data)
            else:
                found = self._recalled(one, stamp, request.data) or request.prepared
            if found is not None:
                return found
        return None

    def _default_of(self, items: int) -> Found | None:
        """For a piece of a list: only what stands for each item."""
        for one in self._spec.fallback:
            if isinstance(one, Default) and one.each:
                return _each(one.value, items)
        return None

    def _default(self, default: Default, data: bytes) -> Found | None:
        if not default.each:
            return Found(AnswerKind.DEFAULT, Answer(200, 0, None, b"", msgspec.json.encode(default.value)))
        items = count_items(unpack_request(data)[1])
        return _each(default.value, items) if items is not None else None


def _cached(one: object, kept: bytes) -> Found:
    """The log of an answer tells what was asked: of one that was given to somebody else it is none of this request."""
    answer = unpack_answer(kept)
    return Found(AnswerKind.CACHED, answer._replace(log=b"") if one == "last_good_any" else answer)


def _each(value: Any, items: int) -> Found:
    text = msgspec.json.encode(value)
    return Found(AnswerKind.DEFAULT, Answer(200, 0, items, b"", b"[" + b",".join([text] * items) + b"]"))


def count_items(body: bytes) -> int | None:
    """How many elements a JSON array has; 0 for what is none; ``None`` when it takes too long to tell, and everybody
    else would have to wait. The one look that the server takes into a body, when no worker had the time to: nothing in
    it is decoded."""
    if not is_brief(body):
        return None
    try:
        return len(msgspec.json.decode(body, type=list[msgspec.Raw]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
