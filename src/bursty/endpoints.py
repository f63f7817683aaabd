"""Frozen value objects of serving: what an endpoint is, what it answers, what is remembered of its answers."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from bursty.values import FunctionSpec

DAY = 86400.0

LastGood: TypeAlias = Literal["last_good", "last_good_any"]
Auth: TypeAlias = Literal["token", "public"]


@dataclass(frozen=True, slots=True)
class Default:
    """A declared fallback: what is answered when nothing better is at hand. ``value``: anything that JSON can hold.

    ``each``: it stands for every item of a list endpoint; otherwise it is the whole answer.
    """

    value: Any
    each: bool = False


Fallback: TypeAlias = LastGood | Default


@dataclass(frozen=True, slots=True)
class Batching:
    """Requests that wait are scored together, at most ``size`` of them.

    They gather while the workers are busy. ``wait``: so many seconds at most the first of them waits for others, and
    only while fewer are there than usual, and never for longer than half of what a batch usually takes: a client
    that is alone is not kept waiting. 0 waits for nobody.
    """

    size: int = 64
    wait: float = 0.005


@dataclass(frozen=True, slots=True)
class Log:
    """What is kept of each answer.

    ``inputs``: keep what was asked. ``redact``: fields of inputs that are left out, at any depth. ``key``: fields (of
    the answer, else of the input) that make up the business key by which labels find the prediction. ``score``,
    ``decision``, ``threshold``: fields of an answer; ``threshold`` may be a number. ``keep``: seconds.
    """

    inputs: bool = True
    redact: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    score: str = "score"
    decision: str = "decision"
    threshold: str | float = "threshold"
    keep: float = 90 * DAY

    def __post_init__(self) -> None:
        """One name may be given as it is; else it would be taken for its letters."""
        for field in ("redact", "key"):
            given = getattr(self, field)
            object.__setattr__(self, field, (given,) if isinstance(given, str) else tuple(given))


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """A function or class behind HTTP. Times in seconds.

    ``function``: its name, place and resources; its ``timeout`` is the hard limit, after which its worker is killed.
    ``deadline``: from arrival to answer. ``fallback``: tried in order. ``concurrency``: workers that score at once
    (``None``: one a core); ``spares``: warm ones beside them. ``cache_ttl``: how old an answer may be that is given as
    a fallback. ``max_body``: bytes. ``chunk``: a longer list is shared out among workers in pieces of so many items.
    """

    function: FunctionSpec
    path: str
    deadline: float
    fallback: tuple[Fallback, ...] = ()
    batch: Batching | None = None
    concurrency: int | None = None
    spares: int = 1
    cache_ttl: float = DAY
    auth: Auth = "token"
    log: Log | None = Log()
    max_body: int = 16 << 20
    chunk: int = 2_000
    title: str = ""
    description: str = ""

    @property
    def name(self) -> str:
        return self.function.name


@dataclass(frozen=True, slots=True)
class MountSpec:
    """A web app of the user's under ``path``, in processes of its own.

    ``kind``: how it is spoken to. ``processes``: how many; ``threads``: requests that one process of a WSGI app works
    on at once. ``function``: its name and resources.
    """

    function: FunctionSpec
    path: str
    kind: Literal["wsgi", "asgi"]
    processes: int = 1
    threads: int = 8
    auth: Auth = "token"

    @property
    def name(self) -> str:
        return self.function.name


class AnswerKind(enum.StrEnum):
    """Where an answer comes from: the header ``Bursty-Answer``."""

    FRESH = "fresh"
    CACHED = "cached"
    DEFAULT = "default"
    MIXED = "mixed"
    """Some items of a list are fresh, others a fallback."""
    NONE = "none"
    """No answer but a problem: shed, too late, or failed."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One logged answer: of a request, or of one item of a list.

    ``id``: the request's id, ``/`` and the position in the list, if it is of one. ``ts_ms``: when the request arrived,
    milliseconds since the epoch. ``version``: of the app, and of the models behind ``+``. ``decision``: JSON text.
    ``matched``: the business key, ``name=value`` joined by ``&``. ``latency_ms``: of the request. ``error``: why there
    is no value, or none but a fallback. ``input``: JSON text of what was asked, redacted.
    """

    id: str
    ts_ms: int
    endpoint: str
    version: str
    score: float | None = None
    threshold: float | None = None
    decision: str | None = None
    matched: str | None = None
    latency_ms: float = 0.0
    answer: AnswerKind = AnswerKind.FRESH
    error: str | None = None
    input: str | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """The truth for a prediction, known later. ``y``: a number (0 and 1 for no and yes). ``source``: who says so.

    A prediction may have several, by time: the newest is what counts now.
    """

    prediction_id: str
    ts_ms: int
    y: float
    source: str = ""


@dataclass(frozen=True, slots=True)
class EndpointInfo:
    """An endpoint of a version, read from its stored description. ``schema``: see ``runtime.endpoint``."""

    app: str
    version: str
    target: str
    spec: EndpointSpec
    schema: Mapping[str, Any]
