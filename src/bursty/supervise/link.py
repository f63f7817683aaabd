"""The worker's end of the socket: sends frames, captures what a call prints, asks the host."""

from __future__ import annotations

import io
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable, Iterator

from bursty.supervise.wire import FrameReader, send_blocking
from bursty.values import Frame

LINE_BYTES = 4 << 10
CALL_BYTES = 1 << 20
"""Text of one call that is passed on; of what comes after only the end is kept."""
TAIL_BYTES = 8 << 10


class ChildLink:
    """One socket, shared by the main loop, captured streams and nested calls of any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._reader = FrameReader()
        self._ready: list[Frame] = []
        self._inbox: queue.SimpleQueue[Frame | None] | None = None
        self._waiting: dict[int, Callable[[Frame], None]] = {}
        self._asked = 0
        self.pending = False
        self.leaving = False
        """Whether the worker takes no further invocation."""
        self.streams: list[CallStream] = []
        self.current: Callable[[], int] = lambda: -1
        self.call_bytes = CALL_BYTES

    def send(self, frame: Frame) -> None:
        with self._lock:
            send_blocking(self._sock, frame)

    def invocations(self) -> Iterator[Frame]:
        """Frames for the main loop, until the supervisor closes the socket or the worker leaves."""
        while not self.leaving:
            if self._inbox is not None:
                frame = self._inbox.get()
                if frame is None:
                    return
                yield frame
                continue
            if not self._ready:
                frames = self._reader.receive(self._sock)
                if frames is None:
                    return
                self._ready.extend(frames)
                continue
            yield self._ready.pop(0)

    def ask(self, frame: Frame, on_answer: Callable[[Frame], None]) -> int:
        """Send a question; every answer to it is given to ``on_answer`` on a thread of this link."""
        with self._lock:
            if self._inbox is None:
                self._inbox = queue.SimpleQueue()
                for ready in self._ready:
                    self._inbox.put(ready)
                threading.Thread(target=self._read, name="bursty-host", daemon=True).start()
            self._asked += 1
            number = self._asked
            self._waiting[number] = on_answer
            send_blocking(self._sock, Frame({**frame.meta, "ask": number}, frame.parts))
        return number

    def forget(self, number: int) -> None:
        """No more answers are wanted to this question."""
        self._waiting.pop(number, None)

    def _read(self) -> None:
        assert self._inbox is not None
        while True:
            try:
                frames = self._reader.receive(self._sock)
            except OSError:
                frames = None
            if frames is None:
                self._inbox.put(None)
                return
            for frame in frames:
                if frame.meta["kind"] != "answer":
                    self._inbox.put(frame)
                elif (on_answer := self._waiting.get(frame.meta["ask"])) is not None:
                    on_answer(frame)

    # Captured output

    def capture(self, current: Callable[[], int], call_bytes: int = CALL_BYTES) -> None:
        """From now on what Python code prints goes to the supervisor with the number of the call that printed it.

        ``call_bytes``: characters of one call that are passed on before only the end is.
        """
        self.current = current
        self.call_bytes = call_bytes
        self.streams = [CallStream(self, "stdout", 1), CallStream(self, "stderr", 2)]
        sys.stdout, sys.stderr = self.streams

    def end_call(self) -> None:
        self.pending = False
        for stream in self.streams:
            stream.end_call()

    def log(self, stream: str, seq: int, text: str) -> None:
        self.send(Frame({"kind": "log", "stream": stream, "seq": seq}, [text.encode("utf-8", "backslashreplace")]))

    def detach(self) -> None:
        """In a fork of the worker: leave the socket to the parent, print to the plain descriptors."""
        self._lock = threading.Lock()
        self._sock = socket.socket()
        for stream in self.streams:
            stream.detached = True


class CallStream(io.TextIOBase):
    """Stands for ``sys.stdout`` or ``sys.stderr`` in a worker."""

    def __init__(self, link: ChildLink, name: str, fd: int) -> None:
        self._link = link
        self._name = name
        self._fd = fd
        self._seq = -1
        self._held: list[str] = []
        self._held_size = 0
        self._sent = 0
        self._tail = ""
        self._dropped = 0
        self._guard = threading.RLock()
        self.detached = False
        self.buffer = _Binary(self)

    encoding = "utf-8"  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    errors = "backslashreplace"  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    @property
    def name(self) -> str:
        return f"<{self._name}>"

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def write(self, text: str, /) -> int:
        if self.detached:
            os.write(self._fd, text.encode("utf-8", "backslashreplace"))
            return len(text)
        with self._guard:
            seq = self._link.current()
            if seq != self._seq:
                self.end_call()
                self._seq = seq
            self._link.pending = True
            self._take(text)
        return len(text)

    def _take(self, text: str) -> None:
        room = self._link.call_bytes - self._sent - self._held_size
        if len(text) > room:
            self._dropped += len(text) - max(room, 0)
            self._tail = (self._tail + text[max(room, 0) :][-TAIL_BYTES:])[-TAIL_BYTES:]
            text = text[: max(room, 0)]
        if text:
            self._held.append(text)
            self._held_size += len(text)
            if self._held_size >= LINE_BYTES or "\n" in text:
                self.flush()

    def flush(self) -> None:
        if self.detached:
            return
        with self._guard:
            if self._held:
                text = "".join(self._held)
                self._held.clear()
                self._sent += self._held_size
                self._held_size = 0
                self._link.log(self._name, self._seq, text)

    def end_call(self) -> None:
        """Pass on what is held; what follows belongs to another call."""
        with self._guard:
            self.flush()
            if self._dropped:
                left_out = self._dropped - len(self._tail)
                self._link.log(self._name, self._seq, f"\n[… {left_out} characters left out …]\n{self._tail}\n")
            self._sent = self._dropped = 0
            self._tail = ""


class _Binary(io.RawIOBase):
    """``sys.stdout.buffer``."""

    def __init__(self, text: CallStream) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._text.write(bytes(data).decode("utf-8", "backslashreplace"))
        return len(data)

    def flush(self) -> None:
        self._text.flush()

    def fileno(self) -> int:
        return self._text.fileno()
