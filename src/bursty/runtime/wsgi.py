"""WSGI (PEP 3333): a request as an ASGI scope, answered by a WSGI app. Without threads or sockets of its own."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from bursty.core.asgiframes import bad_header
from bursty.values import Buffer

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

NO_BODY = (204, 304)
BASE: Mapping[str, Any] = {
    "wsgi.version": (1, 0),
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,  # read to the end and no further: also bodies whose length nobody told
}


class Sink(Protocol):
    """Where a response goes, piece by piece. ``OSError``: nobody wants it any more."""

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    def body(self, data: Buffer, more: bool) -> None: ...


def environ_of(scope: Mapping[str, Any], body: Any) -> dict[str, Any]:
    """The request as RFC 3875 has it. ``body``: a file to read it from. Text holds bytes, as latin-1."""
    root = scope.get("root_path", "")
    raw = scope.get("raw_path") or scope["path"].encode()
    path, query = unquote_to_bytes(raw).decode("latin-1"), scope["query_string"].decode("latin-1")
    host, port = scope.get("server") or ("localhost", 80)
    environ = {
        **BASE,
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root,
        "PATH_INFO": path.removeprefix(root),
        "QUERY_STRING": query,
        "REQUEST_URI": raw.decode("latin-1") + ("?" + query if query else ""),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or ""),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
    }
    if scope.get("client"):
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = scope["client"][0], str(scope["client"][1])
    for name, value in scope["headers"]:
        _add_header(environ, name.decode("latin-1"), value.decode("latin-1"))
    return environ


def _add_header(environ: dict[str, Any], name: str, value: str) -> None:
    """``X_A`` would pass for ``X-A``, and ``Proxy`` for the variable that HTTP clients heed: both are left out."""
    if "_" in name or name == "proxy":
        return
    key = name.upper().replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = "HTTP_" + key
    if key in environ:
        value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
    environ[key] = value


class Body(io.RawIOBase):
    """A request's body as a file. ``pull``: waits for the next piece; ``None``: that was all. It raises ``OSError``
    when the client hung up before."""

    def __init__(self, pull: Callable[[], Buffer | None]) -> None:
        self._pull = pull
        self._piece = memoryview(b"")
        self._is_over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._piece and not self._is_over:
            piece = self._pull()
            self._is_over = piece is None
            self._piece = memoryview(piece or b"")
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


class Answering:
    """One response under way."""

    def __init__(self, sink: Sink, method: str) -> None:
        self._sink = sink
        self._is_head = method == "HEAD"
        self._head: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self.is_started = False
        self._is_over = False

    def run(self, app: WsgiApp, environ: dict[str, Any]) -> None:
        """Raises what the app raises, and ``OSError`` when nobody wants the response any more."""
        result = app(environ, self.start_response)
        try:
            alone = _is_one(result)
            for piece in result:
                if piece:
                    self._write(piece, more=not alone)
                if self._is_head and self._head is not None:
                    break
            if not self._is_over:
                self._finish()
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """As PEP 3333 has it; a second call needs ``exc_info``, and raises it once headers are on their way."""
        if exc_info is not None:
            try:
                if self.is_started:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._head is not None:
            raise RuntimeError("start_response() was called twice, the second time without exc_info")
        if not (status[:3].isdecimal() and status[3:4] in ("", " ")):
            raise ValueError(f"the status must look like '200 OK', not {status!r}")
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if (bad := bad_header(encoded)) is not None:
            raise ValueError(f"the header {bad!r} holds characters that headers can't have, such as line ends")
        self._head = int(status[:3]), encoded
        return self._write_now

    def _write_now(self, data: bytes) -> None:
        """What ``start_response`` gives, for apps of the old kind."""
        if data:
            self._write(data, more=True)

    def _write(self, data: bytes, *, more: bool) -> None:
        if not self.is_started:
            self._start(None if more else len(data))
        self._is_over = not more
        if not self._is_head:
            self._sink.body(data, more)
        elif not more:
            self._sink.body(b"", False)

    def _start(self, length: int | None) -> None:
        """``length``: of the whole body, when that is known."""
        if self._head is None:
            raise RuntimeError("the app gave a body before it called start_response()")
        status, headers = self._head
        if length is not None and not any(name.lower() == b"content-length" for name, _ in headers):
            headers = [*headers, (b"content-length", b"%d" % length)]
        self.is_started = True
        self._sink.start(status, headers)

    def _finish(self) -> None:
        if not self.is_started:
            known = self._head is not None and not self._is_head and self._head[0] not in NO_BODY
            self._start(0 if known else None)
        self._sink.body(b"", False)


def _is_one(result: Any) -> bool:
    """Whether the body is a single piece, so that its length is known."""
    try:
        return len(result) == 1
    except TypeError:
        return False
