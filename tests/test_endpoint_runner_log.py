"""What an endpoint's worker tells the prediction log: a row for each item, or for the request."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from pydantic import AfterValidator, BaseModel

from bursty import App, Log
from bursty.core.answers import Answer, pack_request, unpack_answer
from bursty.endpoints import EndpointSpec
from bursty.runtime.endpoint import Endpoint
from bursty.values import FunctionSpec


class Item(msgspec.Struct):
    id: int
    price: float
    card: str = ""


class Verdict(msgspec.Struct):
    score: float
    threshold: float | None = None
    decision: Any = None
    order: int | None = None


@dataclass
class DataVerdict:
    score: float
    decision: str


class ModelVerdict(BaseModel):
    score: float
    decision: str | None = None


def answer_of(target: Any, body: Any, log: Any = True, query: bytes = b"") -> Answer:
    app = App("log")
    app.endpoint("/x", log=log)(target)
    return unpack_answer(Endpoint.of(app, target.__name__).answer(pack_request(query, json.dumps(body).encode())))


def rows_of(target: Any, body: Any, log: Any = True, query: bytes = b"") -> list[list[Any]]:
    return json.loads(bytes(answer_of(target, body, log, query).log))


def structs(items: list[Item]) -> list[Verdict]:
    return [Verdict(item.price, 0.5, item.price > 0.5, item.id) for item in items]


def raising(items: list[Item]) -> list[float]:
    for item in items:
        if item.price < 0:
            raise ValueError(f"card {item.card!r} of {item.id}")
    return [item.price for item in items]


def floats(items: list[Item]) -> list[float]:
    return [item.price for item in items]


def texts(items: list[Item]) -> list[str]:
    return ["yes" for _ in items]


def truths(items: list[Item]) -> list[bool]:
    return [item.price > 1 for item in items]


def dicts(items: list[Item]) -> list[dict[str, Any]]:
    return [{"score": np.float32(item.price), "decision": {"pay": [item.id]}} for item in items]


def classes(items: list[Item]) -> list[DataVerdict]:
    return [DataVerdict(item.price, "no") for item in items]


def models(items: list[Item]) -> list[ModelVerdict]:
    return [ModelVerdict(score=item.price) for item in items]


def mixed(items: list[Item]) -> list[Any]:
    return [0.5, "yes", None, Verdict(1.0)][: len(items)]


def one(item: Item) -> Verdict:
    return Verdict(item.price)


def scalar(user: str, price: float = 2.0) -> float:
    return price


def pairs(left: list[Item], right: list[int]) -> list[dict[str, Any]]:
    return [{"score": item.price * number, "id": item.id} for item in left for number in right]


ITEMS = [{"id": 1, "price": 0.25}, {"id": 2, "price": 2.0}]


@pytest.mark.parametrize(
    ("target", "first", "second"),
    [
        (structs, [0.25, 0.5, False], [2.0, 0.5, True]),
        (floats, [0.25, None, None], [2.0, None, None]),
        (texts, [None, None, "yes"], [None, None, "yes"]),
        (truths, [None, None, False], [None, None, True]),
        (dicts, [0.25, None, {"pay": [1]}], [2.0, None, {"pay": [2]}]),
        (classes, [0.25, None, "no"], [2.0, None, "no"]),
        (models, [0.25, None, None], [2.0, None, None]),
        (mixed, [0.5, None, None], [None, None, "yes"]),
    ],
)
def test_score_threshold_and_decision_are_read_from_values(target: Any, first: list[Any], second: list[Any]) -> None:
    rows = rows_of(target, ITEMS)
    assert [row[:3] for row in rows] == [first, second]
    assert [row[3:5] for row in rows] == [[None, None]] * 2
    assert [row[5] for row in rows] == ITEMS


def test_fields_may_have_other_names_and_the_threshold_may_be_a_number() -> None:
    log = Log(score="order", threshold=0.7, decision="score")
    assert [row[:3] for row in rows_of(structs, ITEMS, log)] == [[1.0, 0.7, 0.25], [2.0, 0.7, 2.0]]
    assert [row[:3] for row in rows_of(floats, ITEMS, log)] == [[0.25, 0.7, None], [2.0, 0.7, None]]


def test_without_a_log_there_are_no_rows_and_without_inputs_no_inputs() -> None:
    assert bytes(answer_of(structs, ITEMS, False).log) == b""
    assert [row[5] for row in rows_of(structs, ITEMS, Log(inputs=False))] == [None, None]
    assert rows_of(structs, []) == []


def test_items_without_a_value_have_their_error() -> None:
    rows = rows_of(raising, [*ITEMS, {"id": 3, "price": -1}, {"id": 4}])
    assert [row[0] for row in rows] == [0.25, 2.0, None, None]
    assert rows[2][4] == "ValueError: card '' of 3"
    assert rows[3][4:] == ["is missing", {"id": 4}]


def test_redacted_fields_are_neither_in_inputs_nor_in_errors() -> None:
    body = [{"id": 1, "price": 1, "card": "4711-x"}, {"id": 2, "price": -1, "card": "4712-y"}]
    answer = answer_of(raising, body, Log(redact=("card",)))
    assert b"4711" not in answer.log
    assert b"4712" not in answer.log
    rows = json.loads(bytes(answer.log))
    assert [row[5] for row in rows] == [{"id": 1, "price": 1}, {"id": 2, "price": -1}]
    assert rows[1][4] == "ValueError: card '…' of 2"
    assert b"4712-y" in answer.body  # the caller knows what it sent


class Strict(msgspec.Struct):
    kind: str

    def __post_init__(self) -> None:
        if self.kind != "a":
            raise ValueError(f"no such kind: {self.kind}")


def no_such(kind: str) -> str:
    raise ValueError(f"no such kind: {kind}")


def strict(items: list[Strict]) -> list[int]:
    return [1 for _ in items]


def strict_pair(items: list[Strict], more: list[int]) -> list[int]:
    return [1 for _ in items]


def test_refusals_do_not_tell_what_is_redacted() -> None:
    log = Log(redact=("kind",))
    (row,) = rows_of(strict, [{"kind": "hush"}], log)
    assert row[4:] == ["no such kind: …", {}]
    answer = answer_of(strict_pair, {"items": [{"kind": "hush"}], "more": []}, log)
    assert b"hush" not in answer.log
    problem = answer_of(strict_pair, {"items": "hush", "more": [], "kind": "hush"}, log)
    assert problem.status == 422
    assert b"hush" not in bytes(problem.body).replace(b'"value":"hush"', b"")


def checked(kind: Annotated[str, AfterValidator(no_such)]) -> int:
    return 1


def test_refusals_do_not_tell_what_is_redacted_in_a_query() -> None:
    endpoint = Endpoint(checked, EndpointSpec(FunctionSpec("checked"), "/", 1.0, log=Log(redact=("kind",))))
    for request in (pack_request(b"kind=hush%21", b""), pack_request(b"", b'{"kind": "hush!"}')):
        problem = unpack_answer(endpoint.answer(request))
        assert problem.status == 422
        assert b"no such kind: \xe2\x80\xa6" in problem.body
        assert b"hush" not in problem.body


def test_the_business_key_is_in_the_answer_else_in_the_item_else_beside_it() -> None:
    assert [row[3] for row in rows_of(structs, ITEMS, Log(key=("order",)))] == ["order=1", "order=2"]
    assert [row[3] for row in rows_of(structs, ITEMS, Log(key=("id", "order")))] == ["id=1&order=1", "id=2&order=2"]
    assert [row[3] for row in rows_of(structs, ITEMS, Log(key=("nowhere",)))] == [None, None]
    assert [row[3] for row in rows_of(floats, [*ITEMS, {"id": 3}], Log(key=("id",)))] == ["id=1", "id=2", "id=3"]
    assert rows_of(scalar, {"user": "a&b"}, Log(key=("user",)))[0][3] == "user=a%26b"
    assert rows_of(one, ITEMS[0], Log(key=("id",)))[0][3] == "id=1"


def test_a_request_without_a_list_is_one_row() -> None:
    answer = answer_of(one, ITEMS[0])
    assert (answer.items, json.loads(bytes(answer.log))) == (None, [[0.25, None, None, None, None, ITEMS[0]]])
    (row,) = rows_of(scalar, {"price": 3}, query=b"user=me&price=9")
    assert row == [3.0, None, None, None, None, {"user": "me", "price": 3}]


def test_results_of_several_lists_are_a_row_each_and_the_first_has_the_input() -> None:
    body = {"left": ITEMS, "right": [1, "x"]}
    answer = answer_of(pairs, body, Log(key=("id",)))
    rows = json.loads(bytes(answer.log))
    assert answer.items == len(rows) == 3
    assert [row[:4] for row in rows] == [[0.25, None, None, "id=1"], [2.0, None, None, "id=2"], [None] * 4]
    assert [row[5] for row in rows] == [body, None, None]
    assert rows[2][4] == "must be a whole number, not text"


def test_a_list_beside_other_parameters_has_them_in_its_inputs() -> None:
    def rank(user: str, items: list[int]) -> list[int]:
        return items

    assert rows_of(rank, {"user": "me", "items": [7, "x"]})[0][5] == {"user": "me", "items": 7}
    assert rows_of(rank, {"user": "me", "items": [7, "x"]})[1][5] == {"user": "me", "items": "x"}


def test_a_problem_has_no_rows() -> None:
    assert bytes(answer_of(structs, {}).log) == b""


def test_a_log_is_on_unless_it_is_declared_off() -> None:
    assert EndpointSpec.__dataclass_fields__["log"].default == Log()
