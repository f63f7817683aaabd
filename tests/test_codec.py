"""Frames: what goes in comes out, and what is no frame is a FrameError and nothing else."""

import json
import struct

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bursty.core import codec
from bursty.core.codec import FrameError
from bursty.values import Call, Frame, Invocation, Layout, Outcome, Payload, Ref, Status

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
METAS = st.dictionaries(st.text(max_size=10), JSON, max_size=5)
BYTES = st.binary(max_size=200)
BUFFERS = BYTES | BYTES.map(bytearray) | BYTES.map(memoryview)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
REFS = st.builds(Ref, DIGESTS, st.integers(0, 2**50))
PAYLOADS = st.lists(BYTES | REFS, min_size=1, max_size=4).map(lambda parts: Payload(tuple(parts)))
CALLS = st.builds(Call, PAYLOADS, st.lists(PAYLOADS, max_size=3).map(tuple))
COUNTS = st.integers(0, 2**53)
SECONDS = st.floats(0, 1e10)


def plain(value: object) -> object:
    """The same value with all its buffers as bytes, so that it can be compared."""
    match value:
        case memoryview() | bytearray():
            return bytes(value)
        case Payload():
            return Payload(tuple(plain(part) for part in value.parts))  # type: ignore[misc]
        case Call():
            return Call(plain(value.payload), tuple(map(plain, value.slots)))  # type: ignore[arg-type]
        case _:
            return value


@st.composite
def invocations(draw: st.DrawFn) -> Invocation:
    layout = draw(st.sampled_from(Layout))
    calls = tuple(draw(st.lists(CALLS, min_size=1, max_size=4))) if layout in (Layout.EACH, Layout.REQUESTS) else ()
    return Invocation(
        draw(COUNTS),
        len(calls) or draw(st.integers(1, 10**6)),
        draw(DIGESTS),
        draw(st.text(max_size=20)),
        layout,
        draw(st.none() | PAYLOADS),
        b"" if calls else draw(BYTES),
        calls,
        draw(st.integers(0, 5)),
    )


OUTCOMES = st.builds(Outcome, COUNTS, st.sampled_from(Status), PAYLOADS, SECONDS, SECONDS, SECONDS, COUNTS)


@given(METAS, st.lists(BUFFERS, max_size=5))
def test_a_frame_comes_back(meta: dict[str, object], parts: list[bytes]) -> None:
    data = codec.encode(Frame(meta, parts))
    assert codec.frame_size(data) == len(data)
    found = codec.decode(data)
    assert found.meta == meta
    assert list(map(bytes, found.parts)) == list(map(bytes, parts))


def test_parts_of_wider_items_are_counted_in_bytes() -> None:
    wide = memoryview(bytes(range(80))).cast("d")
    assert [bytes(part) for part in codec.decode(codec.encode(Frame({}, [wide, b"x"]))).parts] == [bytes(wide), b"x"]


def test_a_part_that_is_received_in_place_can_be_written() -> None:
    data = bytearray(codec.encode(Frame({}, [b"abc"])))
    part = codec.decode(data).parts[0]
    part[0] = 65  # type: ignore[index]
    assert bytes(part) == b"Abc"


@given(invocations())
def test_an_invocation_comes_back(invocation: Invocation) -> None:
    found = codec.unpack_invocation(codec.decode(codec.encode(codec.pack_invocation(invocation))))
    assert (found.seq, found.count, found.function, found.label) == (
        invocation.seq,
        invocation.count,
        invocation.function,
        invocation.label,
    )
    assert (found.layout, found.depth) == (invocation.layout, invocation.depth)
    assert plain(found.code) == invocation.code
    assert bytes(found.packed) == invocation.packed
    assert tuple(map(plain, found.calls)) == invocation.calls


@given(OUTCOMES)
def test_an_outcome_comes_back(outcome: Outcome) -> None:
    found = codec.unpack_outcome(codec.decode(codec.encode(codec.pack_outcome(outcome))))
    assert plain(found.payload) == outcome.payload
    assert (found.seq, found.status, found.started, found.wall, found.cpu, found.memory) == (
        outcome.seq,
        outcome.status,
        outcome.started,
        outcome.wall,
        outcome.cpu,
        outcome.memory,
    )


@given(PAYLOADS)
def test_a_payload_comes_back(payload: Payload) -> None:
    shape, parts = codec.pack_payload(payload)
    assert codec.unpack_payload(json.loads(json.dumps(shape)), parts) == payload


@given(st.binary(max_size=300))
def test_garbage_is_a_frame_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        codec.decode(data)


@given(st.binary(max_size=300), st.integers(0, 20), st.integers(0, 2**64 - 1), st.binary(max_size=50))
def test_garbage_behind_a_true_beginning_is_a_frame_error(sizes: bytes, parts: int, meta: int, rest: bytes) -> None:
    data = codec.HEADER.pack(codec.MAGIC, parts, meta, len(sizes) + len(rest)) + sizes + rest
    try:
        frame = codec.decode(data)
    except FrameError:
        return
    assert len(frame.parts) == parts
    assert isinstance(frame.meta, dict)


@given(METAS, st.lists(BYTES, max_size=3), st.data())
def test_a_damaged_frame_is_a_frame_error_or_another_frame(meta: dict[str, object], parts: list[bytes], data) -> None:
    whole = bytearray(codec.encode(Frame(meta, parts)))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        frame = codec.decode(whole)
    except FrameError:
        return
    assert isinstance(frame.meta, dict)


@given(METAS, st.lists(BYTES, max_size=3), st.data())
def test_a_piece_of_a_frame_is_a_frame_error(meta: dict[str, object], parts: list[bytes], data) -> None:
    whole = codec.encode(Frame(meta, parts))
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    size = codec.frame_size(cut)
    assert size is None or size == len(whole)
    with pytest.raises(FrameError):
        codec.decode(cut)
    with pytest.raises(FrameError):
        codec.decode(whole + b"x")


@pytest.mark.parametrize(
    "meta",
    [b"", b"{", b"[1,2]", b"7", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000],
    ids=lambda meta: repr(meta[:6]),
)
def test_a_meta_that_is_no_object_is_a_frame_error(meta: bytes) -> None:
    with pytest.raises(FrameError):
        codec.decode(codec.HEADER.pack(codec.MAGIC, 0, len(meta), len(meta)) + meta)


@given(METAS, st.lists(BYTES, max_size=4))
def test_any_frame_that_is_no_invocation_or_outcome_is_a_frame_error(
    meta: dict[str, object], parts: list[bytes]
) -> None:
    assume("seq" not in meta)
    for unpack in (codec.unpack_invocation, codec.unpack_outcome):
        with pytest.raises(FrameError):
            unpack(Frame(meta, parts))


@given(invocations(), st.data())
def test_an_invocation_that_lacks_something_is_a_frame_error(invocation: Invocation, data: st.DataObject) -> None:
    frame = codec.pack_invocation(invocation)
    required = sorted(set(frame.meta) - {"code", "calls", "kind"})
    lost = data.draw(st.sampled_from(required))
    if lost == "count":
        assume(invocation.layout in (Layout.EACH, Layout.REQUESTS))
    meta = {name: value for name, value in frame.meta.items() if name != lost}
    with pytest.raises(FrameError):
        codec.unpack_invocation(Frame(meta, frame.parts))
    with pytest.raises(FrameError):
        codec.unpack_invocation(Frame({**frame.meta, "code": [0]}, []))
    with pytest.raises(FrameError):
        codec.unpack_invocation(Frame({**frame.meta, "code": 7}, frame.parts))


@given(OUTCOMES, st.sampled_from(["seq", "status", "shape", "times"]), JSON.filter(lambda v: not isinstance(v, int)))
def test_an_outcome_with_nonsense_in_it_is_a_frame_error(outcome: Outcome, name: str, nonsense: object) -> None:
    frame = codec.pack_outcome(outcome)
    assume(nonsense not in (0, 1) if name == "status" else not isinstance(nonsense, list | str | dict))
    if name == "seq":
        frame = Frame({key: value for key, value in frame.meta.items() if key != "seq"}, frame.parts)
    else:
        frame = Frame({**frame.meta, name: nonsense}, frame.parts)
    with pytest.raises(FrameError):
        codec.unpack_outcome(frame)


def test_a_table_of_sizes_that_add_up_wrong_is_a_frame_error() -> None:
    data = codec.HEADER.pack(codec.MAGIC, 1, 2, 10) + struct.pack("<Q", 2**63) + b"{}"
    assert codec.frame_size(data) == len(data)
    with pytest.raises(FrameError):
        codec.decode(data)
