"""An endpoint in its worker, from a request's bytes to the answer's: items, containers, batches, pieces, problems."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bursty import App, ConfigError
from bursty.core.answers import (
    RAISED,
    SOME_FAILED,
    SPLIT,
    Answer,
    join_arrays,
    pack_piece,
    pack_request,
    pieces_of,
    unpack_answer,
)
from bursty.runtime.endpoint import Endpoint, open_endpoint, try_endpoint
from bursty.runtime.endpoint_ref import EndpointRef


class Item(msgspec.Struct):
    id: int
    price: Annotated[float, msgspec.Meta(ge=0)]
    name: str | None = None


class Score(msgspec.Struct):
    id: int
    score: float


@dataclass
class Budget:
    budget_id: str
    price: float | None


class Pair(TypedDict):
    budgets: list[Budget]
    lines: list[Item]
    limit: float


app = App("tests")
calls: list[int] = []


def offer(path: str = "", **options: Any) -> Callable[[Any], Any]:
    def declare(target: Any) -> Any:
        return app.endpoint(path or f"/{target.__name__}", **{"log": False, **options})(target)

    return declare


@offer(batch=True)
def echoed(items: list[Item]) -> list[Item]:
    return items


@offer(batch=True)
def divided(items: list[Item]) -> list[float]:
    return [float("nan") if item.id == 2 else item.price for item in items]


@offer(auth="public", log=True)
def open_to_all(items: list[Item]) -> list[Score]:
    if any(item.name == "bad" for item in items):
        raise ValueError("a secret")
    return [Score(item.id, item.price) for item in items]


@offer(batch=True)
def scores(items: list[Item]) -> list[Score]:
    calls.append(len(items))
    if any(item.name == "bad" for item in items):
        raise ValueError("this name is bad")
    return [Score(item.id, item.price / 2) for item in items]


@offer()
def match(asked: Pair) -> list[dict[str, Any]]:
    return [
        {"score": 0.5, "budget_id": budget.budget_id, "id": line.id}
        for budget in asked["budgets"]
        for line in asked["lines"]
    ]


@offer("/flowers/{user}")
def flower(user: str, width: float, length: float = 2.0, tall: bool = False) -> list[Any]:
    return [user, width, length, tall]


@offer()
def total(values: list[float], weight: float = 1.0) -> float:
    return sum(values) * weight


@offer()
def pairs(left: list[int], right: list[int], plus: int = 0) -> list[int]:
    return [a * b + plus for a in left for b in right]


@offer()
def rank(user: str, items: list[int]) -> list[str]:
    return [f"{user}{item}" for item in items]


@offer()
def sums(rows: np.ndarray) -> np.ndarray:
    assert rows.ndim == 2
    return rows.sum(axis=1)


@offer(batch=True)
def means(rows: NDArray[np.int64]) -> list[float]:
    assert rows.dtype == np.int64
    calls.append(len(rows))
    return list(rows.mean(axis=1))


@offer()
def doubled(rows: Annotated[pd.DataFrame, Item]) -> pd.DataFrame:
    assert list(rows.columns) == ["id", "price", "name"]
    return rows.assign(price=rows.price * 2)


@offer()
def cells(rows: pd.DataFrame) -> pd.Series:  # type: ignore[type-arg]
    return rows.a


@offer()
def given_back(values: list[Any]) -> list[Any]:
    return values


@offer()
def raw(value: Any) -> Any:
    return {"nan": float("nan"), "set": {2, 1}, "array": np.arange(3), "object": object()}.get(value, value)


@offer()
def odd(values: list[int]) -> list[Any]:
    special = {1: float("nan"), 2: {"deep": [1.0, float("inf")]}, 3: object(), 4: None, 5: np.float32(1.5), 6: {1, 2}}
    return [special.get(value, value) for value in values]


@offer()
def too_few(values: list[int]) -> list[int]:
    return values[1:]


@offer()
def no_list(values: list[int]) -> list[int]:
    return 5  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


@offer()
def unnamed(values: list[int]):
    return (value + 1 for value in values)


@offer()
def raises(value: int) -> int:
    raise KeyError(value)


@offer()
def nullable(values: list[int] | None = None, value: int = None) -> Any:  # type: ignore[assignment]  # noqa: RUF013
    return [values, value]


@offer()
class Loaded:
    made = 0

    def __init__(self) -> None:
        Loaded.made += 1
        self.factor = 3

    async def __call__(self, value: int) -> int:
        import asyncio

        await asyncio.sleep(0)
        return self.factor * value


@offer()
class Broken:
    def __init__(self) -> None:
        raise OSError("no such model")

    def __call__(self, value: int) -> int:
        return value


def endpoint(name: str) -> Endpoint:
    return Endpoint.of(app, name)


def ask(name: str, body: Any = None, query: str = "") -> Answer:
    """``body``: bytes as they are, anything else as JSON."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return unpack_answer(endpoint(name).answer(pack_request(query.encode(), data)))


def value_of(answer: Answer) -> Any:
    found = json.loads(bytes(answer.body))
    assert answer.status == 200, found
    return found


def problem_of(answer: Answer, status: int) -> dict[str, Any]:
    found = json.loads(bytes(answer.body))
    assert answer.status == status, found
    assert found["status"] == status
    assert {"type", "title", "detail"} <= found.keys()
    return found


def item(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "price": 2.0, **more}


# Items


def test_a_bad_item_spoils_no_other_and_positions_are_kept() -> None:
    answer = ask("scores", [item(1), item(2, price=-1), item(3), {"id": 4}, "five", item(6, name="bad"), item(7)])
    found = value_of(answer)
    assert [found[i] for i in (0, 2, 6)] == [{"id": n, "score": 1.0} for n in (1, 3, 7)]
    assert found[1] == {"error": {"message": "must be at least 0", "field": "/price"}}
    assert found[3] == {"error": {"message": "is missing", "field": "/price"}}
    assert found[4] == {"error": {"message": "must be an object, not text"}}
    assert found[5] == {"error": {"message": "ValueError: this name is bad"}}
    assert (answer.items, answer.flags) == (7, SOME_FAILED)


def test_extra_fields_are_ignored_and_nulls_are_values() -> None:
    assert value_of(ask("scores", [item(1, colour="red", name=None)])) == [{"id": 1, "score": 1.0}]


def test_an_empty_list_is_answered_without_a_call() -> None:
    calls.clear()
    answer = ask("scores", [])
    assert (value_of(answer), answer.items, answer.flags, calls) == ([], 0, 0, [])
    assert value_of(ask("scores", [{}])) == [{"error": {"message": "is missing", "field": "/id"}}]
    assert calls == []


def test_lists_inside_an_object_are_judged_one_by_one() -> None:
    body = {
        "budgets": [{"budget_id": "a", "price": None}, {"budget_id": 3, "price": 1}],
        "lines": [item(1), item(2, price="x"), item(3)],
        "limit": 0.5,
    }
    answer = ask("match", body)
    assert value_of(answer) == [
        {"score": 0.5, "budget_id": "a", "id": 1},
        {"score": 0.5, "budget_id": "a", "id": 3},
        {"error": {"message": "must be text, not a whole number", "field": "/budget_id", "at": "/budgets/1"}},
        {"error": {"message": "must be a number, not text", "field": "/price", "at": "/lines/1"}},
    ]
    assert (answer.items, answer.flags) == (4, SOME_FAILED)


def test_what_is_wrong_beside_the_lists_is_about_the_request() -> None:
    body = {"budgets": [{"budget_id": 3, "price": 1}], "lines": [], "limit": "much"}
    errors = problem_of(ask("match", body), 422)["errors"]
    assert {error["pointer"] for error in errors} == {"/limit", "/budgets/0/budget_id"}
    assert next(error["value"] for error in errors if error["pointer"] == "/limit") == "much"
    assert problem_of(ask("match", {"budgets": 5, "lines": [], "limit": 1}), 422)["errors"][0]["pointer"] == "/budgets"


def test_two_lists_give_their_results_then_the_errors() -> None:
    found = value_of(ask("pairs", {"left": [1, "x", 2], "right": [10, None], "plus": 1}))
    assert found[:2] == [11, 21]
    assert [error["error"]["at"] for error in found[2:]] == ["/left/1", "/right/1"]


def test_one_value_for_a_list_comes_with_the_errors_beside_it() -> None:
    answer = ask("total", {"values": [1, "x", 2.5], "weight": 2})
    error = {"error": {"message": "must be a number, not text", "at": "/values/1"}}
    assert value_of(answer) == {"result": 7.0, "errors": [error]}
    assert (answer.items, answer.flags) == (None, SOME_FAILED)


def test_a_list_beside_other_parameters_keeps_its_positions() -> None:
    assert value_of(ask("rank", {"user": "u", "items": [1, "x", 3]})) == [
        "u1",
        {"error": {"message": "must be a whole number, not text"}},
        "u3",
    ]


# Queries and paths


def test_scalars_come_from_path_query_and_body() -> None:
    query = "user=a%2Fb+c&width=1.5&tall=true&unknown=1"
    assert value_of(ask("flower", None, query)) == ["a/b c", 1.5, 2.0, True]
    both = ask("flower", {"width": 3, "user": "other"}, "user=me&user=you&width=9")
    assert value_of(both) == ["me", 3.0, 2.0, False]


def test_each_wrong_scalar_is_named() -> None:
    errors = problem_of(ask("flower", {"length": "x"}, "user=me"), 422)["errors"]
    assert [(error["pointer"], error["message"]) for error in errors] == [
        ("/width", "is missing"),
        ("/length", "must be a number, not text"),
    ]
    for number in ("nan", "inf", "-Infinity"):
        assert "finite" in problem_of(ask("flower", None, f"user=me&width={number}"), 422)["detail"]


def test_a_list_of_a_query_is_judged_one_by_one() -> None:
    found = value_of(ask("total", None, "values=1&values=x&values=2&weight=2"))
    assert found["result"] == 6.0
    assert found["errors"][0]["error"]["at"] == "/values/1"
    assert value_of(ask("given_back", None, "values=a")) == ["a"]


def test_a_query_that_is_no_text_is_a_problem() -> None:
    problem_of(ask("flower", None, "user=%ff&width=1"), 400)


def test_null_is_taken_where_it_is_allowed() -> None:
    assert value_of(ask("nullable", {"values": None, "value": None})) == [None, None]
    assert value_of(ask("nullable", {})) == [None, None]


# Bytes that are no request


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[1,\n {]", "line 2, column 3"),
        (b"[1, 2", "ends too early"),
        (b"[NaN]", "line 1, column 2: JSON has no NaN"),
        (b"[1, -Infinity]", "line 1, column 5: JSON has no -Infinity"),
        (b'["\xc3\xa4", \xff]', "not UTF-8"),
        (b'["\\ud800"]', "line 1"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b"[1] [2]", "line 1, column 6: trailing characters"),
        (b"\xef\xbb\xbf[1]", "line 1, column 1"),
    ],
)
def test_what_is_no_json_says_where(body: bytes, words: str) -> None:
    for name in ("given_back", "scores", "match", "pairs", "sums"):
        assert words in problem_of(ask(name, body), 400)["detail"]


def test_columns_count_characters() -> None:
    assert "line 1, column 7" in problem_of(ask("given_back", '["äöü"x'.encode()), 400)["detail"]


@pytest.mark.parametrize("body", [b"", b"  ", b"5", b'{"a": 1}', b"null", b'"x"'])
def test_another_shape_of_body_is_refused(body: bytes) -> None:
    assert problem_of(ask("scores", body), 422)["type"] == "urn:bursty:invalid"


def test_the_last_of_equal_keys_counts() -> None:
    assert value_of(ask("scores", b'[{"id": 1, "price": "x", "price": 4}]'))[0]["error"]["field"] == "/price"
    assert value_of(ask("scores", b'[{"id": 1, "price": 3, "price": 4}]')) == [{"id": 1, "score": 2.0}]


# Results


def test_a_result_that_json_cannot_hold_is_the_error_of_its_item() -> None:
    found = value_of(ask("odd", list(range(8))))
    assert found[1] == {"error": {"message": "the result is not a number (NaN)"}}
    assert found[2] == {"error": {"message": "the result's deep.1 is infinite", "field": "/deep/1"}}
    assert "can't be written as JSON" in found[3]["error"]["message"]
    assert [found[i] for i in (0, 4, 5, 6, 7)] == [0, None, 1.5, [1, 2], 7]


def test_a_single_result_that_json_cannot_hold_fails_the_request() -> None:
    for asked, words in (("nan", "not a number (NaN)"), ("object", "can't be written as JSON")):
        answer = ask("raw", {"value": asked})
        assert words in problem_of(answer, 500)["detail"]
        assert answer.flags == RAISED
    assert value_of(ask("raw", {"value": "array"})) == [0, 1, 2]


def test_a_wrong_number_of_results_says_so() -> None:
    answer = ask("too_few", [1, 2, 3])
    assert "too_few gave 2 results for 3 items" in problem_of(answer, 500)["detail"]
    assert answer.flags == RAISED
    assert "it gave a int instead of a list" in problem_of(ask("no_list", [1]), 500)["detail"]


def test_without_a_hint_any_iterable_of_results_will_do() -> None:
    assert value_of(ask("unnamed", [1, 2])) == [2, 3]


def test_what_raises_is_told_without_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    answer = ask("raises", {"value": 7})
    assert problem_of(answer, 500)["detail"] == "KeyError: 7"
    assert answer.flags == RAISED
    assert b"Traceback" not in answer.body
    assert "in raises" in capfd.readouterr().err


def test_the_first_tracebacks_of_items_reach_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    value_of(ask("scores", [item(n, name="bad") for n in range(10)]))
    printed = capfd.readouterr().err
    assert printed.count("ValueError: this name is bad") == 3
    assert "7 more items" in printed


# Arrays and frames


def test_arrays_of_numpy() -> None:
    found = value_of(ask("sums", [[1, 2], [3, 4], [5], [None, 1], ["x", 2], [5, 6]]))
    assert [found[i] for i in (0, 1, 5)] == [3.0, 7.0, 11.0]
    assert found[2]["error"]["message"] == "must be a list of 2 as the others are, not a list of 1"
    assert found[3]["error"] == {"message": "must be a number, not null", "field": "/0"}
    assert (
        value_of(ask("means", [[1, 2], [1, 2.5]]))[1]["error"]["message"]
        == "must be a whole number, not one with decimals"
    )


def test_frames_of_pandas() -> None:
    found = value_of(ask("doubled", [item(1), item(2, price="x"), {"price": 3, "id": 3}]))
    assert found[0] == {"id": 1, "price": 4.0, "name": None}
    assert found[1]["error"]["field"] == "/price"
    assert found[2] == {"id": 3, "price": 6.0, "name": None}
    assert value_of(ask("cells", [{"a": 1.5}, {"b": 2}]))[1]["error"]["message"] == "the result is not a number (NaN)"


# Classes


def test_a_class_is_made_once_and_may_be_async() -> None:
    found = endpoint("Loaded")
    before = Loaded.made
    assert json.loads(bytes(unpack_answer(found.warm()).body)) == {"models": {}}
    for value in range(3):
        answer = unpack_answer(found.answer(pack_request(b"", b'{"value": %d}' % value)))
        assert value_of(answer) == 3 * value
    assert Loaded.made == before + 1


def test_an_async_endpoint_answers_inside_a_running_loop() -> None:
    import asyncio

    async def inside() -> Answer:
        return ask("Loaded", {"value": 2})

    assert value_of(asyncio.run(inside())) == 6


def test_a_class_that_cannot_start_says_why() -> None:
    found = endpoint("Broken")
    warm = unpack_answer(found.warm())
    detail = problem_of(warm, 500)["detail"]
    assert "OSError: no such model" in detail
    assert "in __init__" in detail
    assert warm.flags == RAISED
    later = problem_of(unpack_answer(found.answer(pack_request(b"", b'{"value": 1}'))), 500)
    assert "no such model" in later["detail"]
    assert "Traceback" not in later["detail"]


# Pieces


def test_a_long_list_is_cut_into_pieces_that_are_never_cut_again() -> None:
    short = App("short")

    @short.endpoint("/x", chunk=3, log=False)
    def x(values: list[int]) -> list[int]:
        return [2 * value for value in values]

    found = Endpoint.of(short, "x")
    body = b"[1, 2 ,3,4,5, 6,7]"
    split = unpack_answer(found.answer(pack_request(b"", body)))
    assert (split.flags, split.items) == (SPLIT, 7)
    pieces = pieces_of(split)
    assert [json.loads(piece) for piece in pieces] == [[1, 2, 3], [4, 5, 6], [7]]
    answers = [unpack_answer(found.answer(pack_piece(b"", piece))) for piece in pieces]
    assert json.loads(join_arrays([answer.body for answer in answers])) == [2, 4, 6, 8, 10, 12, 14]
    whole = unpack_answer(found.answer(pack_piece(b"", body)))
    assert value_of(whole) == [2, 4, 6, 8, 10, 12, 14]
    assert unpack_answer(found.answer(pack_request(b"", b"[1,2,3]"))).flags == 0
    query = unpack_answer(found.answer(pack_request(b"values=1&values=2&values=3&values=4", b"")))
    assert value_of(query) == [2, 4, 6, 8]


def test_a_hundred_thousand_items_are_shared_out() -> None:
    body = b"[" + b",".join(b"%d" % number for number in range(100_000)) + b"]"
    split = unpack_answer(endpoint("given_back").answer(pack_request(b"", body)))
    assert (split.flags, split.items, len(pieces_of(split))) == (SPLIT, 100_000, 50)
    assert join_arrays(pieces_of(split)) == body


def test_of_what_is_public_an_error_names_no_more_than_its_type() -> None:
    answer = ask("open_to_all", [item(1), item(2, name="bad")])
    assert value_of(answer)[1] == {"error": {"message": "ValueError"}}
    assert b"secret" not in answer.body
    assert b"secret" in answer.log
    assert "error" in value_of(ask("scores", [item(1), item(2, name="bad")]))[1]


# Together


def requests_of(*lists: list[Any]) -> list[bytes]:
    return [pack_request(b"", json.dumps(items).encode()) for items in lists]


def test_requests_are_scored_by_one_call() -> None:
    found = endpoint("scores")
    assert found.batched
    calls.clear()
    answers = found.answer_together(requests_of([item(1)], [item(2), item(3, price=-1)], [], [item(4)]))
    assert calls == [3]
    assert [len(value_of(unpack_answer(answer))) for answer in answers] == [1, 2, 0, 1]


def test_a_request_that_cannot_be_read_leaves_the_others_alone() -> None:
    found = endpoint("scores")
    answers = [unpack_answer(one) for one in found.answer_together([pack_request(b"", b"[1"), *requests_of([item(1)])])]
    assert [answer.status for answer in answers] == [400, 200]


def test_arrays_of_other_widths_are_scored_apart() -> None:
    calls.clear()
    answers = endpoint("means").answer_together(requests_of([[1, 3]], [[1, 2, 3]], [[3, 5], [1, 1]]))
    assert [value_of(unpack_answer(answer)) for answer in answers] == [[2.0], [2.0], [4.0, 1.0]]
    assert calls == [3, 1]


numbers = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=6)


@given(numbers)
def test_together_is_as_one_by_one(lists: list[list[int]]) -> None:
    """0: refused; 1: raises; others: fine."""
    bodies = [[item(n, price=n - 1.0, name="bad" if n == 1 else None) for n in numbers] for numbers in lists]
    found = endpoint("scores")
    assert found.answer_together(requests_of(*bodies)) == [found.answer(one) for one in requests_of(*bodies)]


raw_bodies = st.sampled_from([
    b'[{"id":1,"price":2}]', b' [{"id":1,"price":2}]', b'[{"id":1,"price":2}]\n', b"[]", b"null", b"", b"[1", b"3]",
    b"[1],[2",
    b'[{"id":1,"price":2,"name":"line\\nend"},{"id":2,"price":4,"name":"null"}]', b"[null]", b'[{"id":1,"price":-1}]',
    '[{"id":1,"price":2,"name":"\u00e4"}]'.encode(), b'[{"id":1,"price":2,"name":"\xff"}]', b'[{"id":1,"price":1e999}]',
])  # fmt: skip


@pytest.mark.parametrize("name", ["scores", "echoed", "divided"])
@given(bodies=st.lists(st.tuples(raw_bodies, st.sampled_from([b"", b"a=1"])), min_size=1, max_size=6))
def test_together_is_as_one_by_one_for_whatever_bytes(name: str, bodies: list[tuple[bytes, bytes]]) -> None:
    """echoed: texts with line ends, and nulls; divided: gives what JSON hasn't."""
    found = endpoint(name)
    requests = [pack_request(query, body) for body, query in bodies]
    assert found.answer_together(requests) == [found.answer(one) for one in requests]


# Anything at all


@given(st.lists(st.booleans(), max_size=40))
def test_halving_finds_exactly_the_culprits(bad: list[bool]) -> None:
    found = value_of(ask("scores", [item(number, name="bad" if one else "good") for number, one in enumerate(bad)]))
    assert ["error" in one for one in found] == bad
    assert all(one.get("id", number) == number for number, one in enumerate(found))


def test_halving_takes_few_calls_for_few_culprits() -> None:
    calls.clear()
    value_of(ask("scores", [item(number, name="bad" if number == 700 else None) for number in range(1024)]))
    assert len(calls) <= 2 * 10 + 1


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    scalars, lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(max_size=5), one, max_size=4)
)
shaped = st.lists(st.fixed_dictionaries({"id": scalars, "price": scalars}, optional={"name": scalars}), max_size=6)
bodies = st.binary(max_size=40) | (values | shaped).map(lambda value: json.dumps(value).encode())
NAMES = ["scores", "match", "flower", "total", "pairs", "rank", "sums", "doubled", "given_back", "nullable", "odd"]


@given(st.sampled_from(NAMES), bodies, st.binary(max_size=20).filter(lambda query: b"\n" not in query))
def test_whatever_comes_is_answered(name: str, body: bytes, query: bytes) -> None:
    answer = unpack_answer(endpoint(name).answer(pack_request(query, body)))
    found = json.loads(bytes(answer.body))
    assert answer.status in (200, 400, 422, 500), found
    if answer.status == 500:
        assert answer.flags == RAISED
    if answer.items is not None:
        assert len(found) == answer.items


@given(st.lists(values, max_size=8))
def test_json_comes_back_as_it_was_given(items: list[Any]) -> None:
    text = json.dumps(items)
    answer = ask("given_back", text.encode())
    if "NaN" in text or "Infinity" in text:
        assert answer.status == 400 or '"' in text
    elif answer.status == 200:
        assert value_of(answer) == json.loads(text)


# Opening


MODULE = """
from bursty import App, Model
import msgspec
app = App("shop")
class Item(msgspec.Struct):
    id: int
@app.endpoint("/double")
def double(items: list[Item]) -> list[int]:
    return [2 * item.id for item in items]
"""


def test_a_name_is_pickled_and_opens_as_the_endpoint(tmp_path: Path) -> None:
    file = tmp_path / "shop_of_names.py"
    file.write_text(MODULE)
    pickled = pickle.dumps(EndpointRef(str(file), "shop", "double"), 5)
    opened = pickle.loads(pickled)
    assert isinstance(opened, Endpoint)
    assert value_of(unpack_answer(opened.answer(pack_request(b"", b'[{"id": 4}]')))) == [8]
    assert value_of(unpack_answer(try_endpoint(str(file), "shop", "double", b'[{"id": 5}]'))) == [10]
    for app_name, name in (("shop", "treble"), ("other", "double")):
        with pytest.raises(ConfigError, match="has no endpoint") as caught:
            open_endpoint(str(file), app_name, name)
        assert "shop.double" in caught.value.hint


def test_a_worker_imports_no_more_than_the_hints_name(tmp_path: Path) -> None:
    (tmp_path / "shop_of_imports.py").write_text(MODULE)
    program = textwrap.dedent(
        """
        import sys
        from bursty.core.answers import pack_request, unpack_answer
        from bursty.runtime.endpoint import open_endpoint
        endpoint = open_endpoint("shop_of_imports.py", "shop", "double")
        endpoint.warm()
        answer = unpack_answer(endpoint.answer(pack_request(b"", b'[{"id": 4}, 5]')))
        assert answer.status == 200, answer
        heavy = {"pydantic", "numpy", "pandas", "asyncio", "starlette", "polars", "sqlalchemy", "obstore"}
        print(sorted(heavy & set(sys.modules)))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
