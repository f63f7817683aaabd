"""A real PostgreSQL server for tests: Debian's, in a temporary folder, on a private port of loopback.

    def test_something(postgres: Postgres) -> None:
        url = postgres.database()       # a fresh one

One server per process of pytest (the fixture is in conftest.py). It ends with pytest, however that ends.
"""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

USER = "postgres"
OPTIONS = (
    "fsync=off",
    "full_page_writes=off",
    "listen_addresses=127.0.0.1",
    "max_connections=200",
    "log_min_messages=fatal",
)
READY_SECONDS = 60


class Postgres:
    """``fsync`` is off: it survives its own crash, not the machine's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = find_programs()
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        command = [self._programs / "initdb", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "-U", USER]
        subprocess.run([*as_user(), *command, "-D", folder / "data"], cwd=folder, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start the server, on the port that it had, and wait until it answers."""
        import psycopg

        self.port = self.port or free_port()
        options = [
            part
            for option in (*OPTIONS, f"port={self.port}", f"unix_socket_directories={self._folder}")
            for part in ("-c", option)
        ]
        command = [*as_user(), self._programs / "postgres", "-D", self._folder / "data", *options]
        self._process = subprocess.Popen(command, cwd=self._folder, stderr=subprocess.DEVNULL)
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, "PostgreSQL ended at once: is its port taken?"
                assert time.monotonic() < end, "PostgreSQL did not answer"
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """``SIGINT`` ends it at once but in good order, ``SIGQUIT`` as a crash does."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop and start: every connection breaks."""
        self.stop(how)
        self.start()

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def database(self, template: str = "template0") -> str:
        """The URL of a new database, a copy of ``template``."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def template(self, fill: Callable[[str], None]) -> str:
        """The name of a new database that ``fill`` has put tables into, to be copied."""
        url = self.database()
        fill(url)
        return url.rpartition("/")[2]

    def copies(self, template: str) -> Generator[str]:
        """For fixtures: the URL of a copy, dropped behind the test."""
        url = self.database(template)
        yield url
        self.drop(url)

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run a statement as the server's owner."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


def find_programs() -> Path:
    """The folder of ``initdb`` and ``postgres``; Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert folders, "these tests need PostgreSQL: run tools/system-packages"
    return folders[-1]


def as_user() -> list[str]:
    """PostgreSQL refuses to run as root; and it must not outlive pytest."""
    if shutil.which("setpriv") is None:
        return []
    change = ["--reuid", USER, "--regid", USER, "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *change, "--pdeathsig", "QUIT"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def a_folder() -> Iterator[Path]:
    """A folder that the server's user can reach, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="bursty-postgres-") as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, USER, USER)
        yield Path(folder)


def run_postgres() -> Generator[Postgres, None, None]:
    """For the fixture."""
    with a_folder() as folder:
        server = Postgres(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)
