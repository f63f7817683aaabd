"""Requests to endpoint workers and their answers, as bytes that the server doesn't open.

Request:  R | query string, percent-encoded | newline | body        W alone: get ready (load, warm up).
Piece:    P | the same. A part of a longer list, never shared out again.
Answer:   status u16 | flags u16 | items u32 | length of log u32 | log | body, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from bursty.values import Buffer

HEAD = struct.Struct("<HHII")
NO_LIST = 0xFFFFFFFF
SPLIT, SOME_FAILED, RAISED = 1, 2, 4
WARM = b"W"
MOST_COMMAS = 50_000


class Answer(NamedTuple):
    """What a worker answers to one request.

    ``status``: of HTTP; from 400 on ``body`` is a problem (RFC 9457). ``items``: how many a list request had, else
    ``None``. ``log``: JSON, a list with [score, threshold, decision, matched, error, input] for each item or for the
    request as a whole, where decision and input are JSON as they are; empty when nothing is logged. ``body``: JSON.
    ``flags``: SOME_FAILED: some items are errors. RAISED: the user's code raised on the whole request. SPLIT: the body
    is no answer, see ``pieces_of``.
    """

    status: int
    flags: int
    items: int | None
    log: Buffer
    body: Buffer


def pack_request(query: bytes, body: Buffer) -> bytes:
    """``query``: as in a URL, path parameters in front; without line ends."""
    return b"".join((b"R", query, b"\n", body))


def pack_piece(query: bytes, body: Buffer) -> bytes:
    """A request for one of the pieces that an answer with the flag SPLIT holds; ``query``: of the whole request."""
    return b"".join((b"P", query, b"\n", body))


def is_piece(data: bytes) -> bool:
    return data[:1] == b"P"


def unpack_request(data: bytes) -> tuple[bytes, bytes]:
    """Query string and body of a request or a piece. ``data`` must not be ``WARM``. Raises ``ValueError``."""
    end = data.index(b"\n")
    return data[1:end], data[end + 1 :]


def is_brief(body: bytes) -> bool:
    """Whether JSON has so few parts that reading it holds up a process for a few milliseconds at most: what is larger
    is opened by workers only."""
    commas = 0
    for start in range(0, len(body), 1 << 18):
        commas += body.count(b",", start, start + (1 << 18))
        if commas > MOST_COMMAS:
            return False
    return True


def pack_answer(status: int, body: Buffer, *, items: int | None = None, flags: int = 0, log: Buffer = b"") -> bytes:
    count = NO_LIST if items is None else items
    return b"".join((HEAD.pack(status, flags, count, len(log)), log, body))


def unpack_answer(data: Buffer) -> Answer:
    """Its parts are views of ``data``'s type. Raises ``ValueError`` for what is no answer."""
    try:
        status, flags, items, log = HEAD.unpack_from(data)
    except struct.error:
        raise ValueError(f"an answer of {len(data)} bytes") from None
    start = HEAD.size
    if start + log > len(data):
        raise ValueError(f"an answer of {len(data)} bytes says that its log has {log}")
    return Answer(status, flags, None if items == NO_LIST else items, data[start : start + log], data[start + log :])


def pack_pieces(pieces: Sequence[bytes], items: int) -> bytes:
    """The answer that says: share these JSON arrays out among workers. ``items``: in all of them."""
    sizes = struct.pack(f"<{len(pieces)}Q", *map(len, pieces))
    return pack_answer(200, b"".join(pieces), items=items, flags=SPLIT, log=sizes)


def pieces_of(answer: Answer) -> list[bytes]:
    """The pieces of an answer with the flag SPLIT: JSON arrays, each the body of a request of its own.

    Raises ``ValueError`` when sizes and body don't fit.
    """
    if len(answer.log) % 8:
        raise ValueError("sizes of pieces come in eight bytes each")
    sizes = struct.unpack(f"<{len(answer.log) // 8}Q", answer.log)
    if sum(sizes) != len(answer.body):
        raise ValueError(f"pieces of {sum(sizes)} bytes came in {len(answer.body)}")
    found: list[bytes] = []
    position = 0
    for size in sizes:
        found.append(bytes(answer.body[position : position + size]))
        position += size
    return found


def join_arrays(bodies: Sequence[Buffer]) -> bytes:
    """JSON arrays, one after the other, as one. Each must be an array's text without space around it."""
    inner = [bytes(body)[1:-1] for body in bodies]
    return b"[" + b",".join(text for text in inner if text) + b"]"


@dataclass(frozen=True)
class Stamp:
    """What a worker answers with: the app's version and the models that it loaded, as ``name@3``."""

    version: str
    models: tuple[str, ...] = ()

    @cached_property
    def _text(self) -> str:
        return "+".join((self.version, *self.models))

    def __str__(self) -> str:
        return self._text
