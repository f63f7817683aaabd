"""Arguments of calls as blocks: plain values stay as they are until they are sent, all else is pickled here and now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, cast

from bursty.engine.block import Block, Options
from bursty.engine.code import Code, refuse_by_value
from bursty.engine.futures import CallFuture
from bursty.errors import SerializationError
from bursty.runtime.pickling import ATOMS, Parts, SlotCollector, all_atoms, dumps_call
from bursty.values import Call, Layout


def block_of_items(code: Code, items: list[Any], options: Options, parts: Parts, first: int = 0) -> Block:
    """A call for each item, its only argument."""
    if all_atoms(items):
        block = Block(code, Layout.ITEMS, items, options, time.time(), first=first)
        block.weight = _atom_weight(items)
        if block.weight < parts.spill_bytes:
            return block
    calls = [encode_call(code, (item,), {}, parts, first + index) for index, item in enumerate(items)]
    return block_of_calls(code, calls, options, first)


def block_of_tuples(code: Code, tuples: list[tuple[Any, ...]], options: Options, parts: Parts, first: int = 0) -> Block:
    """A call for each tuple, its positional arguments."""
    if all(map(all_atoms, tuples)):
        weight = max((_atom_weight(args) for args in tuples), default=0)
        if weight < parts.spill_bytes:
            return Block(code, Layout.TUPLES, tuples, options, time.time(), weight=weight, first=first)
    calls = [encode_call(code, args, {}, parts, first + index) for index, args in enumerate(tuples)]
    return block_of_calls(code, calls, options, first)


def block_of_calls(code: Code, calls: list[Call], options: Options, first: int = 0) -> Block:
    """Encoded calls."""
    weight = max((call.payload.size + sum(slot.size for slot in call.slots) for call in calls), default=0)
    return Block(code, Layout.EACH, calls, options, time.time(), weight=weight, first=first)


_UNSIZED = ATOMS - {str, bytes}


def _atom_weight(values: Sequence[Any]) -> int:
    """Bytes of the longest text or bytes among plain values."""
    if set(map(type, values)) <= _UNSIZED:
        return 0
    sized = [len(value) for value in values if type(value) is str or type(value) is bytes]
    return max(sized, default=0)


def encode_call(code: Code, args: tuple[Any, ...], kwargs: dict[str, Any], parts: Parts, index: int | None) -> Call:
    """Pickle a call's arguments. Futures among them are an error here: see ``futures_in``."""
    call, waits = encode_with_futures(code, args, kwargs, parts, index)
    if waits:
        raise SerializationError(
            f"the arguments of {code.label} contain a future", "Use submit() for calls that depend on other calls."
        )
    return call


def encode_with_futures(
    code: Code, args: tuple[Any, ...], kwargs: dict[str, Any], parts: Parts, index: int | None = None
) -> tuple[Call, list[CallFuture[Any]]]:
    """A call without its slots, and the futures that will fill them, in slot order."""
    what = f"an argument of {code.label}" if index is None else f"an argument of call {index} of {code.label}"
    foreign = next((arg for arg in (*args, *kwargs.values()) if _is_foreign(arg)), None)
    if foreign is not None:
        raise SerializationError(
            f"{what} is a {type(foreign).__name__} of another library", "Pass its result() instead."
        )
    with SlotCollector() as collector:
        payload = dumps_call(args, kwargs, parts, what)
    if code.python is not None:
        refuse_by_value(payload, code.python, what)
    return Call(payload, shown=_in_words(args, kwargs)), collector.found


def _in_words(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Arguments as errors show them: plain ones as they are, others by type and size, for their repr may take long."""
    named = [f"{name}={_word(value)}" for name, value in kwargs.items()]
    return ", ".join([*map(_word, args), *named])[:MAX_WORDS]


def _word(value: Any) -> str:
    if type(value) in ATOMS:
        return repr(value[:80] if isinstance(value, str | bytes) else value)
    kind = cast(Any, type)(value)
    shape: Any = getattr(value, "shape", None)
    size = (
        f" {shape}" if isinstance(shape, tuple) else f" of {len(cast(Any, value))}" if isinstance(value, _SIZED) else ""
    )
    return f"<{kind.__qualname__}{size}>"


_SIZED = (list, tuple, dict, set, frozenset, bytearray)
MAX_WORDS = 200


def _is_foreign(value: Any) -> bool:
    return isinstance(value, Future) and not isinstance(value, CallFuture)


def columns_to_tuples(iterables: Sequence[Iterable[Any]]) -> Iterable[tuple[Any, ...]]:
    """What ``map`` with several iterables calls with; the shortest ends it."""
    return zip(*iterables, strict=False)


Encoder = Callable[[Code, list[Any], Options, Parts, int], Block]
