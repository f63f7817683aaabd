"""Values to payloads and back, what can't travel named by its path, and exceptions of every make."""

import functools
import hashlib
import io
import os
import pickle
import socket
import threading
import traceback
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.errors import BurstyError, CallExited, CallTimeout, RemoteError, SerializationError
from bursty.runtime import faults
from bursty.runtime.pickling import (
    SlotCollector,
    active_collector,
    all_atoms,
    dumps,
    dumps_call,
    is_by_value,
    loads,
    take_slot,
)
from bursty.values import Buffer, Payload, Ref

ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)
KIB = 1 << 10


class Shelf:
    """Parts in a dict, checked as stores do."""

    def __init__(self, spill_bytes: int = 100 * KIB) -> None:
        self.spill_bytes = spill_bytes
        self.found: dict[str, bytes] = {}
        self.puts = 0

    def put_part(self, data: Buffer) -> tuple[str, int]:
        self.puts += 1
        digest = hashlib.sha256(data).hexdigest()
        self.found[digest] = bytes(data)
        return digest, len(self.found[digest])

    def get_part(self, digest: str, size: int) -> Buffer:
        return bytearray(self.found[digest])


@given(VALUES)
def test_values_come_back(value: object) -> None:
    assert loads(dumps(value)) == value
    assert loads(dumps(value, by_reference=True)) == value
    shelf = Shelf(spill_bytes=1)
    payload = dumps(value, shelf)
    assert all(isinstance(part, Ref) for part in payload.parts)
    assert loads(payload, shelf) == value


def test_large_arrays_are_parts_of_their_own_that_can_be_written() -> None:
    array, small = np.arange(50_000.0), np.arange(10)
    payload = dumps({"large": array, "small": small}, Shelf(1 << 30))
    assert len(payload.parts) == 2
    before = payload.size
    array[0] = 99  # the payload has a copy
    found = loads(payload)
    assert found["large"][0] == 0
    found["large"][0] = 1
    found["small"][0] = 1
    assert payload.size == before


def test_arrays_that_are_not_contiguous_come_back() -> None:
    array = np.arange(200_000.0).reshape(400, 500)
    for view in (array[::2, ::3], array.T, array[:, 5]):
        assert np.array_equal(loads(dumps(view)), view)


def test_large_parts_go_to_the_store_and_come_back() -> None:
    shelf = Shelf()
    array = np.arange(50_000.0)
    payload = dumps([array, b"x" * 10], shelf)
    assert [isinstance(part, Ref) for part in payload.parts] == [False, True]
    assert payload.size > array.nbytes
    assert np.array_equal(loads(payload, shelf)[0], array)
    with pytest.raises(SerializationError, match="no store"):
        loads(payload)


def test_the_same_large_argument_is_the_same_part_in_every_call() -> None:
    shelf = Shelf()
    text = "word " * 100_000
    calls = [dumps_call((text, number), {"more": [text]}, shelf, "an argument") for number in range(10)]
    assert len(shelf.found) == 2, "the text, and the list with it"
    assert [loads(call, shelf) for call in calls] == [((text, number), {"more": [text]}) for number in range(10)]


def test_slots_are_filled_when_the_call_is_opened() -> None:
    class Future:
        def __reduce__(self) -> Any:
            collector = active_collector()
            assert collector is not None
            return take_slot, (collector.slot_of(self),)

    one, two = Future(), Future()
    with SlotCollector() as collector:
        payload = dumps_call(([one, {"k": two}], one), {}, Shelf(), "an argument")
    assert collector.found == [one, two]
    assert active_collector() is None
    args, _ = loads(payload, None, (dumps("first"), dumps([2])))
    assert args == (["first", {"k": [2]}], "first")


def test_atoms_are_exact() -> None:
    class Number(int):
        pass

    assert all_atoms([1, "a", b"", None, 1.5, True, 2j])
    for value in (Number(1), [], (), np.float64(1)):
        assert not all_atoms([1, value])


def test_what_goes_by_value_is_known() -> None:
    class Local:
        pass

    assert is_by_value(dumps(lambda: 1))
    assert is_by_value(dumps(Local))
    assert not is_by_value(dumps(np.sum))
    assert not is_by_value(dumps(test_atoms_are_exact)) or test_atoms_are_exact.__module__ == "__main__"


class Holder:
    def __init__(self, item: Any) -> None:
        self.item = item

    def method(self) -> Any:
        return self.item


class Slotted:
    __slots__ = ("item",)

    def __init__(self, item: Any) -> None:
        self.item = item


LOCK = threading.Lock()


def closure_over(item: Any) -> Any:
    return lambda: item


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (LOCK, ""),
        ([1, {"key": (2, LOCK)}], "[1]['key'][1]"),
        (Holder([LOCK]), ".item[0]"),
        (Slotted(LOCK), ".item"),
        (Holder(LOCK).method, ".__self__.item"),
        (functools.partial(print, LOCK), ".args[0]"),
        (functools.partial(print, sep=LOCK), ".keywords['sep']"),
        (closure_over({"a": LOCK}), " → variable 'item' of its closure['a']"),
        (lambda x=LOCK: x, " → default 0"),
    ],
)
def test_what_can_not_travel_is_named_by_its_path(value: Any, path: str) -> None:
    with pytest.raises(SerializationError) as caught:
        dumps(value, what="the argument")
    assert f"the argument{path} (a _thread.lock) can't be pickled" in str(caught.value)
    assert "create it inside the function" in caught.value.hint
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("make", [socket.socket, lambda: (n for n in [1]), lambda: open(os.devnull, "wb")])  # noqa: SIM115
def test_every_kind_has_advice(make: Any) -> None:
    value = make()
    with pytest.raises(SerializationError) as caught:
        dumps([value], what="the argument")
    assert "the argument[0]" in str(caught.value)
    assert caught.value.hint
    value.close()


def test_an_object_that_fails_for_its_own_reason() -> None:
    class Stubborn:
        def __reduce__(self) -> Any:
            raise RuntimeError("I stay here")

    with pytest.raises(SerializationError, match=r"the result\[1\].*I stay here"):
        dumps([1, Stubborn()], what="the result", by_reference=True)


def test_recursive_structures_come_back_and_deep_ones_are_named() -> None:
    ring: list[Any] = []
    ring.append(ring)
    found = loads(dumps(ring))
    assert found[0] is found
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SerializationError, match="nested too deeply"):
        dumps(deep, what="the argument")
    while deep:
        deep = deep[0]


# Exceptions


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Silent(Exception):
    def __init__(self, first: int, second: int) -> None:
        self.both = first, second


class BadText(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not me")


def travelled(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        payload = faults.encode_error(caught)
    assert all(isinstance(part, bytes) for part in payload.parts)
    return faults.decode_error(payload, "in call 7")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("plain"),
        KeyError(("a", 1)),
        OSError(2, "No such file", "x.txt"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        KeywordOnly(code=3),
        Silent(1, 2),
        CallTimeout("late", "wait"),
        RemoteError("far", type_name="a.B", remote_traceback="trace"),
        ExceptionGroup("many", [ValueError(1), KeyError(2)]),
        BadText(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_comes_back_as_itself(error: Exception) -> None:
    found = travelled(error)
    assert type(found) is type(error)
    assert repr(found.args) == repr(error.args)
    assert {key: value for key, value in vars(found).items() if key != "__notes__"} == {
        key: value for key, value in vars(error).items() if key != "__notes__"
    } or isinstance(error, BurstyError)
    assert isinstance(found.__cause__, RemoteError)
    assert "raise error" in found.__cause__.remote_traceback
    assert "in call 7" in found.__notes__
    "".join(traceback.format_exception(found))  # and it can be printed


def test_an_exception_that_can_not_travel_is_told_in_words() -> None:
    error = ValueError("with a lock")
    error.lock = LOCK  # type: ignore[attr-defined]
    for bad, words in ((Unpicklable("x"), "Unpicklable: x"), (error, "ValueError: with a lock")):
        found = travelled(bad)
        if type(found) is not type(bad):
            assert isinstance(found, RemoteError)
            assert words in str(found)
            assert "raise error" in str(found)
            assert any("can't be pickled" in note for note in found.__notes__)


def test_an_exception_of_a_class_that_is_not_here() -> None:
    payload = faults.encode_error(ValueError("x"))
    absent = Payload((payload.parts[0], pickle.dumps(ValueError("x")).replace(b"ValueError", b"ValueErroR")))
    found = faults.decode_error(absent)
    assert isinstance(found, RemoteError)
    assert "ValueError: x" in str(found)
    assert any("can't be rebuilt here" in note for note in found.__notes__)


@pytest.mark.parametrize("code", [None, 0, 3, "leaving", [1]])
def test_an_exit_is_an_error_of_the_call(code: Any) -> None:
    found = travelled(SystemExit(code))
    assert isinstance(found, CallExited)
    assert "sys.exit" in str(found)


def test_a_call_can_not_interrupt_its_client() -> None:
    for error in (KeyboardInterrupt(), GeneratorExit(), BaseException("base")):
        assert isinstance(travelled(error), RemoteError)


def test_a_very_long_traceback_is_cut() -> None:
    found = travelled(ValueError("x" * 1_000_000))
    assert isinstance(found.__cause__, RemoteError)
    assert len(found.__cause__.remote_traceback) < 100_000
    assert "characters left out" in found.__cause__.remote_traceback


def test_a_pickle_of_ours_needs_no_more_than_the_standard_pickle() -> None:
    payload = dumps({"a": [1, 2]})
    assert pickle.Unpickler(io.BytesIO(bytes(payload.parts[0]))).load() == {"a": [1, 2]}  # type: ignore[arg-type]
    assert cloudpickle.loads(bytes(payload.parts[0])) == {"a": [1, 2]}  # type: ignore[arg-type]
