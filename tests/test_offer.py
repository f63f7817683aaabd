"""What an endpoint's hints say: parameters, body, lists, layout of the answer, JSON schemas and examples."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

from bursty import App, Batching, ConfigError, Default, Log
from bursty.core.answers import pack_request, unpack_answer
from bursty.forms.offer import schema_of
from bursty.forms.offer_examples import example_of
from bursty.runtime.endpoint import Endpoint


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(msgspec.Struct):
    id: int
    price: Annotated[float, msgspec.Meta(ge=0, examples=[9.5])]
    name: str | None = None


class Score(msgspec.Struct):
    id: int
    score: float


@dataclasses.dataclass
class Budget:
    budget_id: str
    price: float | None


class Pair(TypedDict):
    budgets: list[Budget]
    lines: list[Item]
    threshold: float


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=3, alias="fullName")
    age: int = pydantic.Field(ge=18, examples=[42])
    friends: list[Person] = []


class Strange:
    pass


class Holds(msgspec.Struct):
    strange: Strange


class Mixed(pydantic.BaseModel):
    budgets: list[Budget]


class Visit(msgspec.Struct):
    at: dt.datetime
    plate: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}-[0-9]{4}$")] = "ABC-1234"


def visits(visits: list[Visit]) -> list[dt.datetime]: ...  # pyright: ignore[reportReturnType]
def mixed(mixed: Mixed) -> list[str]: ...  # pyright: ignore[reportReturnType]
def items(items: list[Item]) -> list[Score]: ...  # pyright: ignore[reportReturnType]
def one(item: Item) -> Score: ...  # pyright: ignore[reportReturnType]
def pairs(asked: Pair) -> list[dict[str, float]]: ...  # pyright: ignore[reportReturnType]
def people(people: list[Person]) -> list[Person]: ...  # pyright: ignore[reportReturnType]
def flower(width: float, length: Annotated[float, msgspec.Meta(gt=0)] = 2.0) -> str: ...  # pyright: ignore[reportReturnType]
def total(values: list[float], weight: float = 1.0) -> float: ...  # pyright: ignore[reportReturnType]
def two(left: list[Item], right: list[Budget], top: int = 3) -> list[Score]: ...  # pyright: ignore[reportReturnType]
def nothing() -> dict[str, Any]: ...  # pyright: ignore[reportReturnType]
def matrix(rows: np.ndarray) -> np.ndarray: ...  # pyright: ignore[reportReturnType]
def whole(rows: NDArray[np.int64]) -> list[float]: ...  # pyright: ignore[reportReturnType]
def frame(rows: Annotated[pd.DataFrame, Item]) -> pd.DataFrame: ...  # pyright: ignore[reportReturnType]
def bare(items: list[Item]): ...
def kinds(
    a: Color,
    b: Literal["x", "y"],
    c: dt.date,
    d: dt.datetime,
    e: uuid.UUID,
    f: decimal.Decimal,
    g: bool,
    h: int | None = None,
    i: tuple[int, ...] = (),
) -> Any: ...


class Classifier:
    """Tells flowers apart."""

    def __call__(self, rows: list[list[float]]) -> list[str]: ...  # pyright: ignore[reportReturnType]


def offered(target: Any, path: str = "/x", **options: Any) -> dict[str, Any]:
    app = App("tests")
    app.endpoint(path, **options)(target)
    (spec,) = app.endpoints.values()
    return json.loads(json.dumps(schema_of(target, spec)))


@pytest.mark.parametrize(
    ("target", "body", "lists", "layout", "methods"),
    [
        (items, "array", [""], "aligned", ["POST"]),
        (one, "object", [], "plain", ["POST"]),
        (pairs, "object", ["/budgets", "/lines"], "joined", ["POST"]),
        (mixed, "object", ["/budgets"], "joined", ["POST"]),
        (people, "array", [""], "aligned", ["POST"]),
        (flower, "fields", [], "plain", ["GET", "POST"]),
        (total, "fields", ["/values"], "wrapped", ["GET", "POST"]),
        (two, "fields", ["/left", "/right"], "joined", ["POST"]),
        (nothing, "none", [], "plain", ["GET", "POST"]),
        (matrix, "array", [""], "aligned", ["POST"]),
        (whole, "array", [""], "aligned", ["POST"]),
        (frame, "array", [""], "aligned", ["POST"]),
        (bare, "array", [""], "aligned", ["POST"]),
        (kinds, "fields", ["/i"], "aligned", ["GET", "POST"]),
        (Classifier, "array", [""], "aligned", ["POST"]),
    ],
)
def test_hints_make_the_request(target: Any, body: str, lists: list[str], layout: str, methods: list[str]) -> None:
    found = offered(target)
    assert (found["body"], found["lists"], found["layout"], found["methods"]) == (body, lists, layout, methods)


ALL: list[Any] = [
    visits,
    mixed,
    items,
    one,
    pairs,
    flower,
    total,
    two,
    nothing,
    matrix,
    whole,
    frame,
    kinds,
    Classifier,
    people,
]


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.__name__)
def test_examples_fit_their_schemas(target: Any) -> None:
    found = offered(target)
    for which in ("request", "response"):
        Draft202012Validator.check_schema(found[which])
        Draft202012Validator(found[which]).validate(found["examples"][which])
    for parameter in found["parameters"]:
        schema = {**parameter["schema"], "$defs": found["request"].get("$defs", {})}
        Draft202012Validator(schema).validate(parameter["example"])


@pytest.mark.parametrize(
    "target", [visits, mixed, one, items, pairs, flower, two, people, matrix, kinds], ids=lambda one: one.__name__
)
def test_the_endpoint_itself_takes_the_example(target: Any) -> None:
    app = App("tests")
    app.endpoint("/x", log=False)(target)
    body = json.dumps(offered(target)["examples"]["request"]).encode()
    answer = unpack_answer(Endpoint.of(app, target.__name__).answer(pack_request(b"", body)))
    said = bytes(answer.body)
    assert answer.status in (200, 500), said  # 500: the functions here give None
    assert answer.status == 200 or b"urn:bursty:result" in said


def test_parameters_say_where_they_stand_and_what_else_they_would_be() -> None:
    found = {one["name"]: one for one in offered(flower, "/flowers/{width}")["parameters"]}
    assert (found["width"]["in"], found["length"]["in"]) == ("path", "query")
    assert (found["width"]["required"], found["length"]["required"]) == (True, False)
    assert found["length"]["default"] == 2.0
    assert found["length"]["schema"]["exclusiveMinimum"] == 0
    placed = {one["name"]: one["in"] for one in offered(two)["parameters"]}
    assert placed == {"left": "body", "right": "body", "top": "body"}


def rank(user: str, items: list[Item]) -> list[Score]: ...  # pyright: ignore[reportReturnType]


def test_a_parameter_in_the_path_is_not_in_the_body() -> None:
    found = offered(rank, "/rank/{user}")
    assert found["body"] == "array"
    assert found["request"]["items"] == {"$ref": "#/$defs/Item"}


def test_the_answer_to_a_list_has_the_envelope_of_items() -> None:
    items_of = offered(items)["response"]["items"]["anyOf"]
    assert items_of == [{"$ref": "#/$defs/Score"}, {"$ref": "#/$defs/ItemError"}]
    failed = {"error": {"message": "must be at least 0", "field": "/price"}}
    Draft202012Validator(offered(items)["response"]).validate([{"id": 1, "score": 0.5}, failed])
    assert set(offered(total)["response"]["properties"]) == {"result", "errors"}


def test_examples_are_taken_from_metadata_and_defaults() -> None:
    assert offered(items)["examples"]["request"][0] == {"id": 1, "price": 9.5, "name": "name"}
    person = offered(people)["examples"]["request"][0]
    assert person["age"] == 42
    assert len(person["fullName"]) >= 3
    assert offered(flower)["examples"]["request"] == {"width": 1.5, "length": 2.0}


def test_models_of_pydantic_show_the_names_of_their_json() -> None:
    schema = offered(people)["request"]["$defs"]["Person"]
    assert set(schema["properties"]) == {"fullName", "age", "friends"}


def no_hint(value) -> int: ...  # pyright: ignore[reportMissingParameterType]
def many(*values: int) -> int: ...  # pyright: ignore[reportReturnType]
def named(**values: int) -> int: ...  # pyright: ignore[reportReturnType]
def by_place(value: int, /) -> int: ...  # pyright: ignore[reportReturnType]
def strange(value: Strange) -> int: ...  # pyright: ignore[reportReturnType]
def held(value: list[Holds]) -> int: ...  # pyright: ignore[reportReturnType]
def gives(value: int) -> Strange: ...  # pyright: ignore[reportReturnType]
def unknown(value: Nowhere) -> int: ...  # noqa: F821  # pyright: ignore[reportUndefinedVariable]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (no_hint, "parameter 'value' of no_hint has no type hint"),
        (many, "parameter 'values' of many takes any number"),
        (named, "parameter 'values' of named takes any number"),
        (by_place, "parameter 'value' of by_place can't be given by name"),
        (strange, "parameter 'value' of strange can't be an input"),
        (held, "parameter 'value' of held can't be an input"),
        (gives, "the return type of gives can't be an answer"),
        (unknown, "the type hint of parameter 'value' of unknown"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(target: Callable[..., Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        offered(target)
    assert words in caught.value.message
    assert caught.value.hint


def test_paths_and_batches_must_fit_the_function() -> None:
    with pytest.raises(ConfigError, match="which flower does not take"):
        offered(flower, "/flowers/{height}")
    with pytest.raises(ConfigError, match="no scalar"):
        offered(items, "/x/{items}")
    for target in (one, two, total):
        with pytest.raises(ConfigError, match="can't be batched"):
            offered(target, batch=True)
    assert offered(items, batch=Batching(8))["layout"] == "aligned"


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "number", "minimum": 0, "maximum": 1}, 0),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "integer", "multipleOf": 4, "minimum": 3}, 4),
        ({"type": "string", "minLength": 6}, "wordxx"),
        ({"type": "string", "maxLength": 2}, "wo"),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": ["null", "boolean"]}, True),
        ({"anyOf": [{"type": "null"}, {"enum": ["a", "b"]}]}, "a"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 1}, [1]),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, [1, "word"]),
        ({"const": 7}, 7),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"name": 1}),
    ],
)
def test_examples_keep_to_bounds(schema: dict[str, Any], example: Any) -> None:
    assert example_of(schema, {}, "word") == example
    assert Draft202012Validator(schema).is_valid(example)


def test_an_example_of_a_type_that_holds_itself_ends() -> None:
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}}
    assert json.dumps(example_of({"$ref": "#/$defs/Tree"}, {"Tree": tree}))


def test_a_default_for_each_item_needs_items() -> None:
    app = App("defaults")

    @app.endpoint("/sum", fallback=Default(0.0, each=True))
    def total(value: float) -> float:
        return value

    with pytest.raises(ConfigError, match="default for each item"):
        schema_of(total, app.endpoints["total"])


def test_one_name_is_not_taken_for_its_letters() -> None:
    log = Log(key="id", redact="iban")  # type: ignore[arg-type]
    assert (log.key, log.redact) == (("id",), ("iban",))
