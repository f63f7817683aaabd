"""What travels between the server and the process of a mounted app: ASGI messages as msgpack, each behind its length.

A connection carries one request or WebSocket at a time:

    server: SCOPE, then what ASGI's ``receive()`` gives                     app: what it gives ASGI's ``send()``, then
                                                                                 DONE, or FAILED when it raised
After that the next SCOPE may come; what is left of the request before it is skipped. Who has no more use for a
connection closes it, which is also how the app learns that the client hung up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from bursty.values import Buffer

SCOPE, DONE, FAILED = "bursty.scope", "bursty.done", "bursty.failed"
DENIAL = "websocket.http.response"
"""The extension by which an app refuses a WebSocket with an answer of its own."""
MAX_FRAME = 128 << 20
PIECE = 256 << 10
"""Bytes of a body in one frame."""
SCOPE_KEYS = (
    *("type", "asgi", "http_version", "server", "client", "scheme", "method", "root_path", "path", "raw_path"),
    *("query_string", "headers", "subprotocols"),
)
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
     b"trailer", b"transfer-encoding", b"upgrade")
)  # fmt: skip
"""They speak of one connection, and there are two (RFC 9110, section 7.6.1)."""
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_UNFIT = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

Header = tuple[bytes, bytes]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


class BadFrame(ValueError):
    """The other side sent what is no message."""


def pack(message: Mapping[str, Any]) -> bytearray:
    """Raises ``TypeError`` for what can't travel."""
    frame = bytearray(4)
    _encoder.encode_into(message, frame, 4)
    frame[:4] = (len(frame) - 4).to_bytes(4, "big")
    return frame


def body_pieces(body: Buffer) -> Iterator[Buffer]:
    """A body in pieces that are small enough to be on their way; at least one."""
    if len(body) <= PIECE:
        yield body
        return
    view = memoryview(body)
    for at in range(0, len(view), PIECE):
        yield view[at : at + PIECE]


class Frames:
    """Takes bytes as they come, gives messages."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: Buffer) -> None:
        self._data += data

    def __len__(self) -> int:
        """Bytes that wait here."""
        return len(self._data)

    def take(self) -> dict[str, Any] | None:
        """The next message; ``None``: it isn't all there yet. Raises ``BadFrame``."""
        data = self._data
        if len(data) < 4:
            return None
        end = 4 + int.from_bytes(data[:4], "big")
        if end > MAX_FRAME:
            raise BadFrame(f"a message of {end - 4:,} bytes; {MAX_FRAME:,} are the limit")
        if len(data) < end:
            return None
        try:
            with memoryview(data) as view, view[4:end] as body:
                message = _decoder.decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise BadFrame(str(error)) from None
        del data[:end]
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):  # pyright: ignore[reportUnknownMemberType]
            raise BadFrame("a message without a type")
        return message  # pyright: ignore[reportUnknownVariableType]


def scope_of(scope: Mapping[str, Any], root: str) -> dict[str, Any]:
    """A server's scope as it travels, for an app under the path ``root`` (without a slash at its end).

    The server's own ``root_path`` (such as an API's stage on Lambda) is no part of its paths, but of the app's.
    """
    found = {key: scope[key] for key in SCOPE_KEYS if key in scope}
    prefix = scope.get("root_path", "")
    found["root_path"] = prefix + root
    if prefix:
        raw = scope.get("raw_path") or scope["path"].encode()
        found["path"], found["raw_path"] = prefix + scope["path"], prefix.encode() + raw
    found["headers"] = end_to_end(scope["headers"])
    found["extensions"] = {DENIAL: {}} if DENIAL in (scope.get("extensions") or {}) else {}
    return found


def end_to_end(headers: Iterable[Header]) -> list[Header]:
    """Headers that are meant for the other end: without those of the connection, and those that it names."""
    given = [(name.lower(), value) for name, value in headers]
    named = [value for name, value in given if name == b"connection"]
    left_out = HOP_BY_HOP
    if named and named != [b"keep-alive"]:
        left_out = HOP_BY_HOP.union(token.strip().lower() for value in named for token in value.split(b","))
    return [header for header in given if header[0] not in left_out]


def has_body(headers: Iterable[Header]) -> bool:
    """Whether a request has one."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0") for name, value in headers
    )


def bad_header(headers: Iterable[Header]) -> bytes | None:
    """The name of a header that can't be sent, for it could end its line and begin another; ``None``: all are fit."""
    for name, value in headers:
        if _NAME.fullmatch(name) is None or _UNFIT.search(value) is not None:
            return name
    return None
