"""The worker's side of calls made inside calls: an Executor there hands its blocks to the client. See ``nested``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from bursty.core.codec import unpack_payload
from bursty.engine.block import Block, Result, Sealed
from bursty.engine.encode import encode_call
from bursty.engine.history import History
from bursty.engine.nested import add_payload
from bursty.engine.progress import Progress
from bursty.engine.session import Session
from bursty.errors import ConfigError
from bursty.runtime.host import WorkerHost
from bursty.values import Buffer, Call, Frame, Layout, Status, WorkerSpec


class NestedSession(Session):
    """The session of a process that is itself a worker."""

    def __init__(self, host: WorkerHost) -> None:
        self._holders = 0
        self._holders_lock = threading.Lock()
        self.closed = False
        self.parts = host
        self.depth = host.depth + 1
        self.preloads = False
        self.workers = host.workers
        self.history = History()
        self._host_engine = HostEngine(host)
        self.engine = self._host_engine

    def follow(self, bar: Progress) -> None:
        bar.shown = False

    def build(self, worker: WorkerSpec) -> None:
        """The client builds it when the calls arrive."""

    def resume_log(self, name: str, fn: Callable[..., Any]) -> Any:
        raise ConfigError("resume= works in the client, not inside a call", "Give the outer map a resume name.")

    def cancel_pending(self) -> None:
        self._host_engine.cancel_all()

    def close(self) -> None:
        self._host_engine.close()


class HostEngine:
    """Hands blocks to the client and takes their outcomes. Thread-safe."""

    def __init__(self, host: WorkerHost) -> None:
        self._host = host
        self._asks: dict[int, tuple[int, Block]] = {}
        self._lock = threading.RLock()
        self._empty = threading.Condition(self._lock)

    def submit(self, block: Block) -> None:
        if not len(block):
            return
        with self._lock:
            number = self._host.ask(_submit_frame(block, self._host), lambda frame: self._take(block, frame))
            self._asks[block.number] = (number, block)

    def is_driver(self) -> bool:
        return False

    def grow(self, block: Block, arguments: Any, added: Callable[[], None]) -> int | None:
        return None  # what is on its way to the client can't grow

    def _take(self, block: Block, frame: Frame) -> None:
        """Outcomes came, on the link's thread."""
        with self._lock:  # submit has put the question down by now
            pass
        results = _results_of(frame, self._host)
        low = frame.meta["low"]
        block.errors += sum(1 for status, _ in frame.meta["items"] if status == Status.ERROR)
        block.settle(low, results)
        block.announce(low, low + len(results))
        if block.settled == len(block):
            self._forget(block)

    def _forget(self, block: Block) -> None:
        with self._lock:
            number, _ = self._asks.pop(block.number, (0, None))
            self._host.forget(number)
            self._empty.notify_all()

    def cancel(self, block: Block, index: int) -> None:
        with self._lock:
            if (found := self._asks.get(block.number)) is not None:
                self._tell_cancelled(found[0], index)

    def cancel_block(self, block: Block) -> None:
        with self._lock:
            if (found := self._asks.get(block.number)) is not None:
                self._tell_cancelled(found[0], None)

    def _tell_cancelled(self, number: int, index: int | None) -> None:
        self._host.forget(self._host.ask(Frame({"kind": "cancel", "of": number, "index": index}), lambda _: None))

    def cancel_all(self) -> None:
        for _, block in list(self._asks.values()):
            self.cancel_block(block)

    def is_running(self, block: Block, index: int) -> bool:
        return False  # only the client knows

    def join(self, timeout: float | None = None) -> bool:
        with self._empty:
            return self._empty.wait_for(lambda: not self._asks, timeout)

    def close(self) -> None:
        self.cancel_all()


def _submit_frame(block: Block, host: WorkerHost) -> Frame:
    code, options = block.code, block.options
    parts: list[Buffer] = []
    calls = _encoded(block, host)
    meta: dict[str, Any] = {
        "kind": "submit",
        "shown": [call.shown for call in calls],
        "digest": code.digest,
        "label": code.label,
        "code": add_payload(code.payload, parts),
        "calls": [
            [add_payload(call.payload, parts), [add_payload(slot, parts) for slot in call.slots]] for call in calls
        ],
        "first": block.first,
        "retries": options.retries,
        "timeout": options.timeout,
        "idempotent": options.idempotent,
        "memory": options.worker.memory,
        "depth": options.worker.depth,
    }
    if (env := options.worker.env) is not None:
        meta["env"] = [env.requirements, env.python, env.files]
    if options.worker.version is not None:
        meta["version"] = options.worker.version
    return Frame(meta, parts)


def _encoded(block: Block, host: WorkerHost) -> Sequence[Call]:
    """Every call by itself: the client, which can't open them, must be able to share them out."""
    if block.layout is Layout.EACH:
        return block.arguments
    several = block.layout is Layout.TUPLES
    return [
        encode_call(block.code, argument if several else (argument,), {}, host, block.first + index)
        for index, argument in enumerate(block.arguments)
    ]


def _results_of(frame: Frame, host: WorkerHost) -> list[Result]:
    results: list[Result] = []
    taken = 0
    for status, shape in frame.meta["items"]:
        inline = sum(1 for item in shape if item == 0)
        payload = unpack_payload(shape, frame.parts[taken : taken + inline])
        taken += inline
        results.append(Sealed(Status(status), payload, "in a call made inside a call", host))
    return results
