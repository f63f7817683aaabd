"""The access log: one line of JSON for each request, written by a thread so that no request waits for a disk."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from bursty.errors import ConfigError

NOTED = "bursty.noted"
"""Where in a request's scope the app leaves what only it knows: ``Noted``."""
CAPACITY = 20_000
EVERY = 0.2
LONGEST_PATH, LONGEST_AGENT = 500, 200


class Noted(NamedTuple):
    """``size``: of the answer's body. ``answer``: where it came from."""

    request_id: str = ""
    answer: str = ""
    size: int | None = None


class _Entry(NamedTuple):
    at: float
    scope: Mapping[str, Any]
    status: int
    seconds: float


class AccessLog:
    """``path``: a file to append to; ``None``: standard error. Lines beyond ``capacity`` that wait to be written are
    dropped and counted, so are those that can't be written. Raises ``ConfigError`` when the file can't be opened.

    Of a query only the names are logged, and no header but the user agent: values may be anybody's secret.
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        capacity: int = CAPACITY,
        every: float = EVERY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.dropped = 0
        self._capacity = capacity
        self._every = every
        self._clock = clock
        self._file = _open(path)
        self._waiting: deque[_Entry] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, name="bursty-access-log", daemon=True)
        self._thread.start()

    def note(self, scope: Mapping[str, Any], status: int, seconds: float) -> None:
        """A request was answered. For the event loop: it only queues."""
        if len(self._waiting) < self._capacity:
            self._waiting.append(_Entry(self._clock(), scope, status, seconds))
        else:
            self.dropped += 1

    def close(self, patience: float = 2.0) -> None:
        """Write what waits. A file or pipe that takes nothing is given up after ``patience`` seconds."""
        self._stop.set()
        self._thread.join(patience)
        if not self._thread.is_alive() and self._file != 2:
            os.close(self._file)

    def _keep_writing(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(self._every)
            self._write()

    def _write(self) -> None:
        data = memoryview(b"".join(_line(self._waiting.popleft()) for _ in range(len(self._waiting))))
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:  # a full disk, a closed pipe: there is nowhere to say it but the count
            self.dropped += bytes(data).count(b"\n")


def _open(path: str | None) -> int:
    if path is None:
        return 2
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise ConfigError(
            f"the access log {path} can't be opened: {error.strerror}", "Choose another file, or leave it to stderr."
        ) from error


def _line(entry: _Entry) -> bytes:
    scope = entry.scope
    noted: Noted = scope.get(NOTED) or Noted()
    client: Sequence[Any] | None = scope.get("client")
    content: dict[str, Any] = {
        "time": _rfc3339(entry.at),
        "id": noted.request_id,
        "method": scope.get("method", "WEBSOCKET"),
        "path": _path(scope),
        "status": entry.status,
        "ms": round(entry.seconds * 1e3, 3),
        "bytes": noted.size,
        "answer": noted.answer,
        "client": str(client[0]) if client else "",
        "agent": _agent(scope["headers"]),
    }
    return msgspec.json.encode({key: value for key, value in content.items() if value not in ("", None)}) + b"\n"


def _rfc3339(at: float) -> str:
    whole, milliseconds = divmod(round(at * 1e3), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03}Z"


def _path(scope: Mapping[str, Any]) -> str:
    """As it was sent, with the names of the query but not its values."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string") or b""
    names = b"&".join(pair.partition(b"=")[0] for pair in query.split(b"&")) if query else b""
    return (raw + (b"?" + names if query else b""))[:LONGEST_PATH].decode("ascii", "replace")


def _agent(headers: Sequence[tuple[bytes, bytes]]) -> str:
    found = next((value for name, value in headers if name == b"user-agent"), b"")
    return found[:LONGEST_AGENT].decode("latin-1")
