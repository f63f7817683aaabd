"""AWS Lambda's Runtime API on loopback, with the real awslambdaric as its client, in a process of its own.

    with Function(task_folder, "bursty.lambda_handler.handler", folder=tmp_path) as function:
        reply = function.invoke({"rawPath": "/predict", …})

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html, version 2018-06-01. Its process group is frozen as soon
as it has answered, and thawed for the next event, as Lambda does it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from processes import is_alive

T = TypeVar("T")
PREFIX = "/2018-06-01/runtime/"
INVOCATION = PREFIX + "invocation/"


class FunctionError(Exception):
    """What the function reported instead of an answer; ``about``: as awslambdaric told it."""

    def __init__(self, about: dict[str, Any]) -> None:
        super().__init__(f"{about.get('errorType')}: {about.get('errorMessage')}")
        self.about = about


class Reply(NamedTuple):
    """``error``: whether it is what went wrong. ``at``: monotonic time at which it came."""

    content: Any
    error: bool
    at: float


class _Event(NamedTuple):
    id: str
    data: bytes
    deadline_ms: int


class Box(Generic[T]):
    """One thing after the other, from thread to thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._things: list[T] = []

    def put(self, thing: T) -> None:
        with self._changed:
            self._things.append(thing)
            self._changed.notify()

    def get(self, seconds: float) -> T | None:
        """``None``: there was none in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._things, seconds)
            return self._things.pop(0) if self._things else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A function that is killed hangs up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class RuntimeApi:
    """The server. One event at a time."""

    def __init__(self) -> None:
        self.events = Box[_Event]()
        self.replies = Box[Reply]()
        self.closing = False
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                api.next(self)

            def do_POST(self) -> None:
                api.take(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def next(self, request: BaseHTTPRequestHandler) -> None:
        assert request.path == INVOCATION + "next", request.path
        while not self.closing:
            event = self.events.get(0.1)
            if event is None:
                continue
            request.send_response(200)
            headers = {
                "Lambda-Runtime-Aws-Request-Id": event.id,
                "Lambda-Runtime-Deadline-Ms": str(event.deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:test",
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1",
                "Content-Type": "application/json",
                "Content-Length": str(len(event.data)),
            }
            for name, value in headers.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(event.data)
            return

    def take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        is_error = request.path.endswith("/error")
        assert is_error or request.path.endswith("/response"), request.path
        self.replies.put(Reply(json.loads(body), is_error, time.monotonic()))
        request.send_response(202)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def close(self) -> None:
        self.closing = True
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Function:
    """A function's only instance. ``freezes``: it stands still between two events. ``timeout``: seconds an event may
    take. ``environ``: variables of the function."""

    def __init__(
        self,
        task: Path,
        handler: str,
        *,
        folder: Path,
        timeout: float = 30.0,
        freezes: bool = True,
        environ: dict[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        self._freezes = freezes
        self._timeout = timeout
        self.answered_at = 0.0
        """Monotonic: when the last answer came."""
        self._api = RuntimeApi()
        scratch = folder / f"tmp-{uuid.uuid4().hex[:8]}"
        scratch.mkdir(parents=True)
        self._log = folder / f"{scratch.name}.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BURSTY_", "AWS_", "PYTHON"))}
        with open(self._log, "wb") as output:
            self.process = subprocess.Popen(
                [python, "-m", "awslambdaric", handler],
                cwd=task,
                env={
                    **kept,
                    "AWS_LAMBDA_RUNTIME_API": self._api.address,
                    "AWS_LAMBDA_FUNCTION_NAME": "test",
                    "LAMBDA_TASK_ROOT": str(task),
                    "TMPDIR": str(scratch),
                    "HOME": "/nowhere",
                    **(environ or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def __enter__(self) -> "Function":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def invoke(self, event: Any, *, timeout: float | None = None) -> Any:
        """What the function returns. Raises ``FunctionError`` for what it raises, at the start or now."""
        self._thaw()
        seconds = timeout or self._timeout
        deadline_ms = int((time.time() + seconds) * 1000)
        self._api.events.put(_Event(str(uuid.uuid4()), json.dumps(event).encode(), deadline_ms))
        reply = self._reply(seconds + 60)
        self.answered_at = reply.at
        if self._freezes:
            self._freeze()
        if reply.error:
            raise FunctionError(reply.content)
        return reply.content

    def _reply(self, seconds: float) -> Reply:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            reply = self._api.replies.get(0.1)
            if reply is not None:
                return reply
            assert self.process.poll() is None, f"the function's process has ended:\n{self.log}"
        raise AssertionError(f"the function has not answered:\n{self.log}")

    def _freeze(self) -> None:
        """All of them, as far as signals can: from the top down, until none is left that was just born."""
        frozen: set[int] = set()
        while born := [pid for pid in self.family() if pid not in frozen]:
            _send(born, signal.SIGSTOP)
            frozen.update(born)

    def _thaw(self) -> None:
        _send(self.family(), signal.SIGCONT)

    def family(self) -> list[int]:
        """Its process and all that it started."""
        found, parents = [self.process.pid], _parents()
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def close(self) -> None:
        family = self.family()
        self.process.kill()
        _send(family, signal.SIGCONT)
        self.process.wait()
        self._api.close()
        end = time.monotonic() + 60
        while any(is_alive(pid) for pid in family):
            assert time.monotonic() < end, "the function left processes behind"
            time.sleep(0.01)


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _parents() -> dict[int, int]:
    """Of every process there is."""
    found: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            found[int(name)] = int(fields[1])
    return found
