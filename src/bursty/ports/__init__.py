"""The ports: what the engine and the servers need from outside, as Protocols with their contract.

An adapter holds a port when it passes the port's conformance suite in ``tests/conformance``; ``bursty.testing`` has
fakes that do. ``wiring`` maps names and URLs to adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from bursty.changes import Change, EventDraft
    from bursty.records import Document, Notice, OutboxItem, Pending, RunQuery, RunRecord
    from bursty.records import Event as RunEvent
    from bursty.values import BackendTraits, Buffer, Env, Event, Frame, Invocation, LossKind, Mark, WorkerSpec


class Backend(Protocol):
    """Workers that run invocations. A backend carries frames and reports losses; it decides nothing.

    Not thread-safe but for ``wake``: the engine calls every other method under its own lock, ``poll`` from its driver
    thread without it. ``poll`` must therefore tolerate a concurrent ``send``.

    - Every invocation that was sent is followed by its outcomes and one ``Ended``, or by one ``Lost`` of its worker.
    - Events of one worker arrive in order. Outcomes that the worker finished before it was lost come before ``Lost``.
    - After ``Lost`` nothing more comes from that worker, and its number is not used again.
    - ``close`` leaves no process behind.
    """

    traits: BackendTraits

    def open(self, spec: WorkerSpec) -> int:
        """Begin to start a worker and return its number; invocations may be sent at once."""
        ...

    def send(self, worker: int, invocation: Invocation) -> None:
        """Queue an invocation on a worker. A worker that is already gone is reported by ``Lost``, not raised."""
        ...

    def tell(self, worker: int, frame: Frame) -> None:
        """Answer a question of child code (the Host protocol)."""
        ...

    def revoke(self, worker: int, seq: int | None) -> None:
        """Ask the worker not to start calls from ``seq`` on; ``None`` lifts that. The worker's ``Ended`` tells
        where it stopped.
        """
        ...

    def mark(self, worker: int) -> Mark:
        """What the worker does now."""
        ...

    def peek(self, worker: int) -> Sequence[Event]:
        """Outcomes that are finished but held back by a long call behind them, if any."""
        ...

    def kill(self, worker: int, kind: LossKind, limit: float | None = None) -> None:
        """Kill a worker; ``Lost`` with this kind follows. Without effect where ``traits.can_kill`` is false."""
        ...

    def retire(self, worker: int) -> None:
        """Let an idle worker go in good order; ``Lost`` with kind ``closed`` follows."""
        ...

    def poll(self, timeout: float | None) -> Sequence[Event]:
        """Wait at most ``timeout`` seconds (``None``: for ever) for events, or until ``wake``."""
        ...

    def wake(self) -> None:
        """Make a ``poll`` return, from any thread."""
        ...

    def close(self) -> None:
        """Kill all workers and free everything. May be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A stored blob. ``etag`` changes with its content; ``modified`` is seconds since the epoch."""

    key: str
    size: int
    etag: str
    modified: float


class BlobStore(Protocol):
    """Bytes under keys such as ``spill/ab/abcd…``. Thread-safe. A put is atomic: readers see all of it or nothing.

    Keys are relative, ``/``-separated, without empty, ``.`` or ``..`` pieces; others raise ``StoreError``.
    A full disk, a missing right and a lost connection raise ``StoreError`` with the cause, and leave nothing behind.
    """

    @property
    def url(self) -> str:
        """From which another process opens the same store."""
        ...

    def put(
        self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        """Store and return the etag. ``if_absent``: raise ``BlobExists`` when there is one; ``if_match``: raise it
        unless the present etag is this one."""
        ...

    def get(self, key: str) -> bytes:
        """All of it; ``BlobNotFound`` when there is none."""
        ...

    def stream(self, key: str, chunk: int = 8 << 20) -> Iterator[bytes]:
        """Piece by piece, for what does not fit in memory."""
        ...

    def head(self, key: str) -> BlobInfo | None:
        """What is there, or ``None``."""
        ...

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        """All blobs whose keys begin with ``prefix`` (whole pieces), in key order."""
        ...

    def delete(self, key: str) -> bool:
        """Remove; tell whether there was one."""
        ...


class StateStore(Protocol):
    """Runs, their events, the outbox, and documents. Thread-safe; any number of processes may have it open.

    Rules come from ``core.runstate`` as data; a store makes each ``Change`` one conditional write, together with its
    event and outbox rows, and decides nothing. A store that fails raises ``StoreError``; a write
    whose answer was lost may be made again, for its own condition refuses it then.
    """

    skew: float
    """How far the clocks of its users may differ, in seconds; 0 when the store's own clock counts."""

    @property
    def url(self) -> str:
        """From which another process opens the same store, without secrets."""
        ...

    def now(self) -> float:
        """Seconds since the epoch by the clock that counts."""
        ...

    # Runs

    def submit(self, run: RunRecord, event: EventDraft) -> tuple[RunRecord, bool]:
        """Insert a queued run, due ``not_before`` (0: now), with its first event. When there is one of the same app
        with the same ``idempotency_key``: give that one, and ``False``. ``created_at`` is the store's."""
        ...

    def get(self, run: str) -> RunRecord | None: ...

    def find(self, query: RunQuery) -> Sequence[RunRecord]:
        """The newest first."""
        ...

    def change(self, *changes: Change) -> Sequence[RunRecord | None]:
        """Make each change if its condition holds: the run as it is then; ``None`` when refused or there is no such
        run. Each is atomic; all are in one transaction where the store has such."""
        ...

    def claim(self, owner: str, lease: float, limit: int, app: str | None = None) -> Sequence[RunRecord]:
        """Make ``runstate.claim`` on at most ``limit`` runs that are due, by priority, then by ``not_before`` and id.
        No run goes to two callers."""
        ...

    def change_and_claim(
        self, changes: Sequence[Change], owner: str, lease: float, limit: int, app: str | None = None
    ) -> tuple[Sequence[RunRecord | None], Sequence[RunRecord]]:
        """``change``, then ``claim``, in one transaction where the store has such: the way of a worker from one run to
        the next. What both give. Raises as ``change`` does; when only the claim fails, nothing is claimed."""
        ...

    def expired(self, limit: int) -> Sequence[RunRecord]:
        """Running ones whose lease has ended (by ``skew``) and that may not be claimed: for ``runstate.reap``."""
        ...

    def pending(self, app: str | None = None) -> Pending: ...

    def wait(self, timeout: float) -> None:
        """Return when a run may have become due, at the latest after ``timeout`` seconds."""
        ...

    def wake(self) -> None:
        """Make every ``wait`` of this process return."""
        ...

    def events(self, subject: str, after: int = 0) -> Sequence[RunEvent]:
        """Of a run (its id) or a document (``kind/key``), in order, those with ``seq`` above ``after``."""
        ...

    def delete_runs(self, ids: Sequence[str]) -> int:
        """Remove final runs with their events and delivered outbox rows; tell how many. Open ones stay."""
        ...

    # Outbox

    def take_outbox(self, limit: int, lease: float) -> Sequence[OutboxItem]:
        """Rows that are due, each to one caller until ``lease`` seconds from now; ``tries`` counts this one."""
        ...

    def outbox_done(self, item: OutboxItem) -> bool:
        """It was delivered. ``False`` when another caller has taken it since."""
        ...

    def outbox_later(self, item: OutboxItem, delay: float, error: str) -> bool:
        """It could not be delivered: due again after ``delay`` seconds. ``False`` as in ``outbox_done``."""
        ...

    def outbox(self, run: str) -> Sequence[OutboxItem]:
        """Undelivered rows of a run."""
        ...

    # Documents

    def document(self, kind: str, key: str) -> Document | None: ...

    def documents(self, kind: str, prefix: str = "") -> Sequence[Document]:
        """In key order, those whose key begins with ``prefix``."""
        ...

    def put_document(
        self, kind: str, key: str, data: Mapping[str, Any], *, rev: int, event: EventDraft | None = None
    ) -> Document | None:
        """Write if its revision is ``rev`` (0: if there is none), with the event; ``None`` when refused."""
        ...

    def delete_document(self, kind: str, key: str, *, rev: int) -> bool:
        """Remove it if its revision is ``rev``. Its events stay."""
        ...

    def close(self) -> None: ...


class Host(Protocol):
    """What child code may ask of the outside: the supervisor's pipe locally, presigned HTTP on Lambda."""

    spill_bytes: int

    def put_part(self, data: Buffer) -> tuple[str, int]:
        """Store a large part, content-addressed; return its digest and size."""
        ...

    def get_part(self, digest: str, size: int) -> Buffer:
        """Fetch a part as a writable buffer of the caller's own, after its digest was checked."""
        ...

    def ask(self, frame: Frame, on_answer: Callable[[Frame], None]) -> int:
        """Send a question (nested calls, progress) to the engine; answers come on a thread of the host's."""
        ...


@dataclass(frozen=True, slots=True)
class BuiltEnv:
    """An Env made ready on this machine: its interpreter, and the folder that its ``files`` lie in, if any.

    ``path``: what its import path needs in front, so that it finds bursty's worker part. ``whole``: that is all of
    its import path, the interpreter's own entries included.
    """

    python: str
    folder: str | None
    digest: str
    path: tuple[str, ...] = ()
    whole: bool = False


class Builder(Protocol):
    """Makes Envs ready. The same Env is built once, however many ask."""

    def build(self, env: Env, *, say: Callable[[str], None] = ...) -> BuiltEnv:
        """Raise ``EnvError`` with the resolver's words when it can't be."""
        ...

    def build_version(self, version: str, env: Env | None, *, say: Callable[[str], None] = ...) -> BuiltEnv:
        """A version's files and the Env that it was taken with; ``env``: as its code declares it.

        Raise ``BlobNotFound`` and ``DigestMismatch`` for what the store has lost, ``EnvError`` for the rest.
        """
        ...


class Clock(Protocol):
    """Time, so that tests can turn it."""

    def monotonic(self) -> float: ...

    def time(self) -> float: ...


class Notifier(Protocol):
    """Tells people. Thread-safe."""

    def send(self, notice: Notice) -> None:
        """Deliver to every service; raise ``NoticeFailed`` when one did not take it. Sent again, the notice goes to
        those only that did not get it, as far as this notifier remembers."""
        ...


class Runner(Protocol):
    """What App needs of an engine: fills the ambient slot. ``Executor`` is one."""

    @property
    def submit(self) -> Callable[..., Any]: ...

    @property
    def map(self) -> Callable[..., Any]: ...

    @property
    def starmap(self) -> Callable[..., Any]: ...

    @property
    def submit_many(self) -> Callable[..., Any]: ...


class NoRunner(RuntimeError):
    """The ambient slot is empty: the composition root was not imported."""


_ambient: ContextVar[Runner | None] = ContextVar("bursty_ambient", default=None)
_default: list[Callable[[], Runner]] = []


def install_default(factory: Callable[[], Runner]) -> None:
    """Say how the ambient runner is made when nobody set one (the composition root does)."""
    _default[:] = [factory]


_sessions: list[Callable[..., Any]] = []


def install_sessions(factory: Callable[..., Any]) -> None:
    """Say how a backend's name becomes an engine session (the composition root does)."""
    _sessions[:] = [factory]


def open_session(backend: str | None, **options: Any) -> Any:
    """A session on the backend of this name; ``None``: as the settings say."""
    if not _sessions:
        raise NoRunner("no engine is installed; import bursty first")
    return _sessions[0](backend, **options)


_runs: list[Callable[[], Any]] = []


def install_runs(factory: Callable[[], Any]) -> None:
    """Say how the client of jobs and runs is made (the composition root does)."""
    _runs[:] = [factory]


def open_runs() -> Any:
    """The client of jobs and runs that the settings say: ``bursty.jobs.runs.Runs``."""
    if not _runs:
        raise NoRunner("no client of runs is installed; import bursty first")
    return _runs[0]()


def ambient() -> Runner:
    """The runner of the innermost ``with Executor(…)`` around the caller, else the process's own."""
    runner = _ambient.get()
    if runner is not None:
        return runner
    if not _default:
        raise NoRunner("no runner is installed; import bursty first")
    return _default[0]()


@contextmanager
def use_runner(runner: Runner) -> Generator[None, None, None]:
    """Make ``runner`` the ambient one inside the block."""
    token = _ambient.set(runner)
    try:
        yield
    finally:
        _ambient.reset(token)
