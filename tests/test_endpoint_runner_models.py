"""Endpoints with types of pydantic's: read and written as pydantic does, item by item."""

from __future__ import annotations

import datetime as dt
import enum
import json
from typing import Annotated, Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bursty import App, Log
from bursty.core.answers import SOME_FAILED, Answer, pack_request, unpack_answer
from bursty.forms.offer_pydantic import PydanticWriter
from bursty.runtime.endpoint import Endpoint


class Kind(enum.Enum):
    BOOK = "book"


class Row(BaseModel):
    id: int
    price: float = Field(ge=0)
    name: str | None = None
    kind: Kind = Kind.BOOK

    @pydantic.field_validator("name")
    @classmethod
    def not_bad(cls, name: str | None) -> str | None:
        if name == "bad":
            raise ValueError("is a bad name")
        if name == "worse":
            raise ZeroDivisionError("by a validator")
        return name


class Plain(BaseModel):
    score: float
    note: str | None = None


class Wide(Plain):
    secret: str = "hidden"


class Written(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    at: dt.datetime | None = None
    score: float | None = Field(None, serialization_alias="theScore")

    @pydantic.computed_field
    def twice(self) -> float | None:
        return None if self.score is None else 2 * self.score


class Asked(BaseModel):
    rows: list[Row]
    limit: float = Field(0.5, le=1)


app = App("models")


@app.endpoint("/plain", log=False)
def plain(rows: list[Row]) -> list[Plain]:
    return [Plain.model_construct(score=row.price, note=row.name) for row in rows]


@app.endpoint("/odd", log=False)
def odd(values: list[int]) -> list[Plain]:
    special: dict[int, Any] = {
        1: Plain(score=float("nan")),
        2: Wide(score=1),
        3: {"score": 2.0},
        4: Plain.model_construct(score=1.0, note=float("nan")),  # type: ignore[arg-type]
    }
    return [special.get(value) or Plain(score=value) for value in values]


@app.endpoint("/written", log=False)
def written(values: list[float | None]) -> list[Written]:
    return [Written(score=value, at=dt.datetime(2026, 1, 31, tzinfo=dt.UTC)) for value in values]


@app.endpoint("/inner", log=False)
def inner(asked: Asked) -> list[Plain]:
    return [Plain(score=row.price * asked.limit) for row in asked.rows]


@app.endpoint("/bounded", log=Log(redact=("name",)))
def bounded(share: Annotated[float, Field(gt=0, lt=1)], day: dt.date | None = None) -> Plain:
    return Plain(score=share, note=day and day.isoformat())


def ask(name: str, body: Any = None, query: bytes = b"") -> Answer:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return unpack_answer(Endpoint.of(app, name).answer(pack_request(query, data)))


def value_of(answer: Answer) -> Any:
    assert answer.status == 200, bytes(answer.body)
    return json.loads(bytes(answer.body))


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "price": 2.0, **more}


def test_items_are_judged_as_pydantic_judges_them() -> None:
    answer = ask(
        "plain", [row(1), row(2, price="-1"), row(3, name="bad"), row(4, name="worse"), {"id": "x"}, 5, row("6")]
    )  # type: ignore[arg-type]
    found = value_of(answer)
    assert [found[i] for i in (0, 6)] == [{"score": 2.0, "note": None}] * 2
    assert found[1]["error"] == {"message": "Input should be greater than or equal to 0", "field": "/price"}
    assert found[2]["error"] == {"message": "is a bad name", "field": "/name"}
    assert found[3]["error"] == {"message": "ZeroDivisionError: by a validator"}
    assert found[4]["error"]["field"] == "/id"
    assert "error" in found[5]
    assert answer.flags == SOME_FAILED


@pytest.mark.parametrize(
    "body", [b'[{"id": 1, "price": NaN}]', b'[{"id": 1, "price": 1, "x": -Infinity}]', b"[1", b"[" * 9999]
)
def test_what_is_no_json_is_none_here_either(body: bytes) -> None:
    assert ask("plain", body).status == 400


def test_a_word_in_a_text_is_no_number() -> None:
    assert value_of(ask("plain", [row(1, name="NaN Infinity")]))[0]["note"] == "NaN Infinity"


def test_results_are_written_by_the_return_hint() -> None:
    found = value_of(ask("odd", [0, 2, 3]))
    assert found == [{"score": 0.0, "note": None}, {"score": 1.0, "note": None}, {"score": 2.0}]
    assert value_of(ask("written", [1.5, None])) == [
        {"at": "2026-01-31T00:00:00Z", "theScore": 1.5, "twice": 3.0},
        {"at": "2026-01-31T00:00:00Z", "theScore": None, "twice": None},
    ]


def test_a_number_that_is_none_is_an_error_wherever_it_hides() -> None:
    found = value_of(ask("odd", [0, 1, 4, 5]))
    assert found[1]["error"] == {"message": "the result's score is not a number (NaN)", "field": "/score"}
    assert found[2]["error"] == {"message": "the result's note is not a number (NaN)", "field": "/note"}
    assert [found[0]["score"], found[3]["score"]] == [0.0, 5.0]
    assert value_of(ask("written", [1e308, None]))[0]["error"]["field"] == "/twice"


def test_lists_inside_a_model_are_judged_one_by_one() -> None:
    found = value_of(ask("inner", {"rows": [row(1), row(2, price=-1)]}))
    assert found[0]["score"] == 1.0
    assert found[1]["error"]["at"] == "/rows/1"
    answer = ask("inner", {"rows": [row(2, price=-1)], "limit": 2})
    pointers = {error["pointer"] for error in json.loads(bytes(answer.body))["errors"]}
    assert (answer.status, pointers) == (422, {"/limit", "/rows/0/price"})


def test_constraints_of_pydantic_hold_for_scalars() -> None:
    assert value_of(ask("bounded", query=b"share=0.5&day=2026-01-31")) == {"score": 0.5, "note": "2026-01-31"}
    assert ask("bounded", query=b"share=1").status == 422
    assert ask("bounded", query=b"share=nan").status == 422


@pytest.mark.parametrize(
    ("model", "bare"),
    [(Plain, True), (Wide, True), (Written, False), (Asked, False), (Row, False), (list[Plain], False)],
)
def test_only_plain_models_are_written_without_pydantic(model: Any, bare: bool) -> None:
    assert PydanticWriter(model).bare is (model if bare else None)


rows = st.lists(st.builds(Plain, score=st.floats(allow_nan=False, allow_infinity=False), note=st.none() | st.text()))


@given(rows)
def test_plain_models_are_written_as_pydantic_writes_them(values: list[Plain]) -> None:
    given = App("given")

    @given.endpoint("/given", log=False)
    def back(values: list[Plain]) -> list[Plain]:
        return values

    text = TypeAdapter(list[Plain]).dump_json(values)
    answer = unpack_answer(Endpoint.of(given, "back").answer(pack_request(b"", text)))
    assert json.loads(bytes(answer.body)) == json.loads(text)
