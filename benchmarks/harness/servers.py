"""PostgreSQL and Redis as they come, for all peers of a run: on loopback, on ports of their own, in a temporary folder.

Debian's packages, with their programs' own settings: every commit of PostgreSQL waits for the disk; Redis writes
snapshots now and then.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

READY_SECONDS = 60.0
USER = "postgres"


@contextlib.contextmanager
def running() -> Generator[dict[str, str]]:
    """The servers that can be had: what they are, by name. Where they listen is said to drivers by environment
    variables, ``BURSTY_BENCH_POSTGRES`` and ``BURSTY_BENCH_REDIS``."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bursty-bench-servers-")))
        facts: dict[str, str] = {}
        for name, begin in (("postgresql", _postgres), ("redis", _redis)):
            own = folder / name
            own.mkdir()
            begun = begin(own)
            if begun is None:
                facts[name] = "not installed"
                continue
            process, variable, url, facts[name] = begun
            stack.callback(_end, process)
            stack.enter_context(_variable(variable, url))
            folder.chmod(0o755)
        yield facts


Begun = tuple["subprocess.Popen[bytes]", str, str, str]


def _postgres(folder: Path) -> Begun | None:
    programs = _postgres_programs()
    if programs is None:
        return None
    folder.parent.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    as_user = _as(USER if os.geteuid() == 0 else None)
    data = folder / "data"
    _quietly(
        [
            *as_user,
            str(programs / "initdb"),
            "-A",
            "trust",
            "-U",
            USER,
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "-D",
            str(data),
        ]
    )
    port = _free_port()
    settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={port}", "-c", f"unix_socket_directories={folder}"]
    command = [*as_user, str(programs / "postgres"), "-D", str(data), *settings]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    _await(process, lambda: subprocess.run(ready, check=False).returncode == 0)
    version = _quietly([str(programs / "postgres"), "--version"]).split()[2]
    return process, "BURSTY_BENCH_POSTGRES", f"postgresql://{USER}@127.0.0.1:{port}", f"{version}, its own settings"


def _postgres_programs() -> Path | None:
    """Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


def _redis(folder: Path) -> Begun | None:
    program = shutil.which("redis-server")
    if program is None:
        return None
    port = _free_port()
    command = [*_as(None), program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _await(process, lambda: _answers(port))
    version = _quietly([program, "--version"]).split("v=")[1].split()[0]
    return process, "BURSTY_BENCH_REDIS", f"redis://127.0.0.1:{port}", f"{version}, its own settings"


def _as(user: str | None) -> list[str]:
    """As this user, and not for longer than this process lives."""
    if shutil.which("setpriv") is None:
        return []
    change = ["--reuid", user, "--regid", user, "--clear-groups"] if user else []
    return ["setpriv", *change, "--pdeathsig", "KILL"]


def _quietly(command: list[str]) -> str:
    return subprocess.run(command, cwd="/", check=True, stdout=subprocess.PIPE, text=True).stdout


def _await(process: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> None:
    end = time.monotonic() + READY_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise RuntimeError(f"{process.args} did not start")
        time.sleep(0.05)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _variable(name: str, value: str) -> Generator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
