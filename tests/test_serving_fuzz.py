"""schemathesis asks a running server whatever its document allows, and much that it doesn't: nothing is a 500."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from serving_process import Serving, serving

APP = """
import datetime as dt
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Literal, TypedDict
import msgspec
from pydantic import BaseModel, Field
from bursty import App, Default

app = App("zoo")

class Kind(Enum):
    CAT = "cat"
    DOG = "dog"

class Animal(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
    kind: Kind
    born: dt.date | None = None
    weight: Annotated[float, msgspec.Meta(gt=0)] = 1.0

class Cage(BaseModel):
    size: float = Field(gt=0, le=1000)
    animals: list[str] = []
    place: Literal["in", "out"] = "in"

@dataclass
class Keeper:
    name: str
    years: int = 0

class Feed(TypedDict):
    what: str
    grams: int

@app.endpoint("/animals", deadline="30 s", fallback=Default(None), auth="public")
def animals(animals: list[Animal]) -> list[float]:
    return [animal.weight for animal in animals]

@app.endpoint("/cages", deadline="30 s")
def cages(cages: list[Cage]) -> list[Cage]:
    return cages

@app.endpoint("/keepers", deadline="30 s")
def keepers(keeper: Keeper) -> Keeper:
    return keeper

@app.endpoint("/plan", deadline="30 s")
def plan(animals: list[Animal], feeds: list[Feed], day: dt.date = dt.date(2026, 1, 1)) -> list[str]:
    return [f"{animal.name} {feed['what']} {day}" for animal in animals for feed in feeds]

@app.endpoint("/zones/{zone}/area", deadline="30 s")
def area(zone: str, width: float, height: float = 1.0, tags: list[str] = []) -> dict[str, float]:
    return {zone: min(max(width, -1e9), 1e9) * min(max(height, -1e9), 1e9)}

@app.endpoint("/anything", deadline="30 s", batch=True)
def anything(values: list[dict[str, float | None]]) -> list[float]:
    return [float(len(fields)) for fields in values]
"""
WELL_MEANT = (500, 502)
"""Not among what a client may cause. 503 and 504 are: by asking for a deadline of a millisecond."""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(APP, tmp_path_factory.mktemp("zoo")) as server:
        yield server


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_nothing_that_a_client_sends_is_an_internal_error(zoo: Serving, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{zoo.url}/openapi.json")
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
            continue

        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            answer = case.call(base_url=zoo.url)
            assert answer.status_code not in WELL_MEANT, f"{case.as_curl_command()}\n{answer.text}"
            if answer.status_code >= 400:
                assert answer.json()["status"] == answer.status_code

        ask()
    assert asked >= 15 * 7, "the document lost its operations"


def test_answers_are_what_the_document_says(zoo: Serving) -> None:
    """Every example of a request in the document is answered, with what its schema says."""
    schema = schemathesis.openapi.from_url(f"{zoo.url}/openapi.json")
    document = zoo.client.get("/openapi.json").json()
    examined = 0
    for path, item in document["paths"].items():
        operation = item.get("post")
        content = (operation or {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" not in content or "{" in path or path == "/labels":
            continue
        answer = zoo.ask(path, content["example"])
        assert answer.status_code == 200, (path, content["example"], answer.text)
        schema[path]["POST"].validate_response(answer)
        examined += 1
    assert examined == 5
