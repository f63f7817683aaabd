"""Frames as bytes: a small JSON object and binary parts that nobody on the way opens.

    magic 4s | parts u32 | meta length u64 | rest u64 | length of each part u64 … | meta (JSON, UTF-8) | parts …

``rest``: how many bytes follow it.

Little-endian. The same bytes go through the socket of a local worker and, as base64, through Lambda's JSON.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

import msgspec

from bursty.values import Buffer, Call, Frame, Invocation, Layout, Outcome, Part, Payload, Ref, Status

P = ParamSpec("P")
T = TypeVar("T")

MAGIC = b"bst1"
HEADER = struct.Struct("<4sIQQ")
MAX_PARTS = 1 << 24
MAX_META = 1 << 30
MAX_FRAME = 1 << 48


class FrameError(ValueError):
    """These bytes are no frame."""


_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder().decode


def head(frame: Frame) -> bytes:
    """Everything of a frame before its parts."""
    meta = _to_json(frame.meta)
    sizes = [part.nbytes if isinstance(part, memoryview) else len(part) for part in frame.parts]
    rest = 8 * len(sizes) + len(meta) + sum(sizes)
    return b"".join((HEADER.pack(MAGIC, len(sizes), len(meta), rest), _table(len(sizes)).pack(*sizes), meta))


@functools.lru_cache(maxsize=64)
def _table(parts: int) -> struct.Struct:
    return struct.Struct(f"<{parts}Q")


def encode(frame: Frame) -> bytes:
    """The whole frame in one piece."""
    return b"".join((head(frame), *frame.parts))


def frame_size(data: Buffer) -> int | None:
    """How many bytes the frame at the beginning of ``data`` has, or ``None`` when ``data`` is too short to tell.

    Raises ``FrameError`` when it is none.
    """
    if len(data) < HEADER.size:
        return None
    magic, parts, meta, rest = HEADER.unpack_from(data)
    if magic != MAGIC or parts > MAX_PARTS or meta > MAX_META or not 8 * parts + meta <= rest <= MAX_FRAME:
        raise FrameError(f"not a frame: begins with {bytes(data[:16])!r}")
    return HEADER.size + rest


def decode(data: Buffer) -> Frame:
    """The frame that ``data`` is; its parts are views of ``data``. Raises ``FrameError``."""
    total = frame_size(data)
    if total is None or total != len(data):
        raise FrameError(f"a frame of {total or 'unknown'} bytes came as {len(data)}")
    _, parts, meta_size, rest = HEADER.unpack_from(data)
    sizes = _table(parts).unpack_from(data, HEADER.size)
    if 8 * parts + meta_size + sum(sizes) != rest:
        raise FrameError(f"a frame of {rest} bytes says that its parts have {sum(sizes)}")
    position = HEADER.size + 8 * parts
    view = memoryview(data)
    try:
        meta = _from_json(view[position : position + meta_size])
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a frame's meta is no JSON: {error}") from None
    if not isinstance(meta, dict):
        raise FrameError(f"a frame's meta is no object but {meta!r:.100}")
    position += meta_size
    found: list[Buffer] = []
    for size in sizes:
        found.append(view[position : position + size])
        position += size
    return Frame(cast("dict[str, Any]", meta), found)


def shaped(what: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """For functions that take a frame apart: one that lacks a field, or has one of another shape, is no such frame."""

    def guard(unpack: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(unpack)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return unpack(*args, **kwargs)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise FrameError(f"this frame is no {what}: {type(error).__name__}: {error}") from error

        return guarded

    return guard


# Payloads: inline parts go to the frame's parts, the others are described in its meta.


def _put(payload: Payload, parts: list[Buffer]) -> list[Any]:
    shape: list[Any] = []
    for part in payload.parts:
        if isinstance(part, Ref):
            shape.append([part.digest, part.size])
        else:
            shape.append(0)
            parts.append(part)
    return shape


class _Taker:
    """Takes parts back off a frame in the order they were put."""

    def __init__(self, parts: Sequence[Buffer]) -> None:
        self._parts = parts
        self._next = 0

    def inline(self) -> Buffer:
        self._next += 1
        return self._parts[self._next - 1]

    def payload(self, shape: list[Any]) -> Payload:
        found: list[Part] = [self.inline() if item == 0 else Ref(item[0], item[1]) for item in shape]
        return Payload(tuple(found))


_PACKED = (Layout.ITEMS, Layout.TUPLES)


def _is_plain(call: Call) -> bool:
    return not call.slots and len(call.payload.parts) == 1 and not isinstance(call.payload.parts[0], Ref)


def pack_invocation(invocation: Invocation) -> Frame:
    """An invocation as a frame of kind ``run``."""
    parts: list[Buffer] = []
    meta: dict[str, Any] = {
        "kind": "run",
        "seq": invocation.seq,
        "count": invocation.count,
        "function": invocation.function,
        "label": invocation.label,
        "layout": invocation.layout.value,
        "depth": invocation.depth,
    }
    if invocation.code is not None:
        meta["code"] = _put(invocation.code, parts)
    if invocation.layout in _PACKED:
        parts.append(invocation.packed)
    elif all(map(_is_plain, invocation.calls)):
        parts.extend(call.payload.parts[0] for call in invocation.calls)  # pyright: ignore[reportArgumentType]
    else:
        meta["calls"] = [
            [_put(call.payload, parts), [_put(slot, parts) for slot in call.slots]] for call in invocation.calls
        ]
    return Frame(meta, parts)


@shaped("invocation")
def unpack_invocation(frame: Frame) -> Invocation:
    """The inverse of ``pack_invocation``."""
    meta = frame.meta
    taker = _Taker(frame.parts)
    code = taker.payload(meta["code"]) if "code" in meta else None
    layout = Layout(meta["layout"])
    packed: Buffer = b""
    calls: tuple[Call, ...] = ()
    if layout in _PACKED:
        packed = taker.inline()
    elif "calls" in meta:
        calls = tuple(
            Call(taker.payload(payload), tuple(taker.payload(slot) for slot in slots))
            for payload, slots in meta["calls"]
        )
    else:
        calls = tuple(Call(Payload((taker.inline(),))) for _ in range(meta["count"]))
    return Invocation(
        meta["seq"], meta["count"], meta["function"], meta["label"], layout, code, packed, calls, meta["depth"]
    )


def pack_outcome(outcome: Outcome) -> Frame:
    """An outcome as a frame of kind ``outcome``."""
    parts: list[Buffer] = []
    shape = _put(outcome.payload, parts)
    times = [outcome.started, outcome.wall, outcome.cpu, outcome.memory]
    return Frame(
        {"kind": "outcome", "seq": outcome.seq, "status": int(outcome.status), "shape": shape, "times": times}, parts
    )


@shaped("outcome")
def unpack_outcome(frame: Frame) -> Outcome:
    """The inverse of ``pack_outcome``."""
    meta = frame.meta
    started, wall, cpu, memory = meta["times"]
    payload = _Taker(frame.parts).payload(meta["shape"])
    return Outcome(meta["seq"], Status(meta["status"]), payload, started, wall, cpu, memory)


def pack_payload(payload: Payload) -> tuple[list[Any], list[Buffer]]:
    """A payload's shape (for a frame's meta) and inline parts."""
    parts: list[Buffer] = []
    return _put(payload, parts), parts


def unpack_payload(shape: list[Any], parts: Sequence[Buffer]) -> Payload:
    """The inverse of ``pack_payload``."""
    return _Taker(parts).payload(shape)
