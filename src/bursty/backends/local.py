"""The local backend: supervised worker processes on this machine, one nursery for each Env."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bursty.errors import BackendError
from bursty.ports import Builder, BuiltEnv
from bursty.supervise.limits import MemoryGroups
from bursty.supervise.nursery import Nursery, NurseryPlan
from bursty.values import BackendTraits, Event, Frame, Invocation, Loss, LossKind, Lost, Mark, WorkerSpec

if TYPE_CHECKING:
    from bursty.supervise.supervisor import Supervisor

MEMORY_INTERVAL = 0.05
RETIRE_SECONDS = 0.5
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalBackend:
    """``ports.Backend`` on this machine.

    ``workers``: how many run at once. ``blobs``: folder of spilled parts. ``builder``: makes Envs ready.
    ``groups``: makes the cgroups that hold memory limits. ``call_bytes``: text of a call that is passed on (default:
    ``supervise.link.CALL_BYTES``).
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        blobs: str,
        builder: Builder | None = None,
        spill_bytes: int = 4 << 20,
        groups: MemoryGroups | None = None,
        call_bytes: int | None = None,
    ) -> None:
        count = workers or usable_cores()
        self.traits = BackendTraits(workers=count, spill_bytes=spill_bytes)
        self._blobs = blobs
        self._call_bytes = call_bytes
        self._builder = builder
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            end.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._nurseries: dict[WorkerSpec, Nursery] = {}
        self._workers: dict[int, Supervisor] = {}
        self._congested: set[int] = set()
        self._events: list[Event] = []
        self._numbers = 0
        self._groups = groups or MemoryGroups(f"bursty-{os.getpid()}-{id(self):x}")
        self._memory_at = 0.0
        self._closed = False

    # Workers

    def prepare(self, spec: WorkerSpec) -> None:
        """Start what workers of this kind come from, so that the first of them is there sooner."""
        with self._lock:
            self._nursery_for(spec)

    def open(self, spec: WorkerSpec) -> int:
        with self._lock:
            self._numbers += 1
            number = self._numbers
            group = self._groups.create(f"w{number}", spec.memory) if spec.memory else None
            try:
                nursery = self._nursery_for(spec)
                worker = self._supervisor(number, nursery, spec, group)
            except OSError as error:
                raise BackendError(
                    f"no worker can be started: {error}", "Close other programs, or use fewer workers."
                ) from error
            self._workers[number] = worker
            self._selector.register(worker.sock, selectors.EVENT_READ, worker)
            for fd in worker.pipes:
                self._selector.register(fd, selectors.EVENT_READ, (worker, fd))
            if not worker.born:
                self._nursery_gone(nursery)
            return number

    def _supervisor(self, number: int, nursery: Nursery, spec: WorkerSpec, group: Any) -> Supervisor:
        from bursty.supervise.link import CALL_BYTES
        from bursty.supervise.supervisor import Supervisor

        config = {
            "blobs": self._blobs,
            "spill_bytes": self.traits.spill_bytes,
            "depth": spec.depth,
            "memory": spec.memory,
            "workers": self.traits.workers,
            "call_bytes": self._call_bytes or CALL_BYTES,
        }
        return Supervisor(number, nursery, config, group)

    def _nursery_for(self, spec: WorkerSpec) -> Nursery:
        """Workers of one Env and the same variables come from one nursery; memory and depth don't matter."""
        key = replace(spec, memory=None, depth=0)  # the first one's modules are preloaded
        nursery = self._nurseries.get(key)
        if nursery is None:
            nursery = Nursery(self._plan(key))
            self._nurseries[key] = nursery
            self._selector.register(nursery.control, selectors.EVENT_READ, nursery)
        return nursery

    def _built(self, spec: WorkerSpec) -> BuiltEnv | None:
        if spec.version is None and spec.env is None:
            return None
        if self._builder is None:
            raise BackendError("this backend has no builder for Envs")
        if spec.version is None:
            assert spec.env is not None
            return self._builder.build(spec.env)
        return self._builder.build_version(spec.version, spec.env)

    def _plan(self, spec: WorkerSpec) -> NurseryPlan:
        if (built := self._built(spec)) is None:
            python, folder, path, keeps_own = sys.executable, os.getcwd(), client_path(), False
        else:
            python, folder, keeps_own = built.python, built.folder or os.getcwd(), not built.whole
            path = built.path if spec.version is not None else (*built.path, *user_path())
        threads = str(max(1, usable_cores() // self.traits.workers))
        variables = {name: threads for name in THREAD_VARIABLES if name not in os.environ}
        if spec.version is not None:
            variables["PYTHONPATH"] = ""  # a version's modules are its own
        variables.update(spec.variables)
        groups = self._groups.candidates()
        return NurseryPlan(python, path, keeps_own, folder, tuple(variables.items()), spec.preload, groups)

    def send(self, worker: int, invocation: Invocation) -> None:
        with self._lock:
            found = self._workers.get(worker)
            if found is not None and not found.invoke(invocation):
                self._await_room(worker)

    def tell(self, worker: int, frame: Frame) -> None:
        with self._lock:
            found = self._workers.get(worker)
            if found is not None and not found.send(frame):
                self._await_room(worker)

    def _await_room(self, worker: int) -> None:
        self._congested.add(worker)
        self.wake()

    def revoke(self, worker: int, seq: int | None) -> None:
        if (found := self._workers.get(worker)) is not None:
            found.marks.revoke(seq)

    def mark(self, worker: int) -> Mark:
        found = self._workers.get(worker)
        return found.mark() if found is not None else Mark()

    def peek(self, worker: int) -> Sequence[Event]:
        """Read the journal while the worker is inside a call: the same state before and after, so nobody wrote."""
        found = self._workers.get(worker)
        if found is None:
            return []
        before = found.marks.state()
        batch = found.marks.unsent(worker) if found.mark().seq is not None else None
        return [batch] if batch is not None and found.marks.state() == before else []

    def kill(self, worker: int, kind: LossKind, limit: float | None = None) -> None:
        with self._lock:
            if (found := self._workers.get(worker)) is not None:
                found.kill(kind, limit)

    def retire(self, worker: int) -> None:
        with self._lock:
            if (found := self._workers.get(worker)) is not None:
                found.retire()

    def favour(self, worker: int, niceness: int) -> bool:
        """Set a worker's niceness (0: as usual, 19: what the others leave); ``False`` when the system refuses."""
        found = self._workers.get(worker)
        if found is None or found.pid is None:
            return False
        try:
            os.setpriority(os.PRIO_PROCESS, found.pid, niceness)
        except OSError:
            return False
        return True

    # Events

    def fileno(self) -> int:
        """Readable when ``poll`` has something to do: for event loops."""
        return self._selector.fileno()

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake_writer.send(b"w")

    def poll(self, timeout: float | None) -> Sequence[Event]:
        with self._lock:
            self._flush_congested()
            watched = any(worker.memory is not None and worker.group is None for worker in self._workers.values())
            if self._events:
                timeout = 0
        if watched:
            timeout = MEMORY_INTERVAL if timeout is None else min(timeout, MEMORY_INTERVAL)
        ready = self._selector.select(timeout)
        with self._lock:
            if watched:
                self._watch_memory()
            for key, mask in ready:
                self._handle(key.data, mask)
            events, self._events = self._events, []
            return events

    def _flush_congested(self) -> None:
        """Sockets that were full are watched for room; the selector tells when there is."""
        for number in list(self._congested):
            worker = self._workers.get(number)
            if worker is None or worker.flush():
                self._congested.discard(number)
                if worker is not None:
                    self._selector.modify(worker.sock, selectors.EVENT_READ, worker)
            else:
                self._selector.modify(worker.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, worker)

    def _handle(self, source: Any, mask: int) -> None:
        if source is None:
            with contextlib.suppress(BlockingIOError):
                self._wake_reader.recv(4096)
        elif isinstance(source, Nursery):
            self._hear(source)
        elif isinstance(source, tuple):
            worker, fd = cast("tuple[Supervisor, int]", source)
            if not worker.finished:
                events, is_open = worker.read_pipe(fd)
                self._events.extend(events)
                if not is_open:
                    self._unregister(fd)
        elif mask & selectors.EVENT_READ and not source.finished:
            events, is_open = source.read_socket()
            self._events.extend(events)
            if not is_open:
                self._unregister(source.sock)

    def _unregister(self, source: Any) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(source)

    def _hear(self, nursery: Nursery) -> None:
        messages = nursery.hear()
        if messages is None:
            self._nursery_gone(nursery)
            return
        for message in messages:
            worker = self._workers.get(message.get("id", -1))
            if worker is None:
                continue
            match message["op"]:
                case "forked":
                    worker.pid = message["pid"]
                case "failed":
                    self._finish(worker, None, message["why"])
                case _:
                    self._finish(worker, message["code"])

    def _nursery_gone(self, nursery: Nursery) -> None:
        words = nursery.last_words()
        self._unregister(nursery.control)
        for key, known in list(self._nurseries.items()):
            if known is nursery:
                del self._nurseries[key]
        for worker in list(self._workers.values()):
            if worker.nursery is nursery:
                self._finish(worker, None, words or "the process that starts workers has ended")
        nursery.close()
        self.wake()

    def _finish(self, worker: Supervisor, code: int | None, detail: str = "") -> None:
        self._unregister(worker.sock)
        for fd in worker.pipes:
            self._unregister(fd)
        self._events.extend(worker.finish(code, detail))
        self._workers.pop(worker.number, None)
        self._congested.discard(worker.number)
        worker.release()

    def _watch_memory(self) -> None:
        now = time.monotonic()
        if now < self._memory_at:
            return
        self._memory_at = now + MEMORY_INTERVAL
        for worker in self._workers.values():
            if worker.group is None and worker.over_memory():
                worker.kill("memory", worker.memory)

    # End

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for worker in self._workers.values():
                worker.retire()
        until = time.monotonic() + RETIRE_SECONDS
        while self._workers and time.monotonic() < until and self._idle_only():
            self.poll(0.05)
        with self._lock:
            for nursery in list(self._nurseries.values()):
                self._unregister(nursery.control)
                nursery.close()
            self._nurseries.clear()
            for worker in list(self._workers.values()):
                self._events.append(Lost(worker.number, Loss("closed"), worker.mark().seq))
                worker.finished = True
                worker.release()
            self._workers.clear()
            self._groups.remove()
            self._selector.close()
            self._wake_reader.close()
            self._wake_writer.close()

    def _idle_only(self) -> bool:
        """A worker inside a call would not notice that its socket closed: don't wait for it."""
        return all(worker.mark().seq is None for worker in self._workers.values())


def client_path() -> tuple[str, ...]:
    """This process's import path, with bursty on it."""
    own = str(Path(__file__).resolve().parent.parent.parent)
    path = tuple(entry or os.getcwd() for entry in sys.path)
    return path if own in path else (*path, own)


def user_path() -> tuple[str, ...]:
    """Entries of the import path that hold the user's own modules: not the interpreter's, nor site-packages."""
    folder = os.getcwd()
    own = (os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix))
    found: list[str] = []
    for entry in sys.path:
        path = os.path.realpath(entry or folder)
        inside = any(path.startswith(prefix + os.sep) for prefix in own)
        if os.path.isdir(path) and not inside and "site-packages" not in path and "dist-packages" not in path:
            found.append(path)
    return tuple(found)
