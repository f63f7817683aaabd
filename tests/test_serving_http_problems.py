"""Problem details: what clients get instead of an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bursty.serving import problems
from bursty.serving.problems import Problem

INVALID = b'Bearer realm="bursty", error="invalid_token"'


def body(problem: Problem) -> dict[str, Any]:
    headers = dict(problem.headers)
    assert headers[b"content-type"] == b"application/problem+json"
    assert int(headers[b"content-length"]) == len(problem.body)
    found = json.loads(problem.body)
    assert found["status"] == problem.status
    return found


def test_what_is_not_known_is_left_out() -> None:
    assert body(problems.problem(500)) == {"type": "about:blank", "title": "Internal Server Error", "status": 500}


def test_all_of_it() -> None:
    found = problems.problem(
        422, "no", "yes", kind="invalid", title="T", request_id="7", errors=[{"message": "m"}], headers=[(b"a", b"b")]
    )
    assert body(found) == {
        "type": "urn:bursty:invalid",
        "title": "T",
        "status": 422,
        "detail": "no",
        "hint": "yes",
        "errors": [{"message": "m"}],
        "request_id": "7",
    }
    start = found.start((b"x-request-id", b"7"))
    assert start["status"] == 422
    assert start["headers"][-2:] == [(b"a", b"b"), (b"x-request-id", b"7")]


@pytest.mark.parametrize(
    ("problem", "status", "header"),
    [
        (problems.bad_request("x"), 400, None),
        (problems.unauthorized("x"), 401, (b"www-authenticate", b'Bearer realm="bursty"')),
        (problems.unauthorized("x", invalid=True), 401, (b"www-authenticate", INVALID)),
        (problems.forbidden("x"), 403, None),
        (problems.not_found("/x"), 404, None),
        (problems.method_not_allowed("PUT", {"POST", "GET"}), 405, (b"allow", b"GET, POST")),
        (problems.too_slow("x", 3), 408, (b"connection", b"close")),
        (problems.body_too_large(1 << 20), 413, None),
        (problems.unsupported_media("text/html"), 415, (b"accept", b"application/json")),
        (problems.header_too_large("x"), 431, (b"connection", b"close")),
        (problems.overloaded(0.01), 503, (b"retry-after", b"1")),
        (problems.overloaded(2.1), 503, (b"retry-after", b"3")),
        (problems.too_late(0.1), 504, None),
    ],
)  # fmt: skip
def test_each_status(problem: Problem, status: int, header: tuple[bytes, bytes] | None) -> None:
    assert body(problem)["status"] == status
    assert header is None or header in problem.headers


def test_close_paths_are_told() -> None:
    assert "/predict" in body(problems.not_found("/predcit", ["/predict", "/health"]))["hint"]
    assert "/docs" in body(problems.not_found("/zzz", ["/predict"]))["hint"]


def test_what_clients_say_is_cut_and_cleaned() -> None:
    detail = body(problems.not_found("/" + "x" * 10_000 + "\udcff"))["detail"]
    assert len(detail) < 300
    assert "?" in body(problems.unsupported_media("text/\udcff"))["detail"]


def test_times_in_words() -> None:
    assert body(problems.too_late(0.1))["detail"] == "no answer within 100 ms"
    assert body(problems.body_too_large(16 << 20))["detail"] == "the body is larger than 16,777,216 bytes"
