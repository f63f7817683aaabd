"""The page that shows and tries what is served."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Annotated, Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, Field

from bursty import App
from bursty.endpoints import Default, EndpointInfo, MountSpec
from bursty.serving.infos import endpoints_of, mounts_of
from bursty.serving.page import docs, pages
from bursty.serving.page_words import curl_example, laid_out, python_example, rows_of, type_words

HOSTILE = '"><script>alert(1)</script>'
app = App("shop")


class Item(msgspec.Struct):
    id: str
    price: float | None = None
    tags: list[str] = []


class Budget(BaseModel):
    name: str = Field(description="Whose money it is.")
    amount: Annotated[float, Field(ge=0)]


class Match(BaseModel):
    budgets: list[Budget]
    parent: Match | None = None


@app.endpoint("/predict", deadline="100 ms", fallback=["last_good", Default(None)])
def predict(feature: float, kind: Literal["a", "b"] = "a") -> float:
    """Which blob a point belongs to."""
    return feature + len(kind)


@app.endpoint("/rank/{user}", auth="public", title="Rank a pool")
def rank(user: str, items: list[Item]) -> list[float]:
    return [1.0 for _ in items]


@app.endpoint("/match")
def match(body: Match) -> list[float]:
    return [budget.amount for budget in body.budgets]


@app.endpoint("/now", title=HOSTILE)
def now() -> str:
    return "now"


app.mount("/tools", lambda _environ, _start: [b""])


def served() -> tuple[list[EndpointInfo], list[MountSpec]]:
    described = json.loads(json.dumps(app.__bursty_describe__()))
    manifest = {"describe": {"apps": [described]}, "target": "shop.py"}
    return endpoints_of(manifest, "a" * 64), [spec for _, spec in mounts_of(manifest)]


INFOS, MOUNTS = served()
BY_NAME = {info.spec.name: info for info in INFOS}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """Its elements; fails where tags are not closed in order."""

    elements: list[Element] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "wbr"):
            self._open.append(self.elements[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def close(self) -> None:
        super().close()
        assert not self._open

    def all(self, tag: str, **attributes: str) -> list[Element]:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [one for one in self.elements if one.tag == tag and wanted.items() <= one.attributes.items()]


@pytest.fixture(scope="module")
def page() -> Page:
    found = Page()
    found.feed(docs(INFOS, MOUNTS, title=HOSTILE, version="v3"))
    found.close()
    return found


def test_nothing_runs_or_comes_from_elsewhere(page: Page) -> None:
    for element in page.elements:
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href", "action"):
            target = element.attributes.get(name) or ""
            assert "//" not in target, "all of it comes from here"
    assert [one.attributes["src"] for one in page.all("script")] == ["docs/script.js"]
    assert all(not one.text for one in page.all("script"))
    assert not page.all("style")


def test_what_users_wrote_is_text(page: Page) -> None:
    assert page.all("h1")[0].text == HOSTILE
    assert any(one.text == HOSTILE for one in page.all("p", class_="title"))


def test_every_endpoint_can_be_jumped_to_and_names_are_told_once(page: Page) -> None:
    ids = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    assert len(set(ids)) == len(ids)
    jumps = [one.attributes["href"] for one in page.all("a") if (one.attributes["href"] or "").startswith("#")]
    assert len(jumps) == len(INFOS)
    assert {jump and jump[1:] for jump in jumps} <= set(ids)
    for name in ("aria-labelledby", "aria-describedby", "for"):
        assert {one.attributes[name] for one in page.elements if name in one.attributes} <= set(ids)


def test_every_input_has_a_label_and_forms_wait_for_the_script(page: Page) -> None:
    labelled = {one.attributes["for"] for one in page.all("label")}
    assert {one.attributes["id"] for one in page.all("input") + page.all("textarea")} == labelled
    assert len(page.all("form", class_="try")) == len(INFOS)
    assert all("hidden" in one.attributes for one in page.all("form"))


def test_what_scrolls_can_be_scrolled_by_keys(page: Page) -> None:
    assert all(one.attributes.get("tabindex") == "0" for one in page.all("pre") + page.all("div", class_="wide"))


def test_an_endpoint_is_told_in_words(page: Page) -> None:
    (section,) = page.all("section", id="at-predict")
    words = " ".join(section.text.split())
    for told in (
        "GETPOST/predict",
        "Which blob a point belongs to.",
        "Answers within 100 ms; when that fails, with the last good answer to the same input, else a declared default.",
        "A token is needed, except on the server's own machine.",
        "Answers are logged, kept for 90 days.",
        "Bodies up to 16 MiB.",
    ):
        assert told in words
    assert "Public: no token is needed." in page.all("section", id="at-rank-user")[0].text


def test_mounted_apps_are_linked(page: Page) -> None:
    assert page.all("a", href="./tools")


def test_what_is_sent() -> None:
    found = pages(INFOS, MOUNTS, title="shop", version="v3")
    assert set(found) == {"/docs", "/docs/style.css", "/docs/script.js", "/openapi.json"}
    for path, (headers, body) in found.items():
        sent = dict(headers)
        assert int(sent[b"content-length"]) == len(body)
        assert sent[b"x-content-type-options"] == b"nosniff"
        policy = sent[b"content-security-policy"].decode()
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert len(body) > 1000, path
    assert dict(found["/docs/script.js"].headers)[b"content-type"].startswith(b"text/javascript")
    assert json.loads(found["/openapi.json"].body)["openapi"] == "3.1.0"


# Words


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "anything"),
        ({"type": "number"}, "number"),
        ({"type": "number", "minimum": 0.0, "maximum": 10}, "number, from 0 to 10"),
        ({"type": "integer", "exclusiveMinimum": 0}, "whole number, above 0"),
        ({"type": "string", "format": "date-time"}, "date and time"),
        ({"type": "string", "maxLength": 5, "pattern": "^a"}, "text, at most 5 characters, like ^a"),
        ({"type": ["string", "null"]}, "text or null"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "number or null"),
        ({"enum": ["a", 1, None]}, '"a" | 1 | null'),
        ({"const": "cat"}, '"cat"'),
        ({"type": "array", "items": {"$ref": "#/$defs/Item"}}, "list of Item"),
        ({"type": "array"}, "list"),
        ({"type": "object"}, "object"),
        ({"$ref": "#/$defs/Loop"}, "anything"),
    ],
)
def test_types_in_words(schema: dict[str, Any], words: str) -> None:
    definitions = {"Item": {"title": "Item", "type": "object"}, "Loop": {"$ref": "#/$defs/Loop"}}
    assert type_words(schema, definitions) == words


def rows(name: str) -> dict[str, tuple[str, bool, str | None]]:
    return {row.name: (row.type, row.required, row.default) for row in rows_of(BY_NAME[name])}


def test_fields_of_a_request() -> None:
    assert rows("predict") == {"feature": ("number", True, None), "kind": ('"a" | "b"', False, '"a"')}
    assert rows("rank") == {
        "user": ("text", True, None),
        "body": ("list of Item", True, None),
        "[].id": ("text", True, None),
        "[].price": ("number or null", False, "null"),
        "[].tags": ("list of text", False, "[]"),
    }
    assert rows("now") == {}


def test_fields_inside_an_object_and_no_end_of_one_that_holds_itself() -> None:
    found = rows("match")
    assert found["budgets[].amount"] == ("number, from 0", True, None)
    assert "parent.parent.budgets" in found
    assert len(found) < 30
    (about,) = [row.description for row in rows_of(BY_NAME["match"]) if row.name == "budgets[].name"]
    assert about == "Whose money it is."


def test_commands_can_be_pasted() -> None:
    words = shlex.split(curl_example(BY_NAME["predict"], "http://here").replace("\\\n", " "))
    assert words[:2] == ["curl", "http://here/predict?feature=1.5&kind=a"]
    assert words[2:] == ["-H", "Authorization: Bearer $TOKEN"]
    words = shlex.split(curl_example(BY_NAME["rank"], "http://here").replace("\\\n", " "))
    assert words[:4] == ["curl", "http://here/rank/user", "-H", "Content-Type: application/json"]
    assert json.loads(words[5]) == BY_NAME["rank"].schema["examples"]["request"]


@pytest.mark.parametrize("name", BY_NAME)
def test_python_that_is_shown_asks_what_curl_asks(name: str) -> None:
    """It is run, with a stand-in for requests that notes what it is asked."""
    asked: dict[str, Any] = {}

    class Response:
        headers = {"Bursty-Answer": "fresh"}  # noqa: RUF012

        def raise_for_status(self) -> None: ...

        def json(self) -> str:
            return "fine"

    class Requests:
        def get(self, url: str, **given: Any) -> Response:
            asked.update(given, url=url, method="GET")
            return Response()

        def post(self, url: str, **given: Any) -> Response:
            asked.update(given, url=url, method="POST")
            return Response()

    info = BY_NAME[name]
    code = python_example(info, "http://here").replace("import requests\n", "")
    exec(compile(code, name, "exec"), {"requests": Requests(), "token": "bst_x", "print": lambda *_: None})
    words = shlex.split(curl_example(info, "http://here").replace("\\\n", " "))
    assert words[1].partition("?")[0] == asked["url"]
    if "-d" in words:
        assert json.loads(words[words.index("-d") + 1]) == asked["json"]
    else:
        assert asked["method"] == "GET"
    assert ("headers" in asked) == (info.spec.auth != "public")


@pytest.mark.parametrize("value", [None, True, "ü\n", [], {}, {"a": [1.5, None, {"b": "x" * 100}]}, [[1] * 100]])
def test_laid_out_is_the_same_value(value: Any) -> None:
    assert json.loads(laid_out(value)) == value
    assert eval(laid_out(value, python=True)) == value
    assert not re.search(r" $", laid_out(value), re.MULTILINE)
