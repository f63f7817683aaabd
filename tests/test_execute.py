"""``runtime.execute`` by itself: every call that starts has one outcome, and nothing that a call does ends the loop."""

import hashlib
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.errors import CallExited, RemoteError, SerializationError, StoreError
from bursty.runtime.execute import Functions, execute, resolve
from bursty.runtime.faults import decode_error
from bursty.runtime.journal import ListJournal
from bursty.runtime.pickling import dumps, loads
from bursty.values import Buffer, Call, Invocation, Layout, Outcome, Payload, Status


def invocation(
    fn: Any, items: list[Any], layout: Layout = Layout.ITEMS, seq: int = 0, with_code: bool = True
) -> Invocation:
    code = dumps(fn)
    digest = hashlib.sha256(bytes(code.parts[0])).hexdigest()  # type: ignore[arg-type]
    packed, calls = b"", ()
    if layout is Layout.EACH:
        calls = tuple(Call(dumps(item)) for item in items)
    else:
        packed = pickle.dumps(items)
    return Invocation(seq, len(items), digest, "fn", layout, code if with_code else None, packed, calls)


def opened(outcome: Outcome) -> Any:
    return loads(outcome.payload) if outcome.status is Status.OK else decode_error(outcome.payload)


def run(fn: Callable[..., Any], items: list[Any], layout: Layout = Layout.ITEMS) -> list[Any]:
    journal = ListJournal()
    assert execute(invocation(fn, items, layout, 10), journal, Functions(None)) == 10 + len(items)
    assert [outcome.seq for outcome in journal] == list(range(10, 10 + len(items)))
    return [opened(outcome) for outcome in journal]


@given(st.lists(st.integers() | st.text() | st.none(), max_size=20))
def test_each_item_has_its_outcome(items: list[Any]) -> None:
    assert run(repr, items) == list(map(repr, items))


def test_every_layout() -> None:
    assert run(pow, [(2, 3), (3, 2)], Layout.TUPLES) == [8, 9]
    assert run(lambda a, *, b: a + b, [((1,), {"b": 2}), ((3,), {"b": 4})], Layout.EACH) == [3, 7]
    assert run(abs, []) == []


def test_calls_share_no_mutable_argument() -> None:
    shared: list[int] = []

    def work(found: list[int]) -> list[int]:
        found.append(1)
        return found

    assert run(work, [((shared,), {})] * 3, Layout.EACH) == [[1], [1], [1]]


def test_an_error_fails_its_call_alone() -> None:
    found = run(lambda value: 1 / value, [1, 0, 2])
    assert [type(value) for value in found] == [float, ZeroDivisionError, float]


@pytest.mark.parametrize("layout", [Layout.ITEMS, Layout.TUPLES, Layout.EACH])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SystemExit(2), CallExited),
        (KeyboardInterrupt(), RemoteError),
        (GeneratorExit(), RemoteError),
        (MemoryError(), MemoryError),
    ],
)
def test_nothing_that_a_call_raises_ends_the_loop(layout: Layout, error: BaseException, kind: type) -> None:
    def work(number: int) -> int:
        if number == 1:
            raise error
        return number

    items = {Layout.ITEMS: [0, 1, 2], Layout.TUPLES: [(0,), (1,), (2,)]}.get(layout, [((n,), {}) for n in range(3)])
    found = run(work, items, layout)  # type: ignore[arg-type]
    assert (found[0], found[2]) == (0, 2)
    assert isinstance(found[1], kind)


def test_an_argument_that_can_not_be_opened_fails_its_call_alone() -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return eval, ("1/0",)

    found = run(lambda value: 7, [((1,), {}), ((Trap(),), {}), ((1,), {})], Layout.EACH)
    assert found[::2] == [7, 7]
    assert isinstance(found[1], ZeroDivisionError)


def test_a_function_that_can_not_be_opened_fails_every_call() -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return __import__, ("no_such_module_anywhere",)

        def __call__(self) -> None: ...

    found = run(Trap(), [1, 2, 3])
    assert [type(value) for value in found] == [ModuleNotFoundError] * 3


def test_a_result_that_can_not_travel_fails_its_call_alone() -> None:
    found = run(lambda value: sys._getframe() if value == 1 else value, [0, 1, 2])
    assert found[::2] == [0, 2]
    assert isinstance(found[1], SerializationError)
    assert "the result" in str(found[1])


def test_a_store_that_fails_fails_the_call() -> None:
    class Broken:
        spill_bytes = 1000

        def put_part(self, data: Buffer) -> tuple[str, int]:
            raise StoreError("the disk is full", "free some")

        def get_part(self, digest: str, size: int) -> Buffer:
            raise AssertionError

    journal = ListJournal()
    execute(invocation(bytes, [10, 100_000, 10]), journal, Functions(None), Broken())
    found = [opened(outcome) for outcome in journal]
    assert found[::2] == [bytes(10), bytes(10)]
    assert isinstance(found[1], StoreError)


@pytest.mark.parametrize("layout", [Layout.ITEMS, Layout.EACH])
def test_calls_from_the_limit_on_are_not_started(layout: Layout) -> None:
    made: list[int] = []
    items = list(range(5)) if layout is Layout.ITEMS else [((n,), {}) for n in range(5)]
    journal = ListJournal(limit=13)
    functions = Functions(None)
    request = invocation(made.append, items, layout, 10)
    functions._known[request.function] = made.append  # the very list of this process
    assert execute(request, journal, functions) == 13
    assert made == [0, 1, 2]
    assert journal.running is None
    assert len(journal.outcomes) == 3


def test_functions_that_fail_to_open_respect_the_limit_too() -> None:
    broken = Invocation(0, 5, "f", "fn", Layout.ITEMS, Payload((b"no pickle",)), pickle.dumps([1] * 5))
    journal = ListJournal(limit=2)
    assert execute(broken, journal, Functions(None)) == 2
    assert len(journal.outcomes) == 2


def test_a_function_is_opened_once_and_known_by_its_digest() -> None:
    functions = Functions(None)
    for with_code in (True, False):
        journal = ListJournal()
        execute(invocation(abs, [-1], with_code=with_code), journal, functions)
        assert [opened(outcome) for outcome in journal] == [1]
    journal = ListJournal()
    execute(invocation(len, ["a"], with_code=False), journal, functions)
    assert journal.outcomes[0].status is Status.ERROR


def test_a_function_that_failed_to_open_may_be_sent_again(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    flag = tmp_path / "mended"
    (tmp_path / "sometimes_broken.py").write_text(
        f"import os\nif not os.path.exists({str(flag)!r}):\n    raise RuntimeError('broken')\ndef f(x): return x"
    )
    code = Payload((b"csometimes_broken\nf\n.",))
    request = Invocation(0, 1, "d", "f", Layout.ITEMS, code, pickle.dumps([5]))
    functions = Functions(None)
    first, second = ListJournal(), ListJournal()
    execute(request, first, functions)
    assert isinstance(opened(first.outcomes[0]), RuntimeError)
    flag.touch()
    execute(request, second, functions)
    assert opened(second.outcomes[0]) == 5


def test_times_are_sound() -> None:
    journal = ListJournal()
    before = time.monotonic()
    execute(invocation(lambda n: sum(range(n)), [10, 300_000]), journal, Functions(None))
    after = time.monotonic()
    for outcome in journal:
        assert before <= outcome.started <= outcome.started + outcome.wall <= after
        assert outcome.cpu >= 0


def test_large_results_have_parts_of_their_own() -> None:
    import numpy as np

    journal = ListJournal()
    execute(invocation(np.zeros, [100_000]), journal, Functions(None))
    assert len(journal.outcomes[0].payload.parts) == 2
    assert opened(journal.outcomes[0]).shape == (100_000,)


def test_resolve_finds_what_a_name_says() -> None:
    assert resolve("os.path:join") is __import__("os").path.join
    assert resolve("collections:OrderedDict.fromkeys")("ab").keys() == {"a", "b"}
    with pytest.raises(AttributeError):
        resolve("os:no_such_name")


class Echo:
    """An endpoint in a worker, as ``execute`` sees it."""

    def __init__(self, batched: bool) -> None:
        self.batched = batched
        self.together: list[int] = []

    def warm(self) -> bytes:
        return b"warm"

    def answer(self, request: bytes) -> bytes:
        if request == b"Rexit\n":
            raise SystemExit(3)
        return request.upper()

    def answer_together(self, requests: list[bytes]) -> list[bytes]:
        self.together.append(len(requests))
        return [self.answer(request) for request in requests]


def requests_to(endpoint: Echo, *requests: bytes, limit: int | None = None) -> list[Outcome]:
    functions = Functions(None)
    functions._known["d"] = endpoint  # type: ignore[assignment]
    calls = tuple(Call(Payload((request,))) for request in requests)
    journal = ListJournal() if limit is None else ListJournal(limit)
    execute(Invocation(5, len(calls), "d", "e", Layout.REQUESTS, calls=calls), journal, functions)
    return list(journal)


def test_requests_are_answered_with_bytes_that_nobody_pickles() -> None:
    outcomes = requests_to(Echo(False), b"W", b"Ra\n", b"Rb\n" + bytes(100_000))
    assert [bytes(outcome.payload.parts[0])[:3] for outcome in outcomes] == [b"war", b"RA\n", b"RB\n"]  # type: ignore[arg-type]
    assert [outcome.seq for outcome in outcomes] == [5, 6, 7]


def test_batched_requests_are_answered_in_one() -> None:
    endpoint = Echo(True)
    assert len(requests_to(endpoint, b"Ra\n", b"Rb\n", b"Rc\n")) == 3
    assert endpoint.together == [3]


def test_what_escapes_an_endpoint_is_an_error_of_its_request() -> None:
    outcomes = requests_to(Echo(False), b"Ra\n", b"Rexit\n", b"Rc\n")
    assert [outcome.status for outcome in outcomes] == [Status.OK, Status.ERROR, Status.OK]


def test_requests_from_the_limit_on_are_not_started() -> None:
    assert [outcome.seq for outcome in requests_to(Echo(False), b"Ra\n", b"Rb\n", b"Rc\n", limit=6)] == [5]
