"""Parts of the OpenAPI document that are the same for all: headers, problems, the server's own paths. And words."""

from __future__ import annotations

from typing import Any, Final

from bursty.endpoints import Default, EndpointSpec

Json = dict[str, Any]

ABOUT = (
    "Every answer says where it comes from (`Bursty-Answer`) and what its request is called (`X-Request-Id`). "
    "What has no answer is a problem (RFC 9457)."
)
TAGS: Final[list[Json]] = [{"name": "server", "description": "What every server has."}]
FAILED_ITEM: Final = {"error": {"message": "must be a number, not text"}}
ITEM_WORDS: Final = {
    "aligned": "Each element of the list is judged by itself: in its place stands its value, or what was wrong with "
    "it, as `error`.",
    "joined": "Each element of a list is judged by itself: behind the values stands an `error` for each that was left "
    "out.",
    "wrapped": "Each element of a list is judged by itself: beside `result`, `errors` tells what was left out.",
    "plain": "",
}
_FALLBACKS: Final = {
    "last_good": "the last good answer to the same input",
    "last_good_any": "its last good answer to anybody",
}
ANSWER_HEADERS: Final = ("Bursty-Answer", "Bursty-Prediction", "Bursty-Items", "X-Request-Id")


def fallback_words(spec: EndpointSpec) -> str:
    """What comes when an answer is not in time: the end of a sentence."""
    each = any(isinstance(one, Default) and one.each for one in spec.fallback)
    words = [_FALLBACKS[one] for one in spec.fallback if not isinstance(one, Default)]
    if any(isinstance(one, Default) for one in spec.fallback):
        words.append("a declared default for each item" if each else "a declared default")
    if not words:
        return "; later than that, the answer is the problem 504"
    return f"; when that fails, with {', else '.join(words)}"


def _text(description: str, example: str, **more: Any) -> Json:
    return {"description": description, "schema": {"type": "string", **more}, "example": example}


HEADERS: Final[Json] = {
    "Bursty-Answer": _text(
        "Where the answer comes from: computed for this request, remembered, declared in advance, or some items of "
        "each.",
        "fresh",
        enum=["fresh", "cached", "default", "mixed"],
    ),
    "Bursty-Prediction": _text(
        "What the answer is called in the log, and for `/labels`; of a list, `/` and the position come behind it.",
        "0197a3c4-5d6e-7f80-91a2-b3c4d5e6f708",
    ),
    "Bursty-Items": _text("Of a mixed answer: which items come from where.", "0-999 fresh, 1000-1999 default"),
    "X-Request-Id": _text("What the request is called in logs.", "0197a3c4-5d6e-7f80-91a2-b3c4d5e6f708"),
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}, "example": 1},
    "WWW-Authenticate": _text("What is wanted.", 'Bearer realm="bursty"'),
}
PARAMETERS: Final[Json] = {
    "Deadline": {
        "name": "Bursty-Deadline-Ms",
        "in": "header",
        "required": False,
        "description": "Answer within so many milliseconds; never later than the endpoint's own deadline.",
        "schema": {"type": "number", "minimum": 1},
    }
}
SECURITY: Final[Json] = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "Made by `bursty tokens create`. Not needed on the server's own machine.",
    }
}
SCHEMAS: Final[dict[str, Json]] = {
    "Problem": {
        "type": "object",
        "description": "Why there is no answer (RFC 9457).",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string", "description": "A name for programs, such as `urn:bursty:late`."},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What was wrong with this request."},
            "hint": {"type": "string", "description": "What to do about it."},
            "errors": {
                "type": "array",
                "description": "What does not fit, field by field.",
                "items": {
                    "type": "object",
                    "required": ["message"],
                    "properties": {
                        "pointer": {"type": "string", "description": "JSON pointer into the request."},
                        "message": {"type": "string"},
                        "value": {"description": "What was given, shortened."},
                    },
                },
            },
            "request_id": {"type": "string"},
        },
    },
    "Label": {
        "type": "object",
        "description": "The truth for a prediction: by its id, or by its endpoint and the fields of its business key.",
        "required": ["y"],
        "properties": {
            "prediction_id": {"type": "string", "description": "What `Bursty-Prediction` said; of a list, `ID/0`."},
            "endpoint": {"type": "string", "description": "Whose business key the other fields make up."},
            "y": {"type": ["number", "boolean", "string"], "description": "The truth: a number, or yes and no."},
            "ts": {
                "description": "When it became known: an ISO time or milliseconds since the epoch; else now.",
                "type": ["string", "integer"],
            },
            "source": {"type": "string", "description": "Who says so."},
        },
    },
    "LabelReport": {
        "type": "object",
        "required": ["accepted", "unknown", "failed", "errors"],
        "properties": {
            "accepted": {"type": "integer", "description": "Labels of predictions that are there."},
            "unknown": {"type": "integer", "description": "Labels kept until their prediction comes."},
            "failed": {"type": "integer", "description": "Rows that say nothing that can be kept."},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["row", "message"],
                    "properties": {"row": {"type": "integer"}, "message": {"type": "string"}},
                },
            },
        },
    },
}
_PROBLEMS: Final = {
    400: "The request can't be read: its body is no JSON, say.",
    401: "No token, or none that counts.",
    403: "The token does not allow this.",
    408: "The request came too slowly.",
    413: "The body is too large.",
    415: "The body is no JSON, by its Content-Type.",
    422: "The request does not fit; `errors` tells where.",
    431: "The headers are too large.",
    500: "The endpoint failed.",
    503: "More is asked than can be answered in time, or the server is not ready.",
    504: "There was no answer in time.",
}
_PROBLEM_HEADERS: Final = {401: "WWW-Authenticate", 403: "WWW-Authenticate", 503: "Retry-After"}


def _problem(status: int, description: str) -> Json:
    names = [_PROBLEM_HEADERS[status]] if status in _PROBLEM_HEADERS else []
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    found = {"description": description, "content": {"application/problem+json": {"schema": _ref("Problem")}}}
    return {**found, "headers": headers} if headers else found


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _problems(*statuses: int) -> Json:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


RESPONSES: Final[Json] = {str(status): _problem(status, words) for status, words in _PROBLEMS.items()}


def security(scope: str, is_local: bool) -> list[Json]:
    """What a request must show; an empty alternative: nothing."""
    return [*([{}] if is_local else []), {"token": [scope]}]


def own_paths(is_local: bool) -> dict[str, Json]:
    """The server's own, by path."""
    labels = _own("labels", "Say what was true", _answer("What became of each row.", schema=_ref("LabelReport")))
    labels |= {
        "description": "Late, repeated and corrected labels are fine. Each row is judged by itself.",
        "requestBody": _LABELS,
        "security": security("labels", is_local),
    }
    labels["responses"] |= _problems(400, 401, 403, 408, 413, 415, 431, 500, 503)
    ready = _own("ready", "Whether it answers", _answer("It does."))
    ready["responses"]["503"] = _answer("It waits for workers, or shuts down.")
    metrics = _own("metrics", "Numbers for Prometheus", _answer("Text.", "text/plain", {"type": "string"}))
    metrics["security"] = security("metrics", is_local)
    metrics["responses"] |= _problems(401, 403)
    return {
        "/labels": {"post": labels},
        "/health": {"get": _own("health", "Whether it is alive", _answer("It is."))},
        "/ready": {"get": ready},
        "/metrics": {"get": metrics},
    }


def _own(name: str, summary: str, answer: Json) -> Json:
    return {
        "operationId": f"server_{name}",
        "summary": summary,
        "tags": ["server"],
        "security": [],
        "responses": {"200": answer},
    }


def _answer(description: str, media: str = "application/json", schema: Json | None = None) -> Json:
    return {"description": description, "content": {media: {"schema": schema or {"type": "object"}}}}


_LABELS: Final[Json] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"anyOf": [_ref("Label"), {"type": "array", "items": _ref("Label")}]},
            "example": [{"prediction_id": "0197a3c4-5d6e-7f80-91a2-b3c4d5e6f708", "y": 1}],
        },
        "text/csv": {
            "schema": {"type": "string"},
            "example": "prediction_id,y\n0197a3c4-5d6e-7f80-91a2-b3c4d5e6f708,1\n",
        },
    },
}
