"""What a worker is to do, what it did, and who it is."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

LEASE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """``slots``: attempts at once. ``lease``: seconds a run stays ours without a word. ``stay``: wait for more when
    nothing is left. ``app``: only its runs. ``only``: end when this run is over. ``secrets``: what logs must not show.
    """

    slots: int = 1
    lease: float = LEASE_SECONDS
    stay: bool = False
    app: str | None = None
    only: str | None = None
    secrets: tuple[str, ...] = ()


@dataclass(slots=True)
class Tally:
    """What a worker did."""

    claimed: int = 0
    ended: int = 0
    retried: int = 0
    stale: int = 0


def owner_name() -> str:
    """Who holds a lease: the machine, the process, and a number that no other worker has."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(3).hex()}"


def unfailing(say: Callable[[str], None]) -> Callable[[str], None]:
    """A terminal that is gone must not end a worker."""

    def quietly(line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            say(line)

    return quietly
