"""A TCP proxy on loopback that cuts connections when told to."""

import socket
import struct
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """Passes what comes to a port of its own on to ``target``, a port of loopback; ``with`` it to run it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._limits: tuple[int | None, int | None] = (None, None)
        self._left: int | None = 0
        self.cuts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self, *, up: int | None = None, down: int | None = None, connections: int | None = None) -> None:
        """Cut connections once more than so many bytes went up or came down: the next ``connections``, or all.

        Those that are open are closed, so that this holds for whatever comes next.
        """
        with self._lock:
            self._limits, self._left = (up, down), connections
            stale = list(self._open)
        for end in stale:
            _reset(end)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            ends, threads = list(self._open), list(self._threads)
        for end in ends:
            _reset(end)
        for thread in threads:
            thread.join(10)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        thread.start()
        with self._lock:
            self._threads = [*filter(threading.Thread.is_alive, self._threads), thread]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            with self._lock:
                self._open |= {client, server}
            ended: list[int] = []
            self._start(self._pump, client, server, 0, ended)
            self._start(self._pump, server, client, 1, ended)

    def _pump(self, source: socket.socket, sink: socket.socket, way: int, ended: list[int]) -> None:
        """``ended``: the ways that came to their end in good order; after both, the connection is closed."""
        passed = 0
        try:
            while data := source.recv(65536):
                passed += len(data)
                if self._is_over(passed, way):
                    break
                sink.sendall(data)
            else:
                sink.shutdown(socket.SHUT_WR)
                with self._lock:
                    ended.append(way)
                    if len(ended) < 2:
                        return
        except OSError:
            pass
        for end in (source, sink):
            _reset(end)
        with self._lock:
            self._open -= {source, sink}

    def _is_over(self, passed: int, way: int) -> bool:
        with self._lock:
            limit = self._limits[way]
            if limit is None or passed <= limit or self._left == 0:
                return False
            if self._left is not None:
                self._left -= 1
            self.cuts += 1
            return True


def _reset(end: socket.socket) -> None:
    """Close at once, with a reset, both ways."""
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)
        end.close()
    except OSError:
        end.close()
