"""Values to payloads and back: protocol 5 pickles with out-of-band buffers, large parts spilled by digest.

Only two places open a pickle: the worker (arguments, functions) and ``Future.result()`` (values).
"""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import cloudpickle

from bursty.errors import SerializationError
from bursty.runtime.diagnose import explain
from bursty.values import Buffer, Part, Payload, Ref

INLINE_BUFFER = 8 << 10
"""Out-of-band buffers below this many bytes stay in the pickle: a part of their own would cost more."""

ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Exact types whose values are immutable and pickle to the same thing everywhere, by C code alone."""

BY_VALUE = (b"_make_function", b"_make_skeleton_class", b"_builtin_type")


class Parts(Protocol):
    """Where large parts go. See ports.Host."""

    spill_bytes: int

    def put_part(self, data: Buffer) -> tuple[str, int]: ...

    def get_part(self, digest: str, size: int) -> Buffer: ...


class _Split:
    """Pickles its value by itself, out of band, so that the same large argument is the same part in every call."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _load_split, (pickle.PickleBuffer(_dump(self.value, None)),)


def _load_split(buffer: Buffer) -> Any:
    return pickle.loads(buffer)


def _dump(value: Any, keep: Callable[[pickle.PickleBuffer], bool] | None) -> bytes:
    file = io.BytesIO()
    pickler: Any = cloudpickle.Pickler(file, protocol=5, buffer_callback=keep)
    pickler.dump(value)
    return file.getvalue()


class _Buffers:
    """Collects out-of-band buffers; small ones stay in band."""

    def __init__(self) -> None:
        self.found: list[memoryview] = []

    def __call__(self, buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous: pickle copies it in band
            return True
        if raw.nbytes < INLINE_BUFFER:
            return True
        self.found.append(raw)
        return False


def dumps(
    value: Any, parts: Parts | None = None, *, by_reference: bool = False, borrow: bool = False, what: str = "value"
) -> Payload:
    """Pickle ``value``; parts as large as ``parts.spill_bytes`` go to the store. Buffers are copied, unless ``borrow``.

    ``by_reference``: try plain pickle first, which a worker may do: names in its ``__main__`` are never the user's.
    ``what``: how errors call the value. Raises ``SerializationError`` with the path to what can't be pickled.
    """
    buffers = _Buffers()
    try:
        if by_reference:
            try:
                body = pickle.dumps(value, 5, buffer_callback=buffers)
            except Exception:
                buffers = _Buffers()
                body = _dump(value, buffers)
        else:
            body = _dump(value, buffers)
    except Exception as error:
        raise SerializationError(*explain(value, what, error)) from error
    return Payload(tuple(_placed(part, parts, borrow) for part in (body, *buffers.found)))


def dumps_call(args: tuple[Any, ...], kwargs: dict[str, Any], parts: Parts, what: str) -> Payload:
    """Pickle a call's arguments. Where they are large, each argument becomes a part of its own."""
    payload = dumps((args, kwargs), None, borrow=True, what=what)
    body = payload.parts[0]
    if not isinstance(body, Ref) and len(body) >= parts.spill_bytes:
        split = tuple(map(_Split, args)), {name: _Split(value) for name, value in kwargs.items()}
        payload = dumps(split, None, borrow=True, what=what)
    return Payload(tuple(_placed(part, parts, False) for part in payload.parts))


def _placed(part: Part, parts: Parts | None, borrow: bool) -> Part:
    if isinstance(part, Ref):
        return part
    size = part.nbytes if isinstance(part, memoryview) else len(part)
    if parts is not None and size >= parts.spill_bytes:
        return Ref(*parts.put_part(part))
    return part if borrow or isinstance(part, bytes) else bytearray(part)


def pack_atoms(values: Sequence[Any]) -> bytes:
    """One pickle of a list of plain immutable values, without looking at each."""
    return pickle.dumps(values, 5)


def all_atoms(values: Iterable[Any]) -> bool:
    """Whether every value is of a plain immutable type, exactly."""
    return set(map(type, values)) <= ATOMS


def is_by_value(payload: Payload) -> bool:
    """Whether a pickle carries code of a function or class, which only the same minor version of Python can read."""
    body = payload.parts[0]
    return not isinstance(body, Ref) and any(name in bytes(body) for name in BY_VALUE)


def loads(payload: Payload, parts: Parts | None = None, slots: Sequence[Payload] = ()) -> Any:
    """Open a payload. Large arrays in it are writable and the caller's own.

    ``slots``: the payloads that stand for futures among the arguments.
    """
    body, *buffers = (_fetched(part, parts) for part in payload.parts)
    if not slots:
        return pickle.loads(body, buffers=buffers)
    before = getattr(_loading, "slots", None)
    _loading.slots = [lambda slot=slot: loads(slot, parts) for slot in slots]
    try:
        return pickle.loads(body, buffers=buffers)
    finally:
        _loading.slots = before


def _fetched(part: Part, parts: Parts | None) -> Buffer:
    if not isinstance(part, Ref):
        return part
    if parts is None:
        raise SerializationError("a part of this value was spilled and no store is at hand to fetch it from")
    return parts.get_part(part.digest, part.size)


# Futures as arguments of calls: a future pickles as a slot, filled on the worker with the value of the call it
# stands for.

_loading = threading.local()


def take_slot(number: int) -> Any:
    """The value in slot ``number`` of the call that is being loaded."""
    return _loading.slots[number]()


class SlotCollector:
    """While active in this thread, futures that are pickled become slots; ``found`` holds them in slot order."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def __enter__(self) -> SlotCollector:
        self._before = getattr(_loading, "collector", None)
        _loading.collector = self
        return self

    def __exit__(self, *exc: object) -> None:
        _loading.collector = self._before

    def slot_of(self, future: Any) -> int:
        for number, known in enumerate(self.found):
            if known is future:
                return number
        self.found.append(future)
        return len(self.found) - 1


def active_collector() -> SlotCollector | None:
    """The collector of this thread, if arguments are being pickled."""
    return getattr(_loading, "collector", None)
