"""Problem details (RFC 9457): what clients get instead of an answer. Bytes, made without any framework."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

MEDIA_TYPE = b"application/problem+json"
URN = "urn:bursty:"
LONGEST = 200
"""Characters of a client's own words that a problem repeats."""

Header = tuple[bytes, bytes]


class Problem(NamedTuple):
    """A response. ``headers``: with ``Content-Type`` and ``Content-Length``."""

    status: int
    headers: tuple[Header, ...]
    body: bytes

    def start(self, *more: Header) -> dict[str, Any]:
        """The ASGI message that begins the response."""
        return {"type": "http.response.start", "status": self.status, "headers": [*self.headers, *more]}


def problem(
    status: int,
    detail: str = "",
    hint: str = "",
    *,
    kind: str = "",
    title: str = "",
    request_id: str = "",
    errors: Sequence[Mapping[str, Any]] = (),
    headers: Iterable[Header] = (),
) -> Problem:
    """``detail``: what went wrong here; ``hint``: what to do about it. ``kind``: a word for programs, such as ``late``
    (the type ``urn:bursty:late``); without one the status says it all. ``errors``: field by field."""
    content: dict[str, Any] = {
        "type": URN + kind if kind else "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
    }
    more = {"detail": detail, "hint": hint, "errors": errors, "request_id": request_id}
    content |= {name: value for name, value in more.items() if value}
    body = msgspec.json.encode(content)
    length = b"%d" % len(body)
    return Problem(status, ((b"content-type", MEDIA_TYPE), (b"content-length", length), *headers), body)


def bad_request(detail: str, hint: str = "", **more: Any) -> Problem:
    return problem(400, detail, hint, **more)


def raised() -> Problem:
    """For clients who need not know what."""
    title = "The endpoint raised an error"
    return problem(500, "What it says is in the server's log.", kind="raised", title=title)


def unauthorized(detail: str, hint: str = "", *, invalid: bool = False, **more: Any) -> Problem:
    """``invalid``: a token was given, and is none that counts (RFC 6750 wants that told)."""
    challenge = b'Bearer realm="bursty"' + (b', error="invalid_token"' if invalid else b"")
    return problem(401, detail, hint, kind="token", headers=[(b"www-authenticate", challenge)], **more)


def forbidden(detail: str, hint: str = "", *, scope: str = "", **more: Any) -> Problem:
    """``scope``: what the token lacks."""
    challenge = f'Bearer realm="bursty", error="insufficient_scope", scope="{scope}"'.encode("ascii", "replace")
    headers = [(b"www-authenticate", challenge)] if scope else []
    return problem(403, detail, hint, kind="scope", headers=headers, **more)


def not_found(path: str, known: Iterable[str] = (), **more: Any) -> Problem:
    """``known``: paths that there are; close ones are named."""
    close = difflib.get_close_matches(path[:LONGEST], list(known)[:LONGEST], 3, 0.6)
    hint = f"Did you mean {' or '.join(close)}?" if close else "GET /docs shows what there is."
    return problem(404, f"there is nothing at {shown(path)}", hint, **more)


def method_not_allowed(method: str, allowed: Iterable[str], **more: Any) -> Problem:
    methods = ", ".join(sorted(allowed))
    headers = [(b"allow", methods.encode("ascii"))]
    return problem(405, f"{shown(method)} is not possible here", f"Possible: {methods}.", headers=headers, **more)


def too_slow(what: str, seconds: float, **more: Any) -> Problem:
    """408. ``what``: was awaited from the client."""
    return problem(408, f"{what} did not come within {seconds:g} s", headers=[(b"connection", b"close")], **more)


def body_too_large(limit: int, **more: Any) -> Problem:
    """``limit``: bytes."""
    hint = "Send it in several requests, or ask for a larger max_body= of the endpoint."
    return problem(413, f"the body is larger than {limit:,} bytes", hint, kind="body", **more)


def unsupported_media(given: str, taken: str = "application/json", **more: Any) -> Problem:
    """``given``: the Content-Type of the request."""
    detail = f"the body's Content-Type is {shown(given)}" if given else "the request has no Content-Type"
    return problem(415, detail, f"Send {taken}.", headers=[(b"accept", taken.encode("ascii"))], **more)


def header_too_large(detail: str, **more: Any) -> Problem:
    return problem(431, detail, headers=[(b"connection", b"close")], **more)


def overloaded(retry_after: float, detail: str = "more is asked than can be answered in time", **more: Any) -> Problem:
    """503. ``retry_after``: seconds from when on a request is welcome again."""
    after = max(math.ceil(retry_after), 1)
    headers = [(b"retry-after", b"%d" % after), *more.pop("headers", ())]
    return problem(503, detail, f"Try again in {after} s.", kind="overloaded", headers=headers, **more)


def too_late(deadline: float, detail: str = "", **more: Any) -> Problem:
    """504. ``deadline``: seconds."""
    return problem(504, detail or f"no answer within {deadline * 1e3:g} ms", kind="late", title="Too late", **more)


def shown(text: str) -> str:
    """A client's own words, cut, and fit for JSON."""
    cut = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return cut.encode("utf-8", "replace").decode()
