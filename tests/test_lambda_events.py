"""Events of Lambda as requests, and answers as Lambda wants them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.errors import ConfigError
from bursty.serving.lambda_events import MAX_RESPONSE, request_of, response_of

JSON = [(b"content-type", b"application/json")]


def event(path: str = "/predict", *, stage: str = "$default", method: str = "POST", **more: Any) -> dict[str, Any]:
    http = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"}
    context = {"stage": stage, "domainName": "api.example.com", "http": http, "timeEpoch": 1_583_348_638_390}
    return {"version": "2.0", "rawPath": path, "rawQueryString": "", "requestContext": context, **more}


def test_an_event_as_a_request() -> None:
    headers = {"content-type": "application/json", "x-forwarded-proto": "https", "host": "api.example.com"}
    scope, body, at = request_of(
        event("/a%20b", rawQueryString="q=1&q=%C3%BC", headers=headers, body="{}", cookies=["a=1", "b=2"])
    )
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("POST", "/a b", b"/a%20b")
    assert (scope["query_string"], body, at) == (b"q=1&q=%C3%BC", b"{}", 1_583_348_638.390)
    assert (scope["scheme"], scope["server"], scope["client"]) == (
        "https",
        ("api.example.com", 443),
        ("203.0.113.7", 0),
    )
    assert (b"cookie", b"a=1; b=2") in scope["headers"]
    assert (b"content-type", b"application/json") in scope["headers"]


def test_bodies_are_text_or_base64() -> None:
    assert request_of(event(body="ü")).body == "ü".encode()
    assert request_of(event(body=base64.b64encode(b"\xff\0").decode(), isBase64Encoded=True)).body == b"\xff\0"
    assert request_of(event()).body == b""
    with pytest.raises(ConfigError, match="base64"):
        request_of(event(body="x", isBase64Encoded=True))


@pytest.mark.parametrize(
    ("stage", "path", "root", "found"),
    [
        ("$default", "/prod/x", "", "/prod/x"),
        ("prod", "/prod/x", "/prod", "/x"),
        ("prod", "/prod", "/prod", "/"),
        ("prod", "/product", "", "/product"),  # a domain of one's own, mapped to the stage
        ("prod", "/x", "", "/x"),
    ],
)
def test_the_name_of_a_stage_is_no_part_of_the_path(stage: str, path: str, root: str, found: str) -> None:
    scope = request_of(event(path, stage=stage)).scope
    assert (scope["root_path"], scope["path"]) == (root, found)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "no HTTP request: it has nothing"),
        ({"endpoint": "predict", "body": 1}, "no HTTP request: it has body, endpoint"),
        ({"source": "aws.events", "detail-type": "Scheduled Event"}, "no HTTP request: it has detail-type, source"),
        ({"httpMethod": "GET", "path": "/", "requestContext": {"stage": "prod"}}, "payload format 1.0"),
        ({"requestContext": {"connectionId": "L0SM9cOFvHcCIhw=", "eventType": "CONNECT"}}, "WebSocket"),
        ({"rawPath": 1, "requestContext": {"http": {}}}, "no HTTP request"),
        ([1], "no HTTP request"),
        ("text", "no HTTP request"),
        (None, "no HTTP request"),
    ],
)
def test_what_is_no_request_is_said(given: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        request_of(given)


NAMES = st.sampled_from(["rawPath", "requestContext", "http", "headers", "body", "stage", "cookies", "timeEpoch"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES | st.text(), inner),
)


@given(ANYTHING, NAMES)
def test_no_event_is_a_surprise(content: Any, name: str) -> None:
    for one in (content, event(**{name: content})):
        try:
            request_of(one)
        except ConfigError:
            continue


def test_an_answer_as_lambda_wants_it() -> None:
    headers = [*JSON, (b"vary", b"a"), (b"Vary", b"b"), (b"set-cookie", b"x=1"), (b"set-cookie", b"y=2")]
    assert response_of(200, headers, '"ü"'.encode()) == {
        "statusCode": 200,
        "headers": {"content-type": "application/json", "vary": "a, b"},
        "cookies": ["x=1", "y=2"],
        "body": '"ü"',
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([(b"content-type", b"image/png")], b"\x89PNG"),
        ([(b"content-type", b"text/plain; charset=latin-1")], "ü".encode("latin-1")),
        ([*JSON, (b"content-encoding", b"gzip")], b"\x1f\x8b"),
        ([], b"abc"),
    ],
)
def test_bytes_travel_as_base64(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    found = response_of(200, headers, body)
    assert found["isBase64Encoded"]
    assert base64.b64decode(found["body"]) == body


@pytest.mark.parametrize("character", ["x", "ü", "😀", '"', "\0"])
@pytest.mark.parametrize("megabytes", [0.4, 1, 3, 4.4, 5.9, 7])
def test_an_answer_that_lambda_could_not_return_is_a_problem(character: str, megabytes: float) -> None:
    """As it travels it is never too large; and it is refused only when there is no way to write it down."""
    body = (character * int(megabytes * (1 << 20) / len(character.encode()))).encode()
    found = response_of(200, [(b"content-type", b"text/plain"), (b"x-request-id", b"1")], body)
    assert len(json.dumps(found)) <= MAX_RESPONSE
    assert found["headers"]["x-request-id"] == "1"
    if found["statusCode"] == 200:
        told = found["body"]
        assert (base64.b64decode(told) if found["isBase64Encoded"] else told.encode()) == body
    else:
        assert (found["statusCode"], found["headers"]["content-type"]) == (413, "application/problem+json")
        assert len(body) * 4 / 3 > MAX_RESPONSE - 10_000
        assert len(json.dumps(body.decode())) > MAX_RESPONSE - 10_000
