"""The worker's host: how code in a call reaches what is outside. Empty in a client."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

from bursty.values import Buffer, Frame


class WorkerHost(Protocol):
    """What the worker's process offers to code that runs in it. See ports.Host."""

    spill_bytes: int
    depth: int
    workers: int

    def put_part(self, data: Buffer) -> tuple[str, int]: ...

    def get_part(self, digest: str, size: int) -> Buffer: ...

    def ask(self, frame: Frame, on_answer: Callable[[Frame], None]) -> int: ...

    def forget(self, number: int) -> None: ...

    def leave(self) -> None:
        """This worker makes no call after the present one: it ends, so that the next finds a fresh process."""
        ...


_host: list[WorkerHost] = []
_importing: list[str] = []


@contextmanager
def importing(what: str) -> Generator[None, None, None]:
    """While workers import the user's modules: an executor made then would import them again, and so on for ever."""
    _importing.append(what)
    try:
        yield
    finally:
        _importing.pop()


def importing_now() -> str | None:
    """What is being imported by a worker or its zygote in this process, if anything."""
    return _importing[-1] if _importing else None


def set_host(host: WorkerHost) -> None:
    """Called once, by the worker's main."""
    _host[:] = [host]


def current_host() -> WorkerHost | None:
    """The host when this process is a worker, else ``None``."""
    return _host[0] if _host else None
