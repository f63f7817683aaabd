"""A real Redis for tests: Debian's redis-server, in a temporary folder, on a private port of loopback.

    def test_something(redis: Redis) -> None:
        url = redis.url

It keeps nothing on the disk, and ends with pytest, however that ends.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from servers import free_port

READY_SECONDS = 60
USER = "redis"
PASSWORD = "test-secret"


class Redis:
    """``password``: that clients must give."""

    def __init__(self, folder: Path, password: str = "") -> None:
        program = shutil.which("redis-server")
        assert program is not None, "these tests need redis-server: run tools/system-packages"
        self._program = program
        self._folder = folder
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        login = f":{self._password}@" if self._password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server, on the port that it had, and wait until it answers."""
        for _ in range(5):
            port = self.port or free_port()
            self._process = subprocess.Popen(self._command(port), cwd=self._folder, stdout=subprocess.DEVNULL)
            if self._is_ready(port):
                self.port = port
                return
        raise AssertionError("redis-server did not start")

    def _command(self, port: int) -> list[str]:
        options = {
            "bind": "127.0.0.1", "port": str(port), "dir": str(self._folder), "save": "", "appendonly": "no",
            "maxmemory": "32mb", "maxmemory-policy": "allkeys-lru",
            **({"requirepass": self._password} if self._password else {}),
        }  # fmt: skip
        return [*as_user(), self._program, *(part for name, value in options.items() for part in (f"--{name}", value))]

    def _is_ready(self, port: int) -> bool:
        assert self._process is not None
        end = time.monotonic() + READY_SECONDS
        while self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as client:
                client.sendall(b"PING\r\n")
                if client.recv(100).startswith((b"+PONG", b"-NOAUTH")):
                    return True
            assert time.monotonic() < end, "redis-server did not answer"
            time.sleep(0.01)
        return False

    def stop(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def restart(self) -> None:
        """Every connection breaks, and all that it kept is gone."""
        self.stop()
        self.start()

    @contextlib.contextmanager
    def hanging(self) -> Generator[None]:
        """It takes connections, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


def as_user() -> list[str]:
    """Not as root, and not for longer than pytest."""
    if shutil.which("setpriv") is None:
        return []
    change = ["--reuid", USER, "--regid", USER, "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *change, "--pdeathsig", "KILL"]


def run_redis(password: str = "") -> Generator[Redis]:
    """For fixtures."""
    with tempfile.TemporaryDirectory(prefix="bursty-redis-") as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, USER, USER)
        server = Redis(Path(folder), password)
        try:
            server.start()
            yield server
        finally:
            server.stop()
