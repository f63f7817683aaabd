"""How a program ends: what was submitted is finished, as the standard executors do; after Ctrl-C it is killed.

A Ctrl-C while somebody waits for a call is remembered, also when the program catches it: nobody wants that call any
more.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import Protocol


class Endable(Protocol):
    """An executor."""

    def shutdown(self) -> None: ...

    def kill(self) -> None: ...


_alive: weakref.WeakKeyDictionary[Endable, int] = weakref.WeakKeyDictionary()
_interrupts: list[bool] = []


def note_interrupt() -> None:
    """A ``KeyboardInterrupt`` went through a wait for calls."""
    _interrupts.append(True)


def end_at_exit(executor: Endable) -> None:
    """End this executor when the process ends, unless it was ended before. A fork's exit does not count."""
    _alive[executor] = os.getpid()


def has_ended(executor: Endable) -> None:
    """There is nothing left to end."""
    _alive.pop(executor, None)


def _end_all() -> None:
    interrupted = bool(_interrupts) or isinstance(getattr(sys, "last_value", None), KeyboardInterrupt)
    for executor, pid in list(_alive.items()):
        if pid == os.getpid():
            (executor.kill if interrupted else executor.shutdown)()


atexit.register(_end_all)
