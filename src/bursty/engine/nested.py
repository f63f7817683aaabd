"""Calls made inside calls: they travel to the client over the worker's pipe and run on workers of a budget of their own.

Worker to client: ``submit`` (function, encoded calls, options) and ``cancel``; client to worker: ``answer`` with outcomes,
unopened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from bursty.core.codec import pack_payload, unpack_payload
from bursty.engine.block import Block, Failed, Options, Result, Sealed
from bursty.engine.code import Code
from bursty.engine.driver import Engine
from bursty.engine.encode import block_of_calls, encode_call
from bursty.engine.history import History
from bursty.engine.progress import Progress
from bursty.engine.session import Session
from bursty.errors import ConfigError
from bursty.runtime.faults import encode_error
from bursty.runtime.host import WorkerHost
from bursty.values import Asked, Buffer, Call, Env, Frame, Layout, Payload, Status, WorkerSpec

# The worker's side


class NestedSession(Session):
    """The session of a process that is itself a worker."""

    def __init__(self, host: WorkerHost) -> None:
        self.parts = host
        self.depth = host.depth + 1
        self.preloads = False
        self.workers = host.workers
        self.history = History()
        self._host_engine = HostEngine(host)
        self.engine = self._host_engine

    def follow(self, bar: Progress) -> None:
        bar.shown = False

    def build(self, env: Env) -> None:
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
                self._host.ask(Frame({"kind": "cancel", "of": found[0], "index": index}), lambda _: None)

    def cancel_block(self, block: Block) -> None:
        with self._lock:
            if (found := self._asks.get(block.number)) is not None:
                self._host.ask(Frame({"kind": "cancel", "of": found[0], "index": None}), lambda _: None)

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
    meta: dict[str, Any] = {
        "kind": "submit",
        "digest": code.digest,
        "label": code.label,
        "code": _add(code.payload, parts),
        "calls": [
            [_add(call.payload, parts), [_add(slot, parts) for slot in call.slots]] for call in _encoded(block, host)
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


def _add(payload: Payload, parts: list[Buffer]) -> list[Any]:
    shape, inline = pack_payload(payload)
    parts.extend(inline)
    return shape


def _results_of(frame: Frame, host: WorkerHost) -> list[Result]:
    results: list[Result] = []
    taken = 0
    for status, shape in frame.meta["items"]:
        inline = sum(1 for item in shape if item == 0)
        payload = unpack_payload(shape, frame.parts[taken : taken + inline])
        taken += inline
        results.append(Sealed(Status(status), payload, "in a call made inside a call", host))
    return results


# The client's side


class NestedCalls:
    """Makes the calls that workers ask for."""

    def __init__(self, engine: Engine, build: Callable[[Env], None]) -> None:
        self._engine = engine
        self._build = build
        self._blocks: dict[tuple[int, int], Block] = {}
        self._lock = threading.Lock()

    def take(self, event: Asked) -> None:
        """A question came, on the driver's thread."""
        meta = event.frame.meta
        if meta["kind"] == "cancel":
            self._cancel(event.worker, meta["of"], meta["index"])
        elif meta["kind"] == "submit" and "env" in meta:
            threading.Thread(target=self._submit, args=(event,), name="bursty-nested", daemon=True).start()
        elif meta["kind"] == "submit":
            self._submit(event)

    def _submit(self, event: Asked) -> None:
        block, ask = _block_of(event.frame), event.frame.meta["ask"]
        key = (event.worker, ask)
        block.on_settled = lambda low, high: self._answer(event.worker, ask, block, low, high)
        with self._lock:
            self._blocks[key] = block
        self._engine.parent_began(event.worker)
        try:
            if block.options.worker.env is not None:
                self._build(block.options.worker.env)
            self._engine.submit(block)
        except Exception as error:
            block.settle(0, [Failed(error)] * len(block))
            block.announce(0, len(block))

    def _answer(self, worker: int, ask: int, block: Block, low: int, high: int) -> None:
        items: list[Any] = []
        parts: list[Buffer] = []
        for index in range(low, high):
            status, payload = _payload_of(block.results[index])
            items.append([int(status), _add(payload, parts)])
        self._engine.backend.tell(worker, Frame({"kind": "answer", "ask": ask, "low": low, "items": items}, parts))
        if block.settled == len(block):
            with self._lock:
                gone = self._blocks.pop((worker, ask), None)
            if gone is not None:
                self._engine.parent_ended(worker)

    def _cancel(self, worker: int, ask: int, index: int | None) -> None:
        with self._lock:
            block = self._blocks.get((worker, ask))
        if block is not None and index is None:
            self._engine.cancel_block(block)
        elif block is not None and index is not None:
            self._engine.cancel(block, index)

    def worker_gone(self, worker: int) -> None:
        """Nobody waits for what this worker asked for any more."""
        with self._lock:
            blocks = [self._blocks.pop(key) for key in list(self._blocks) if key[0] == worker]
        for block in blocks:
            block.on_settled = None
            self._engine.cancel_block(block)


def _block_of(frame: Frame) -> Block:
    meta = frame.meta
    position = 0

    def take(shape: list[Any]) -> Payload:
        nonlocal position
        inline = sum(1 for item in shape if item == 0)
        payload = unpack_payload(shape, frame.parts[position : position + inline])
        position += inline
        return payload

    code = Code(meta["digest"], take(meta["code"]), meta["label"], None, True)
    calls = [Call(take(payload), tuple(map(take, slots))) for payload, slots in meta["calls"]]
    env = Env(meta["env"][0], python=meta["env"][1], files=meta["env"][2]) if "env" in meta else None
    options = Options(
        meta["retries"], meta["timeout"], meta["idempotent"], WorkerSpec(env, meta["memory"], meta["depth"])
    )
    return block_of_calls(code, calls, options, meta["first"])


def _payload_of(result: Result | None) -> tuple[Status, Payload]:
    if isinstance(result, Sealed):
        return result.status, result.payload
    if isinstance(result, Failed):
        return Status.ERROR, encode_error(result.error)
    assert result is not None
    return Status.OK, Payload((result,))
