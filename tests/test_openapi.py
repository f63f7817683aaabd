"""The OpenAPI document of what is served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from bursty import App
from bursty.endpoints import Default, EndpointInfo
from bursty.serving.infos import endpoints_of
from bursty.serving.openapi import openapi

app = App("shop")


class Item(msgspec.Struct):
    """A thing to rank."""

    id: str
    price: float | None = None


class Score(msgspec.Struct):
    id: str
    score: float


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]


class Owner(BaseModel):
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]]
    friend: Owner | None = None


@app.endpoint("/predict", deadline="100 ms", fallback=["last_good", Default({"label": 1.0})])
def predict(feature_1: float, feature_2: Annotated[float, Field(ge=0, le=10)] = 1.5) -> dict[str, float]:
    """Which blob a point belongs to."""
    return {"label": feature_1 + feature_2}


@app.endpoint("/rank/{user}", auth="public", log=False)
def rank(user: str, items: list[Item]) -> list[Score]:
    return [Score(item.id, 1.0) for item in items]


@app.endpoint("/adopt")
def adopt(owner: Owner) -> str:
    return owner.model_dump_json()


@app.endpoint("/now")
def now() -> str:
    return "now"


def infos_of(*apps: App) -> list[EndpointInfo]:
    described = [json.loads(json.dumps(one.__bursty_describe__())) for one in apps]
    return endpoints_of({"describe": {"apps": described}, "target": "shop.py"}, "a" * 64)


def document_of(*apps: App) -> dict[str, Any]:
    found = openapi(infos_of(*apps), title="shop", version="v3")
    return json.loads(msgspec.json.encode(found))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return document_of(app)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            elif key == "mapping":
                yield from inner.values()
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def check(document: dict[str, Any]) -> None:
    """It is what OpenAPI wants, and every reference leads somewhere."""
    schemathesis.openapi.from_dict(document).validate()
    for reference in references(document):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    names = [
        operation["operationId"]
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len(set(names)) == len(names)


def test_it_is_valid_and_schemathesis_makes_requests_of_it(document: dict[str, Any]) -> None:
    check(document)
    labels = {found.ok().label for found in schemathesis.openapi.from_dict(document).get_all_operations()}
    assert labels == {
        "GET /predict", "POST /predict", "POST /rank/{user}", "POST /adopt", "GET /now", "POST /now",
        "POST /labels", "GET /health", "GET /ready", "GET /metrics",
    }  # fmt: skip


def test_scalars_stand_in_the_query_or_in_the_body(document: dict[str, Any]) -> None:
    get, post = document["paths"]["/predict"]["get"], document["paths"]["/predict"]["post"]
    first, second, deadline = get["parameters"]
    assert (first["name"], first["in"], first["required"]) == ("feature_1", "query", True)
    assert (second["required"], second["schema"]["default"], second["schema"]["maximum"]) == (False, 1.5, 10)
    assert deadline == {"$ref": "#/components/parameters/Deadline"}
    assert "requestBody" not in get
    body = post["requestBody"]
    assert body["required"]
    assert set(body["content"]["application/json"]["schema"]["properties"]) == {"feature_1", "feature_2"}
    assert body["content"]["application/json"]["example"]["feature_2"] == 1.5


def test_words_say_the_deadline_and_what_comes_instead(document: dict[str, Any]) -> None:
    told = document["paths"]["/predict"]["post"]["description"]
    assert told.startswith("Which blob a point belongs to.")
    assert (
        "within 100 ms; when that fails, with the last good answer to the same input, else a declared default" in told
    )
    assert "the problem 504" in document["paths"]["/now"]["get"]["description"]


def test_a_list_has_a_value_or_an_error_for_each_item(document: dict[str, Any]) -> None:
    path = document["paths"]["/rank/{user}"]
    assert [one["name"] for one in path["parameters"]] == ["user"]
    ok = path["post"]["responses"]["200"]
    content = ok["content"]["application/json"]
    kinds = {one["$ref"].rpartition("/")[2] for one in content["schema"]["items"]["anyOf"]}
    assert kinds == {"Score", "ItemError"}
    assert "error" in content["examples"]["failed"]["value"][-1]
    assert "Bursty-Answer" in ok["headers"]
    assert "Bursty-Prediction" not in ok["headers"], "it is not logged"


def test_problems_and_tokens(document: dict[str, Any]) -> None:
    predict, rank, now = (document["paths"][path]["post"] for path in ("/predict", "/rank/{user}", "/now"))
    assert predict["security"] == [{"token": ["predict:/predict"]}]
    assert rank["security"] == []
    assert set(predict["responses"]) >= {"200", "400", "401", "403", "413", "415", "422", "500", "503", "504"}
    assert not {"401", "403"} & set(rank["responses"])
    assert "requestBody" not in now
    assert "415" not in now["responses"]
    problem = document["components"]["responses"]["503"]
    assert "Retry-After" in problem["headers"]
    assert list(problem["content"]) == ["application/problem+json"]


def test_where_only_this_machine_asks_tokens_are_optional() -> None:
    paths = openapi(infos_of(app), title="t", version="v", is_local=True)["paths"]
    assert paths["/predict"]["post"]["security"] == [{}, {"token": ["predict:/predict"]}]
    assert paths["/rank/{user}"]["post"]["security"] == []
    assert paths["/metrics"]["get"]["security"] == [{}, {"token": ["metrics"]}]


def test_labels_are_taken_where_something_is_logged() -> None:
    (rank,) = [one for one in infos_of(app) if one.spec.name == "rank"]
    assert "/labels" not in openapi([rank], title="t", version="v")["paths"]


def test_a_union_keeps_its_mapping_and_a_type_may_hold_itself(document: dict[str, Any]) -> None:
    owner = document["components"]["schemas"]["Owner"]
    assert owner["properties"]["pets"]["items"]["discriminator"]["mapping"] == {
        "cat": "#/components/schemas/Cat",
        "dog": "#/components/schemas/Dog",
    }
    assert {"$ref": "#/components/schemas/Owner"} in owner["properties"]["friend"]["anyOf"]


# Types of the same name


def endpoint(name: str, request: dict[str, Any]) -> EndpointInfo:
    """One whose request has this schema."""
    (info,) = [one for one in infos_of(app) if one.spec.name == "now"]
    spec = replace(info.spec, path=f"/{name}", function=replace(info.spec.function, name=name))
    return replace(info, spec=spec, schema={**info.schema, "request": request, "body": "object"})


def test_the_same_type_is_told_once_another_of_its_name_apart() -> None:
    def request(tag: str) -> dict[str, Any]:
        definitions = {
            "Item": {"properties": {"tag": {"$ref": "#/$defs/Tag"}, "other": {"$ref": "#/$defs/Other"}}},
            "Tag": {"type": tag},
            "Other": {"type": "string"},
        }
        return {"$ref": "#/$defs/Item", "$defs": definitions}

    infos = [
        endpoint("one", request("string")),
        endpoint("two", request("integer")),
        endpoint("three", request("string")),
    ]
    document = openapi(infos, title="t", version="v")
    check(json.loads(msgspec.json.encode(document)))
    schemas = document["components"]["schemas"]
    assert {"Item", "Tag", "Other", "Item_two", "Tag_two"} <= set(schemas)
    assert not {"Other_two", "Item_three", "Tag_three"} & set(schemas)
    assert schemas["Item_two"]["properties"]["tag"] == {"$ref": "#/components/schemas/Tag_two"}
    assert schemas["Item"]["properties"]["tag"] == {"$ref": "#/components/schemas/Tag"}


def test_data_that_looks_like_a_reference_is_left_alone() -> None:
    looks = {"$ref": "#/$defs/Tag"}
    schema = {"properties": {"$ref": {"type": "string"}, "a": {"default": looks, "examples": [looks], "enum": [looks]}}}
    document = openapi([endpoint("one", {**schema, "$defs": {"Tag": {}}})], title="t", version="v")
    found = document["paths"]["/one"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert found == schema


def test_a_type_named_like_one_of_ours_is_told_apart() -> None:
    request = {
        "$ref": "#/$defs/Problem",
        "$defs": {"Problem": {"type": "string"}, "A[int]": {"type": "integer"}, "A_int_": {}},
    }
    schemas = openapi([endpoint("one", request)], title="t", version="v")["components"]["schemas"]
    assert schemas["Problem_one"] == {"type": "string"}
    assert schemas["Problem"]["type"] == "object"
    assert (schemas["A_int_"], schemas["A_int__2"]) == ({"type": "integer"}, {})


TYPES = st.sampled_from(["string", "integer", "number"])
NAMES = st.sampled_from(["A", "B", "C"])


@given(st.lists(st.dictionaries(NAMES, st.tuples(TYPES, NAMES), min_size=1), min_size=1, max_size=4))
def test_every_endpoint_gets_its_own_types(definitions: list[dict[str, tuple[str, str]]]) -> None:
    """However names clash: what a reference leads to is what the endpoint meant."""
    infos: list[EndpointInfo] = []
    for number, one in enumerate(definitions):
        defs = {
            name: {"type": kind, **({"not": {"$ref": f"#/$defs/{to}"}} if to in one else {})}
            for name, (kind, to) in one.items()
        }
        infos.append(endpoint(f"e{number}", {"properties": {n: {"$ref": f"#/$defs/{n}"} for n in one}, "$defs": defs}))
    document = openapi(infos, title="t", version="v")
    schemas = document["components"]["schemas"]

    def follow(schema: dict[str, Any], steps: int) -> list[str]:
        found = schemas[schema["$ref"].rpartition("/")[2]]
        return [found["type"], *(follow(found["not"], steps - 1) if "not" in found and steps else [])]

    def meant(one: dict[str, tuple[str, str]], name: str, steps: int) -> list[str]:
        kind, to = one[name]
        return [kind, *(meant(one, to, steps - 1) if to in one and steps else [])]

    for number, one in enumerate(definitions):
        body = document["paths"][f"/e{number}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        for name in one:
            assert follow(body["properties"][name], 6) == meant(one, name, 6)
