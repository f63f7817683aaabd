"""Frozen value objects: what travels between the parts. Standard library only, for workers import this."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Env:
    """What a function needs around it: a Python version, requirements and files. Its identity is a content hash.

    ``requirements``: path of a requirements file, or the requirements themselves (PEP 508).
    ``python``: a minor version such as ``"3.12"``; ``None`` means the one that runs bursty.
    ``files``: paths of files or folders that the function reads; they lie in its working folder.

    Declaring does no I/O: paths are read when the Env is first used.
    """

    requirements: str | tuple[str, ...] = ()
    python: str | None = None
    files: tuple[str, ...] = ()

    def __init__(
        self, requirements: str | Sequence[str] = (), *, python: str | None = None, files: Sequence[str] = ()
    ) -> None:
        object.__setattr__(self, "requirements", requirements if isinstance(requirements, str) else tuple(requirements))
        object.__setattr__(self, "python", python)
        object.__setattr__(self, "files", tuple(files))


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """A function's name and what it asks for. ``None`` means: as the executor or the backend has it.

    ``memory``: bytes a worker may use. ``cpu``: cores. ``gpu``: devices. ``timeout``: seconds a call may take.
    ``retries``: how often a failed call is tried again. ``idempotent``: ``False``: never run twice by itself;
    ``True``: a slow call may be doubled on an idle worker; ``None``: run again only when its worker was lost.
    """

    name: str
    module: str = ""
    qualname: str = ""
    memory: int | None = None
    cpu: float | None = None
    gpu: int | None = None
    timeout: float | None = None
    retries: int | None = None
    idempotent: bool | None = None
    env: Env | None = None


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """When a job runs by itself: ``cron`` (five fields) in time zone ``tz``, or ``every`` so many seconds.

    ``missed``: fires that passed while no scheduler ran: ``once`` (the newest of them runs), ``skip`` or ``all``.
    ``overlap``: when the run before is not over: ``skip`` this fire, ``queue`` it, or ``replace`` (cancel the other).
    ``inputs``: the job's inputs at each fire.
    """

    cron: str | None = None
    every: float | None = None
    tz: str = "UTC"
    missed: Literal["once", "skip", "all"] = "once"
    overlap: Literal["skip", "queue", "replace"] = "skip"
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job: a function with a form, run on request or by ``schedules``.

    ``function``: its name, place, resources. ``timeout`` and ``retries`` in it count for an attempt.
    ``priority``: higher goes first. ``notify``: the ends that people are told of.
    """

    function: FunctionSpec
    title: str = ""
    description: str = ""
    priority: int = 0
    notify: tuple[str, ...] = ("failed", "timed_out", "lost")
    schedules: tuple[ScheduleSpec, ...] = ()

    @property
    def name(self) -> str:
        return self.function.name


@dataclass(frozen=True, slots=True)
class Ref:
    """A part that lies in the blob store: ``digest`` is the SHA-256 of its content (hex), ``size`` its bytes."""

    digest: str
    size: int


Part: TypeAlias = Buffer | Ref
"""A piece of a value: its bytes, or where they lie."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A value as bytes: ``parts[0]`` is a protocol 5 pickle, the rest its out-of-band buffers in order."""

    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        return sum(part.size if isinstance(part, Ref) else memoryview(part).nbytes for part in self.parts)


@dataclass(frozen=True, slots=True)
class Frame:
    """A message between engine and worker: a small JSON object, and parts that nobody on the way opens."""

    meta: Mapping[str, Any]
    parts: Sequence[Buffer] = ()


class Layout(enum.StrEnum):
    """How the arguments of an invocation's calls are laid out."""

    ITEMS = "items"
    """One pickle: a list with the single positional argument of each call, all plain immutable values."""
    TUPLES = "tuples"
    """One pickle: a list with the positional arguments of each call, all plain immutable values."""
    EACH = "each"
    """A payload for each call: a pickle of (args, kwargs), so that calls share no mutable object."""
    REQUESTS = "requests"
    """For endpoints: each payload is a request as bytes, each value an answer as bytes. See ``core.answers``."""


@dataclass(frozen=True, slots=True)
class Call:
    """One application of a function: its payload, and the payloads of calls whose futures are among its arguments.

    ``shown``: the arguments in words, for errors; it does not travel with the call.
    """

    payload: Payload
    slots: tuple[Payload, ...] = ()
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One request to one worker: calls ``seq`` to ``seq + count - 1`` of one function.

    ``seq`` numbers the calls that a worker is given, so that marks in shared memory and revocations need no name.
    ``function``: SHA-256 of ``code``. ``code``: the pickled function; ``None`` when this worker has it already.
    ``packed``: the pickled list of arguments (layouts ITEMS and TUPLES); ``calls``: the arguments (layout EACH).
    ``label``: the function's name, for captured output and errors.
    """

    seq: int
    count: int
    function: str
    label: str
    layout: Layout
    code: Payload | None = None
    packed: Buffer = b""
    calls: tuple[Call, ...] = ()
    depth: int = 0


class Status(enum.IntEnum):
    OK = 0
    """The payload is the value."""
    ERROR = 1
    """The call raised. ``parts[0]`` is JSON (type, message, traceback, notes), ``parts[1]`` the pickled exception
    or b''.
    """


@dataclass(frozen=True, slots=True)
class CallStats:
    """Times are seconds since the epoch; ``None``: not reached.

    ``submitted``: the call was made; ``queued``: it was sent to a worker; ``started`` and ``finished``: on the worker;
    ``done``: its outcome came back. ``cpu``: CPU seconds of the worker process during the call. ``memory``: the worker
    process's high-water mark in bytes at that time, not the call's own use. ``attempt`` counts from 1.
    """

    submitted: float | None = None
    queued: float | None = None
    started: float | None = None
    finished: float | None = None
    done: float | None = None
    cpu: float | None = None
    memory: int | None = None
    worker: str | None = None
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call gave. ``started`` is seconds since the epoch, ``wall`` and ``cpu`` are seconds."""

    seq: int
    status: Status
    payload: Payload
    started: float
    wall: float
    cpu: float
    memory: int


LossKind: TypeAlias = Literal["exit", "signal", "memory", "timeout", "cancelled", "start", "closed", "machine"]


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a worker is gone.

    ``exit``: it ended by itself (``code``); ``signal``: killed by ``code``; ``memory``: over ``limit`` bytes;
    ``timeout``: a call took longer than ``limit`` seconds; ``cancelled``: killed for a cancelled call; ``start``: it
    never came up (``detail``); ``closed``: we closed it; ``machine``: its node or connection went away.
    ``output``: the last lines that it wrote to stderr.
    """

    kind: LossKind
    code: int | None = None
    limit: float | None = None
    detail: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What kind of worker: Env, memory limit in bytes, depth of nesting, variables.

    ``version``: digest of the version whose code it runs; ``None``: the code as it lies on the client.
    ``preload``: modules that are worth importing before workers are forked; a hint, so it makes no other kind.
    """

    env: Env | None = None
    memory: int | None = None
    depth: int = 0
    variables: tuple[tuple[str, str], ...] = ()
    preload: tuple[str, ...] = field(default=(), compare=False)
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """What a worker does now: the call ``seq`` that it runs since ``started`` (monotonic seconds), or nothing."""

    seq: int | None = None
    started: float = 0.0


# Events: what a backend reports of its workers.


@dataclass(frozen=True, slots=True)
class Batch:
    """Outcomes of calls that gave small values, in columns: this is the hot path.

    ``values``: pickles, or the values themselves where they are plain numbers. ``offset`` turns the worker's monotonic
    times in ``started`` into seconds since the epoch.
    """

    worker: int
    seqs: Sequence[int]
    started: list[float]
    wall: list[float]
    cpu: list[float]
    values: Sequence[Buffer | int | float]
    offset: float
    memory: int


@dataclass(frozen=True, slots=True)
class Answered:
    """One outcome with parts of its own: large, or an error."""

    worker: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Ended:
    """The worker is through with an invocation: it ran the calls before ``stopped`` and none from there on."""

    worker: int
    seq: int
    stopped: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker is gone. ``running``: the call it ran then; ``None`` when it ran none or nobody knows."""

    worker: int
    loss: Loss
    running: int | None


@dataclass(frozen=True, slots=True)
class Output:
    """Text that call ``seq`` wrote (``None``: between calls). ``stream`` is ``stdout`` or ``stderr``."""

    worker: int
    seq: int | None
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Child code asks its host for something: see ports.Host."""

    worker: int
    frame: Frame


Event: TypeAlias = Batch | Answered | Ended | Lost | Output | Asked


@dataclass(frozen=True, slots=True)
class BackendTraits:
    """What the engine must know of a backend to decide for it.

    ``workers``: how many may live at once. ``in_flight``: invocations that a worker holds (one runs, others wait
    there). ``batch_seconds``: how much work an invocation should carry. ``max_bytes``: largest invocation.
    ``spill_bytes``: parts from here on go to the blob store. ``can_kill``: a running call can be stopped.
    ``names_culprit``: a lost worker's running call is known.
    """

    workers: int
    in_flight: int = 2
    batch_seconds: float = 0.05
    max_bytes: int = 8 << 20
    spill_bytes: int = 4 << 20
    can_kill: bool = True
    names_culprit: bool = True
