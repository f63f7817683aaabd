"""Inputs that mean harm: each is refused, in words, at little cost; and a hundred threads at once."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from bursty.errors import InputsInvalid
from bursty.forms.plain import MAX_DEPTH, too_large
from bursty.forms.schema import form_of
from bursty.forms.table import Table
from bursty.forms.validate import LIMIT, validate
from form_jobs import Item, forecast, problem, with_hint


def refused(hint: Any, value: Any) -> InputsInvalid:
    with pytest.raises(InputsInvalid) as caught:
        validate(form_of(with_hint(hint)), {"x": value})
    error = caught.value
    assert len(str(error)) < 3000
    assert len(json.dumps(error.problems)) < 100_000
    return error


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
@pytest.mark.parametrize("hint", [Any, list[int], int, Table], ids=["json", "list", "int", "table"])
def test_deep_nesting_is_refused(hint: Any, depth: int) -> None:
    assert "x: nested more than 50 levels deep" in str(refused(hint, nested(depth)))


def test_a_ring_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    assert "levels deep" in str(refused(Any, ring))


def test_nesting_within_reason_is_taken() -> None:
    assert validate(form_of(with_hint(Any)), {"x": nested(MAX_DEPTH - 2)})


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (str, "x" * LIMIT),
        (str, "x" * 50_000_000),
        (Any, {str(number): number for number in range(100_000)}),
        (Any, [0] * 10_000_000),
        (list[int], list(range(100_000))),
        (Table, "a\n" + "1\n" * 49_000),
        (int, "9" * 50_000_000),
    ],
    ids=["text", "large text", "dict", "large list", "list", "table", "digits"],
)
def test_what_is_too_large_belongs_in_a_file(hint: Any, value: Any) -> None:
    assert "as a File" in str(refused(hint, value))


def test_looking_ends_at_the_limit() -> None:
    assert too_large([["x" * 10] * 1000] * 1000, 5000) == "size"
    assert too_large(nested(10), 5000) == ""


def test_ten_thousand_unknown_names_are_counted_and_some_told() -> None:
    with pytest.raises(InputsInvalid) as caught:
        validate(form_of(forecast), {f"growth{number}": number for number in range(10_000)})
    assert len(caught.value.problems) == 100
    assert "10000 problems" in str(caught.value)
    assert "and 9990 more" in str(caught.value)


def test_names_that_are_no_names() -> None:
    odd: dict[Any, Any] = {1: 2, None: 3, ("a",): 4, "x" * 100_000: 5, "\0": 6, "__class__": 7}
    with pytest.raises(InputsInvalid) as caught:
        validate(form_of(forecast), odd)
    assert len(caught.value.problems) == 6
    assert len(json.dumps(caught.value.problems)) < 5000


def test_fifty_thousand_bad_items_are_counted_and_some_told() -> None:
    error = refused(list[int], ["x"] * 50_000)
    assert len(error.problems) == 100
    assert "50000 problems" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        ",".join(map(str, range(40_000))) + "\n" + "1\n" * 40_000,
        "a" * 200_000,
        '"' * 100_001,
        "a,b\n" + '"' + "x" * 150_000 + '",1',
        ",".join(map(str, range(1000))) + "\n" + "1\n" * 40_000,
    ],
    ids=["columns", "name", "quotes", "cell", "cells"],
)
def test_tables_that_would_grow(text: str) -> None:
    with pytest.raises(InputsInvalid):
        validate(form_of(with_hint(Table)), {"x": text}, limit=100_000)


class Evil:
    """Says that it is much, and fails at everything else."""

    def __len__(self) -> int:
        return 10**12

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def test_odd_objects_are_only_named() -> None:
    for hint in (int, str, list[int], Item, Any):
        assert "Evil" in str(refused(hint, Evil()).problems[0]["value"])
    assert "1000000000000 rows" in problem(Table, Evil())


def test_a_hundred_threads_validate_at_once() -> None:
    """New bounds for each round, so that readers are made by many threads at a time."""
    start = Barrier(100)

    def work(number: int) -> list[Any]:
        start.wait()
        found: list[Any] = []
        for least in range(20):
            form = form_of(forecast)
            form["fields"][0]["ge"] = least
            try:
                found.append(validate(form, {"growth": number % 5})["growth"])
            except InputsInvalid:
                found.append(None)
        return found

    with ThreadPoolExecutor(100) as pool:
        for number, found in enumerate(pool.map(work, range(100))):
            assert found == [float(number % 5) if number % 5 >= least else None for least in range(20)]
