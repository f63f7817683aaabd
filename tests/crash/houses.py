"""The three stores under test, and how each is taken away for a while."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from crash.plan import SKEW
from dynamo import dynamo_server
from postgres import Postgres
from servers import aws_environ
from tcp_proxy import Proxy

DYNAMO_SKEW = 2 * SKEW + 0.5
"""Clocks that are off by 2 s to either side differ by 4 s."""

Hold = Callable[[Path, bool], AbstractContextManager[None]]
"""Somebody holds SQLite's write lock at a path meanwhile, and is killed at last when told so."""


@dataclass(frozen=True)
class House:
    """``url``: of the store; ``environ``: what its users need. ``skew``: by which it judges leases. ``true_leases``:
    whether leases hold by the real clock though those of the workers are off: SQLite's users share a machine, so it
    allows for no difference. ``away``: takes the store away meanwhile; told ``True``, as a crash does.
    """

    name: str
    url: str
    away: Callable[[bool], AbstractContextManager[None]]
    environ: dict[str, str] = field(default_factory=dict[str, str])
    skew: float = 0.0
    true_leases: bool = True


Open = Callable[[Path, Hold], AbstractContextManager[House]]
"""Opens a house: in a folder, with somebody who can hold locks."""


@contextmanager
def sqlite(folder: Path, hold: Hold) -> Generator[House]:
    """A file. It has no server; while it is away, a process keeps the write lock."""
    path = folder / "state.sqlite"
    yield House("sqlite", f"sqlite:///{path}", lambda hard: hold(path, hard), true_leases=False)


def postgres(server: Postgres) -> Open:
    """A database on this server, which is stopped in fast mode, or in immediate mode, and started again."""

    @contextmanager
    def away(hard: bool) -> Generator[None]:
        server.stop(signal.SIGQUIT if hard else signal.SIGINT)
        yield
        server.start()

    @contextmanager
    def opened(folder: Path, hold: Hold) -> Generator[House]:
        url = server.database()
        yield House("postgres", url, away)
        server.drop(url)

    return opened


@contextmanager
def dynamodb(folder: Path, hold: Hold) -> Generator[House]:
    """moto's server. It keeps its tables in memory, so it can't be restarted: connections to it are cut instead; in a
    crash when answers come back, so that what was asked has been done.
    """
    with dynamo_server(folder) as url, Proxy(int(url.rpartition(":")[2])) as proxy:

        @contextmanager
        def away(hard: bool) -> Generator[None]:
            proxy.cut(down=0) if hard else proxy.cut(up=0)
            yield
            proxy.cut(connections=0)

        table = f"dynamodb://crash-{os.getpid()}?create=1&skew={DYNAMO_SKEW}"
        yield House("dynamodb", table, away, aws_environ(proxy.url), DYNAMO_SKEW)
