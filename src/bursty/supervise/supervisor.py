"""The supervisor: the part of the client that owns one worker child."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from bursty.core import codec
from bursty.supervise.limits import MemoryGroup, resident_bytes
from bursty.supervise.nursery import Nursery
from bursty.supervise.shared import Marks, batch_of, create_memory
from bursty.supervise.wire import FrameReader, Outbox
from bursty.values import Answered, Asked, Ended, Event, Frame, Invocation, Loss, LossKind, Lost, Mark, Output

STDERR_TAIL = 4 << 10
SOCKET_BYTES = 4 << 20
"""Asked of the kernel for what is on its way, so that a large frame goes in a few pieces; it may give less."""
READS = 16
"""Socket reads a turn, so that one loud worker doesn't keep the others waiting."""


class Supervisor:
    """One worker: its socket, marks, captured descriptors, limit and end.

    Not thread-safe by itself: the backend calls ``send`` and ``kill`` under its lock, ``read…`` from one thread.
    """

    def __init__(self, number: int, nursery: Nursery, config: dict[str, Any], group: MemoryGroup | None) -> None:
        self.number = number
        self.nursery = nursery
        self.group = group
        self.memory: int | None = config.get("memory")
        self.pid: int | None = None
        self.finished = False
        self._verdict: Loss | None = None
        self._ran: int | None = None
        self._ended = False
        self._reader = FrameReader()
        self._outbox = Outbox()
        # Which of the two is read first is chance, and neither may push the other out.
        self._stderr = {"socket": "", "pipe": ""}
        self.sock, theirs = socket.socketpair()
        for end in (self.sock, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        self.sock.setblocking(False)
        out, out_theirs = os.pipe()
        err, err_theirs = os.pipe()
        self.pipes = {out: "stdout", err: "stderr"}
        for fd in self.pipes:
            os.set_blocking(fd, False)
        memory_fd = create_memory()
        self.marks = Marks(memory_fd)
        fds = [theirs.fileno(), memory_fd, out_theirs, err_theirs]
        order = {**config, "op": "fork", "id": number, "cgroups": [group.entry] if group else []}
        self.born = nursery.order(order, fds)
        theirs.close()
        for fd in (memory_fd, out_theirs, err_theirs):
            os.close(fd)

    # What the backend does with it

    def send(self, frame: Frame) -> bool:
        """Queue a frame; tell whether all of it went out."""
        return self._outbox.send(self.sock, frame)

    def invoke(self, invocation: Invocation) -> bool:
        if self._ran is None or self._ended:
            self._ran = invocation.seq
            self._ended = False
        return self.send(codec.pack_invocation(invocation))

    def flush(self) -> bool:
        return self._outbox.flush(self.sock)

    def mark(self) -> Mark:
        return self.marks.mark()

    def kill(self, kind: LossKind, limit: float | None = None, detail: str = "") -> None:
        """Kill the worker's process group. The first reason given stands."""
        if self.finished or (self._verdict is not None and self._verdict.kind != "closed"):
            return  # nobody is killed twice; but one that was to end in good order may not have
        self._verdict = self._verdict or Loss(kind, limit=limit, detail=detail)
        self.nursery.order({"op": "kill", "id": self.number})

    def retire(self) -> None:
        """End the worker in good order: it runs its exit handlers when its socket closes."""
        if self._verdict is None:
            self._verdict = Loss("closed")
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.nursery.order({"op": "kill", "id": self.number})

    def over_memory(self) -> bool:
        """Whether its resident memory is above the limit now (where no cgroup holds it)."""
        if self.memory is None or self.pid is None or self.finished:
            return False
        resident = resident_bytes(self.pid)
        return resident is not None and resident > self.memory

    # What it says

    def read_socket(self) -> tuple[list[Event], bool]:
        """Events that came, and whether the stream is still open."""
        events: list[Event] = []
        for _ in range(READS):
            try:
                frames = self._reader.receive(self.sock)
                events.extend(self._printed_before())
                for frame in frames or ():
                    events.extend(self._events_of(frame))
            except BlockingIOError:
                return events, True
            except OSError:
                return events, False
            except (ValueError, LookupError, TypeError) as error:  # FrameError, or a frame of another shape
                self.kill("machine", detail=f"it sent what is no frame ({error!r:.300})")
                return events, False
            if frames is None:
                return events, False
            if self._reader.drained:
                break
        return events, True

    def _printed_before(self) -> list[Event]:
        """What lies in the pipes now was written before what the socket brought, so it goes first."""
        events: list[Event] = []
        for fd in self.pipes:
            for _ in range(READS):  # more can only come of processes that go on writing
                found, _ = self.read_pipe(fd)
                if not found:
                    break
                events.extend(found)
        return events

    def _events_of(self, frame: Frame) -> Sequence[Event]:
        meta = frame.meta
        match meta["kind"]:
            case "batch":
                batch = batch_of(self.number, frame)
                events: list[Event] = [batch] if len(batch.seqs) else []
                if meta["ended"]:
                    self._ended = True
                    events.append(Ended(self.number, *meta["ended"]))
                return events
            case "outcome":
                return [Answered(self.number, codec.unpack_outcome(frame))]
            case "log":
                seq = meta["seq"]
                text = bytes(frame.parts[0]).decode("utf-8", "replace")
                if meta["stream"] == "stderr":
                    self._remember("socket", text)
                return [Output(self.number, seq if seq >= 0 else None, meta["stream"], text)]
            case _:
                return [Asked(self.number, frame)]

    def read_pipe(self, fd: int) -> tuple[list[Event], bool]:
        """Text that came past Python's streams (C code, subprocesses), put down to the call that runs now, or that ran
        last: it may be read when its call has ended."""
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return [], True
        except OSError:
            return [], False
        if not data:
            return [], False
        text = data.decode("utf-8", "backslashreplace")
        if self.pipes[fd] == "stderr":
            self._remember("pipe", text)
        running = self.mark().seq
        if running is not None:
            self._ran = running
        return [Output(self.number, self._ran, self.pipes[fd], text)], True

    def _remember(self, source: str, text: str) -> None:
        self._stderr[source] = (self._stderr[source] + text[-STDERR_TAIL:])[-STDERR_TAIL:]

    def finish(self, code: int | None, detail: str = "") -> list[Event]:
        """It is gone (``code``: as ``subprocess`` has it; ``None``: nobody knows): read what is left, say why."""
        if self.finished:
            return []
        self.finished = True
        events: list[Event] = []
        for fd in self.pipes:
            is_open = True
            while is_open:
                found, is_open = self.read_pipe(fd)
                events.extend(found)
                is_open = is_open and bool(found)
        is_open = True
        while is_open:
            found, is_open = self.read_socket()
            events.extend(found)
            is_open = is_open and bool(found)
        unsent = self.marks.unsent(self.number)
        if unsent is not None:
            events.append(unsent)
        running = self.mark().seq
        events.append(Lost(self.number, self._loss(code, detail), running))
        return events

    def _loss(self, code: int | None, detail: str) -> Loss:
        output = "\n".join(text for text in self._stderr.values() if text)
        if self._verdict is not None:
            verdict = self._verdict
            return Loss(verdict.kind, code, verdict.limit, verdict.detail or detail, output)
        if self.group is not None and self.group.killed():
            return Loss("memory", code, self.memory, detail, output)
        if code is None:
            return Loss("start" if self.pid is None else "machine", None, None, detail, output)
        if code < 0:
            return Loss("signal", -code, None, detail, output)
        return Loss("exit", code, None, detail, output)

    def release(self) -> None:
        """Close descriptors; the worker is finished."""
        self.sock.close()
        for fd in self.pipes:
            os.close(fd)
        self.pipes = {}
        if self.group is not None:
            self.group.remove()
