"""Events of AWS Lambda as requests, and answers as Lambda wants them: API Gateway's HTTP APIs and function URLs, both
in payload format 2.0 (https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast
from urllib.parse import quote, unquote

import msgspec

from bursty.errors import ConfigError
from bursty.serving.problems import Header, problem

MAX_RESPONSE = 6 * 1024 * 1024
"""Bytes of JSON that a function may answer with
(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
MARGIN = 1000
LONGEST_ESCAPE = 12
"""Characters of JSON that one character may become."""
KEPT = frozenset((b"x-request-id", b"bursty-prediction"))
SAMPLE = '{"version": "2.0", "rawPath": "/predict", "requestContext": {"http": {"method": "POST"}}, "body": "{…}"}'
TEXTS = (b"text/", b"application/json", b"application/problem+json", b"application/javascript", b"application/xml")


class _Http(msgspec.Struct):
    method: str
    sourceIp: str | None = None  # noqa: N815 (their names)


class _Context(msgspec.Struct):
    http: _Http
    stage: str | None = None
    domainName: str | None = None  # noqa: N815
    timeEpoch: float | None = None  # noqa: N815


class _Event(msgspec.Struct):
    rawPath: str  # noqa: N815
    requestContext: _Context  # noqa: N815
    rawQueryString: str | None = None  # noqa: N815
    headers: dict[str, str] | None = None
    cookies: list[str] | None = None
    body: str | None = None
    isBase64Encoded: bool | None = None  # noqa: N815


class LambdaRequest(NamedTuple):
    """``scope``: as ASGI has it. ``at``: when it came to the gateway, seconds since the epoch; ``None``: not told."""

    scope: dict[str, Any]
    body: bytes
    at: float | None


def request_of(event: Any) -> LambdaRequest:
    """Raises ``ConfigError`` for what is no HTTP request in payload format 2.0."""
    try:
        read = msgspec.convert(event, _Event)
    except msgspec.ValidationError as error:
        raise _no_request(cast("dict[str, Any]", event) if isinstance(event, dict) else {}, str(error)) from None
    return LambdaRequest(
        _scope(read), _body(read), read.requestContext.timeEpoch and read.requestContext.timeEpoch / 1e3
    )


def _no_request(event: Mapping[str, Any], why: str) -> ConfigError:
    context: Any = event.get("requestContext")
    if isinstance(context, dict) and "connectionId" in context:
        return ConfigError("this is an event of a WebSocket", "WebSockets need bursty serve; on Lambda there is HTTP.")
    if "httpMethod" in event:
        what = "an HTTP request in payload format 1.0"
        return ConfigError(f"this event is {what}", "Use an HTTP API with payload format 2.0, or a function URL.")
    keys = ", ".join(sorted(event)[:8]) or "nothing"
    return ConfigError(f"this event is no HTTP request: it has {keys} ({why})", f"The least that will do: {SAMPLE}")


def _scope(event: _Event) -> dict[str, Any]:
    context, headers = event.requestContext, _headers(event)
    found = dict(headers)
    prefix, raw = _path(event.rawPath, context.stage or "")
    address = context.http.sourceIp
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": context.http.method.upper(),
        "scheme": found.get(b"x-forwarded-proto", b"https").decode("latin-1"),
        "server": (context.domainName or found.get(b"host", b"lambda").decode("latin-1"), 443),
        "client": (address, 0) if address else None,
        "root_path": prefix,
        "path": unquote(raw),
        "raw_path": raw.encode("ascii"),
        "query_string": (event.rawQueryString or "").encode("utf-8", "replace"),
        "headers": headers,
    }


def _path(raw: str, stage: str) -> tuple[str, str]:
    """An API's stage that has a name stands in front of the path; it, and what is behind it, percent-encoded."""
    path = quote(raw.encode("utf-8", "replace"), safe="/%:@!$&'()*+,;=~-._") or "/"
    prefix = f"/{stage}"
    if stage in ("", "$default") or not (path == prefix or path.startswith(prefix + "/")):
        return "", path
    return prefix, path[len(prefix) :] or "/"


def _headers(event: _Event) -> list[Header]:
    """Those that came several times are joined by commas already; cookies come apart."""
    found = [
        (name.lower().encode("latin-1", "replace"), _bytes(value)) for name, value in (event.headers or {}).items()
    ]
    if event.cookies:
        found = [header for header in found if header[0] != b"cookie"]
        found.append((b"cookie", _bytes("; ".join(event.cookies))))
    return found


def _bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _body(event: _Event) -> bytes:
    body = event.body or ""
    if not event.isBase64Encoded:
        return body.encode("utf-8", "replace")
    try:
        return base64.b64decode(body)
    except ValueError:
        raise ConfigError("the body of this event says that it is base64, and is not") from None


def response_of(status: int, headers: Sequence[Header], body: bytes) -> dict[str, Any]:
    """What the function returns. A body that is too large for Lambda becomes a problem."""
    told, is_binary = _told(headers, body)
    if len(told) + MARGIN > MAX_RESPONSE // LONGEST_ESCAPE and _size(told, headers) > MAX_RESPONSE:
        if not is_binary:  # much escaping in it
            told, is_binary = base64.b64encode(body).decode("ascii"), True
        if _size(told, headers) > MAX_RESPONSE:
            return _too_large(headers)
    plain, cookies = _joined(headers)
    response: dict[str, Any] = {
        "statusCode": status, "headers": plain, "body": told, "isBase64Encoded": is_binary
    }  # fmt: skip
    return {**response, "cookies": cookies} if cookies else response


def _told(headers: Sequence[Header], body: bytes) -> tuple[str, bool]:
    """The body as text, and whether it is base64."""
    kind = next((value for name, value in headers if name.lower() == b"content-type"), b"").lower()
    packed = any(name.lower() == b"content-encoding" for name, _ in headers)
    if not packed and (not body or kind.startswith(TEXTS)):
        try:
            return body.decode("utf-8"), False
        except UnicodeDecodeError:
            pass  # text of another encoding
    return base64.b64encode(body).decode("ascii"), True


def _size(told: str, headers: Sequence[Header]) -> int:
    """Bytes of the response as JSON, or a little more."""
    return len(json.dumps(told)) + sum(len(name) + len(value) + 8 for name, value in headers) + MARGIN


def _too_large(headers: Sequence[Header]) -> dict[str, Any]:
    detail = "the answer is larger than the 6 MB that Lambda can return"
    refusal = problem(413, detail, "Ask for less at once, such as fewer items.", kind="body")
    kept = [header for header in headers if header[0].lower() in KEPT]
    return response_of(refusal.status, [*refusal.headers, *kept], refusal.body)


def _joined(headers: Sequence[Header]) -> tuple[dict[str, str], list[str]]:
    """Each header once, and cookies apart: they can't be joined."""
    found: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key == "set-cookie":
            cookies.append(text)
        else:
            found[key] = f"{found[key]}, {text}" if key in found else text
    return found, cookies
