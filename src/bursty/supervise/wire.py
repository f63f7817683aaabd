"""Frames over a stream socket, blocking or not."""

from __future__ import annotations

import socket
from collections import deque

from bursty.core.codec import FrameError, decode, frame_size, head
from bursty.values import Buffer, Frame

CHUNK = 256 << 10
IOV_MAX = 512


class FrameReader:
    """Cuts what a socket gives into frames. Large frames are received in place, into writable memory of their own."""

    def __init__(self) -> None:
        self._scratch = bytearray(CHUNK)
        self._rest = b""
        self._large: bytearray | None = None
        self._filled = 0
        self.drained = False
        """Whether the last read left nothing behind, so that another one would find the socket empty."""

    def receive(self, sock: socket.socket) -> list[Frame] | None:
        """Read once; return the frames that are complete now, ``None`` at the end of the stream.

        Raises ``BlockingIOError`` as the socket does, ``FrameError`` when the bytes are no frames.
        """
        if self._large is not None:
            self.drained = False
            got = sock.recv_into(memoryview(self._large)[self._filled :])
            if not got:
                return None
            self._filled += got
            if self._filled < len(self._large):
                return []
            frame, self._large = decode(self._large), None
            return [frame]
        got = sock.recv_into(self._scratch)
        self.drained = got < CHUNK
        if not got:
            return None
        return self._cut(self._rest + memoryview(self._scratch)[:got])

    def _cut(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        position, view = 0, memoryview(data)
        while position < len(data) and (size := frame_size(view[position:])) is not None:
            if position + size > len(data):
                self._large = _memory(size)
                self._filled = len(data) - position
                self._large[: self._filled] = view[position:]
                self._rest = b""
                return frames
            frames.append(decode(bytearray(view[position : position + size])))
            position += size
        self._rest = data[position:]
        return frames


def _memory(size: int) -> bytearray:
    try:
        return bytearray(size)
    except (MemoryError, OverflowError) as error:
        raise FrameError(f"a frame says that it has {size} bytes, which this machine can't hold") from error


def buffers_of(frame: Frame) -> list[Buffer]:
    """What to send for a frame. Many small parts are joined: a system call takes a limited number of buffers."""
    if len(frame.parts) > IOV_MAX or sum(map(len, frame.parts)) < CHUNK:
        return [b"".join((head(frame), *frame.parts))]
    return [head(frame), *frame.parts]


def send_blocking(sock: socket.socket, frame: Frame) -> None:
    """Send a whole frame on a blocking socket."""
    found = buffers_of(frame)
    sent = sock.send(found[0]) if len(found) == 1 else 0
    if len(found) == 1 and sent == len(found[0]):
        return
    buffers = deque(memoryview(buffer).cast("B") for buffer in found if len(buffer))
    advance(buffers, sent)
    while buffers:
        advance(buffers, sock.sendmsg(list(buffers)[:IOV_MAX]))


def advance(buffers: deque[memoryview], sent: int) -> None:
    """Drop the first ``sent`` bytes."""
    while sent:
        first = buffers[0]
        if len(first) > sent:
            buffers[0] = first[sent:]
            return
        sent -= len(first)
        buffers.popleft()


class Outbox:
    """Frames on their way into a non-blocking socket."""

    def __init__(self) -> None:
        self._buffers: deque[memoryview] = deque()

    def send(self, sock: socket.socket, frame: Frame) -> bool:
        """Queue a frame and send what goes now; as ``flush``."""
        found = buffers_of(frame)
        sent = 0
        if not self._buffers and len(found) == 1:
            try:
                sent = sock.send(found[0])
            except BlockingIOError:
                pass
            except OSError:
                return True
            if sent == len(found[0]):
                return True
        self._buffers.extend(memoryview(buffer).cast("B") for buffer in found if len(buffer))
        advance(self._buffers, sent)
        return self.flush(sock)

    def flush(self, sock: socket.socket) -> bool:
        """Send what goes now; tell whether nothing is left. A closed peer swallows: its loss is noticed elsewhere."""
        while self._buffers:
            try:
                sent = sock.sendmsg([self._buffers[i] for i in range(min(len(self._buffers), IOV_MAX))])
            except BlockingIOError:
                return False
            except OSError:
                self._buffers.clear()
                return True
            advance(self._buffers, sent)
        return True
