"""A session: what executors of one backend share. Workers, parts, output, progress, history."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from bursty.engine.block import Block
from bursty.engine.driver import IDLE_SECONDS, Engine
from bursty.engine.history import History
from bursty.engine.output import OutputMode, Printer
from bursty.engine.progress import Progress
from bursty.engine.resume import ResumeLog
from bursty.ports import Backend, Builder
from bursty.runtime.pickling import Parts
from bursty.values import Asked, Frame, Output, WorkerSpec

CALLS = ("submit", "cancel")
"""Questions about calls made inside calls; others go to the desk."""


class CallEngine(Protocol):
    """What runs blocks: the engine in a client, the host's engine in a worker."""

    def submit(self, block: Block) -> None: ...

    def is_driver(self) -> bool: ...

    def grow(self, block: Block, arguments: Any, added: Callable[[], None]) -> int | None: ...

    def cancel(self, block: Block, index: int) -> None: ...

    def cancel_block(self, block: Block) -> None: ...

    def is_running(self, block: Block, index: int) -> bool: ...

    def join(self, timeout: float | None = None) -> bool: ...

    def close(self) -> None: ...


class Session:
    """A client's session; ``depth`` 0 is the client itself.

    ``idle_seconds``: workers without work are let go after so long.
    ``open_home``: gives the folder where results of ``resume=`` lie, checked or made when first needed.
    ``desk``: answers what calls ask for beyond calls (see ``runtime.desk``); called on the driver's thread, so it hands
    on what takes long.
    """

    def __init__(
        self,
        backend: Backend,
        parts: Parts,
        open_home: Callable[[], Path],
        *,
        builder: Builder | None = None,
        output: OutputMode = "show",
        preloads: bool = True,
        idle_seconds: float = IDLE_SECONDS,
        desk: Callable[[Frame, Callable[[Frame], None]], None] | None = None,
    ) -> None:
        self._backend = backend
        self._desk = desk
        self._builder = builder
        self._holders = 0
        self._holders_lock = threading.Lock()
        self.closed = False
        self.parts = parts
        self.depth = 0
        self.preloads = preloads
        self._open_home = open_home
        self.workers = backend.traits.workers
        self.history = History()
        self._printer = Printer(output)
        self._bars: list[Progress] = []
        self._nested: Any = None
        self._logs: dict[str, ResumeLog] = {}
        self._engine = Engine(backend, parts, self, idle_seconds=idle_seconds)
        self.engine: CallEngine = self._engine

    # What the engine tells

    def wrote(self, label: str, event: Output) -> None:
        self._printer.take(label, event)

    def asked(self, event: Asked) -> None:
        if event.frame.meta["kind"] not in CALLS:
            self._ask_desk(event)
            return
        if self._nested is None:
            from bursty.engine.nested import NestedCalls

            self._nested = NestedCalls(self._engine, self.build)
        self._nested.take(event)

    def _ask_desk(self, event: Asked) -> None:
        """Pass the question on; it may be answered later, from any thread."""
        number = event.frame.meta["ask"]

        def answer(frame: Frame) -> None:
            self._backend.tell(event.worker, Frame({**frame.meta, "kind": "answer", "ask": number}, frame.parts))

        if self._desk is None:
            hint = "Runs, models and caches are at hand in jobs: bursty run FILE::JOB."
            answer(Frame({"error": f"nobody answers {event.frame.meta['kind']!r} in this call", "hint": hint}))
        else:
            self._desk(event.frame, answer)

    def calls_over(self, worker: int) -> None:
        self._printer.flush(worker)  # text without a line end does not wait for the next call

    def worker_gone(self, worker: int) -> None:
        self._printer.flush(worker)
        if self._nested is not None:
            self._nested.worker_gone(worker)

    def looked(self) -> None:
        for bar in self._bars:
            bar.look()
        if self._engine.watched and not any(bar.shown for bar in self._bars):
            self._engine.watched = False

    # What executors need

    def hold(self) -> None:
        """One more executor uses this session."""
        with self._holders_lock:
            self._holders += 1

    def release(self) -> None:
        """One fewer; when none is left, close once every call has its outcome."""
        with self._holders_lock:
            self._holders -= 1
            last = self._holders == 0
        if last and not self.closed:
            self.close_when_done()

    def follow(self, bar: Progress) -> None:
        """Draw this bar until it closes."""
        if bar.shown:
            self._bars = [known for known in self._bars if known.shown] + [bar]
            self._engine.watched = True

    def build(self, worker: WorkerSpec) -> None:
        """Make an Env or a version ready before its first call is made, on the caller's thread: it may take minutes."""
        if self._builder is None:
            return
        if worker.version is not None:
            self._builder.build_version(worker.version, worker.env, say=_say)
        elif worker.env is not None:
            self._builder.build(worker.env, say=_say)

    def resume_log(self, name: str, fn: Callable[..., Any]) -> ResumeLog:
        """The log of the map of this name; one for all uses of this session."""
        log = self._logs.get(name)
        if log is None:
            log = self._logs[name] = ResumeLog(self._open_home(), name, self.parts)
        log.check(fn)
        return log

    def cancel_pending(self) -> None:
        self._engine.cancel_waiting()

    def close(self) -> None:
        self.closed = True
        self.engine.close()
        self._printer.flush()
        while self._logs:
            self._logs.popitem()[1].close()

    def close_when_done(self) -> None:
        """Close in the background, once every call has its outcome."""

        def finish() -> None:
            self.engine.join()
            self.close()

        threading.Thread(target=finish, name="bursty-closer").start()


def _say(line: str) -> None:
    print(line, file=sys.stderr)
