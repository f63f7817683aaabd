"""Calls made inside calls: they travel to the client over the worker's pipe and run on workers of a budget of their
own.

Worker to client: ``submit`` (function, encoded calls, options) and ``cancel``; client to worker: ``answer`` with
outcomes,
unopened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from bursty.core.codec import pack_payload, unpack_payload
from bursty.engine.block import Block, Failed, Options, Result, Sealed, payload_of
from bursty.engine.code import Code
from bursty.engine.driver import Engine
from bursty.engine.encode import block_of_calls
from bursty.runtime.faults import encode_error
from bursty.values import Asked, Buffer, Call, Env, Frame, Payload, Status, WorkerSpec


def add_payload(payload: Payload, parts: list[Buffer]) -> list[Any]:
    """Put a payload's inline parts behind the others; give its shape."""
    shape, inline = pack_payload(payload)
    parts.extend(inline)
    return shape


class NestedCalls:
    """Makes the calls that workers ask for."""

    def __init__(self, engine: Engine, build: Callable[[WorkerSpec], None]) -> None:
        self._engine = engine
        self._build = build
        self._blocks: dict[tuple[int, int], Block] = {}
        self._lock = threading.Lock()

    def take(self, event: Asked) -> None:
        """A question came, on the driver's thread."""
        meta = event.frame.meta
        if meta["kind"] == "cancel":
            self._cancel(event.worker, meta["of"], meta["index"])
            return
        worker = _worker_of(meta, self._engine.spec_of(event.worker))
        if "env" in meta or "version" in meta:  # may have to be made ready first
            threading.Thread(target=self._submit, args=(event, worker), name="bursty-nested", daemon=True).start()
        else:
            self._submit(event, worker)

    def _submit(self, event: Asked, worker: WorkerSpec) -> None:
        meta = event.frame.meta
        block, ask = _block_of(event.frame, worker), meta["ask"]
        key = (event.worker, ask)
        block.on_settled = lambda low, high: self._answer(event.worker, ask, block, low, high)
        with self._lock:
            self._blocks[key] = block
        self._engine.parent_began(event.worker)
        try:
            if "env" in meta or "version" in meta:
                self._build(worker)
            self._engine.submit(block)
        except Exception as error:
            block.settle(0, [Failed(error)] * len(block))
            block.announce(0, len(block))

    def _answer(self, worker: int, ask: int, block: Block, low: int, high: int) -> None:
        items: list[Any] = []
        parts: list[Buffer] = []
        for index in range(low, high):
            status, payload = _payload_of(block.results[index])
            items.append([int(status), add_payload(payload, parts)])
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


def _worker_of(meta: Mapping[str, Any], parent: WorkerSpec | None) -> WorkerSpec:
    """Calls inside a version run that version, in the Env of the call around them when they name none."""
    env = Env(meta["env"][0], python=meta["env"][1], files=meta["env"][2]) if "env" in meta else None
    version = meta.get("version") or (parent.version if parent is not None else None)
    if env is None and parent is not None and version is not None and version == parent.version:
        env = parent.env
    return WorkerSpec(env, meta["memory"], meta["depth"], version=version)


def _block_of(frame: Frame, worker: WorkerSpec) -> Block:
    meta = frame.meta
    position = 0

    def take(shape: list[Any]) -> Payload:
        nonlocal position
        inline = sum(1 for item in shape if item == 0)
        payload = unpack_payload(shape, frame.parts[position : position + inline])
        position += inline
        return payload

    code = Code(meta["digest"], take(meta["code"]), meta["label"], None, True)
    calls = [
        Call(take(payload), tuple(map(take, slots)), shown)
        for (payload, slots), shown in zip(meta["calls"], meta["shown"], strict=True)
    ]
    options = Options(meta["retries"], meta["timeout"], meta["idempotent"], worker)
    return block_of_calls(code, calls, options, meta["first"])


def _payload_of(result: Result | None) -> tuple[Status, Payload]:
    if isinstance(result, Sealed):
        return result.status, result.payload
    if isinstance(result, Failed):
        return Status.ERROR, encode_error(result.error)
    assert result is not None
    return Status.OK, payload_of(result)
