"""Processes that a job leaves behind: they end with its run, however they were started. Linux; elsewhere nothing."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
"""From <sys/prctl.h>: orphans among our descendants become our children (prctl(2))."""
PATIENCE_SECONDS = 5.0


@contextlib.contextmanager
def no_strays() -> Generator[None]:
    """Processes that are started inside and still live at the end are killed; multiprocessing may be used after."""
    if sys.platform != "linux":
        yield
        return
    prctl = _prctl()
    before = set(_children())
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        _kill_children(before | _tracker())
        _forget_forkserver(before)
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@functools.cache
def _prctl() -> Callable[..., int]:
    return ctypes.CDLL(None).prctl


def _tracker() -> set[int]:
    """multiprocessing's resource tracker: it removes shared memory that nobody uses, runs nothing of the job's, and
    ends with this process. Locks and shared memory that outlive the run need it."""
    module: Any = sys.modules.get("multiprocessing.resource_tracker")
    pid: int | None = getattr(getattr(module, "_resource_tracker", None), "_pid", None)
    return set() if pid is None else {pid}


def _forget_forkserver(spared: set[int]) -> None:
    """Its server was killed and waited for like any child: were multiprocessing to wait for it again before it starts
    the next, that would be an error (it has no public way to say so). Its own ``_stop`` would wait for as long as
    children of the server live."""
    module: Any = sys.modules.get("multiprocessing.forkserver")
    server: Any = getattr(module, "_forkserver", None)
    if getattr(server, "_forkserver_pid", None) is None or server._forkserver_pid in spared:
        return
    with contextlib.suppress(OSError):
        os.close(server._forkserver_alive_fd)
    server._forkserver_address = server._forkserver_alive_fd = server._forkserver_pid = None


def _kill_children(spared: set[int]) -> None:
    """Kill children until none is left: killing one makes its own children ours."""
    until = time.monotonic() + PATIENCE_SECONDS
    while (strays := set(_children()) - spared) and time.monotonic() < until:
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in strays:
            with contextlib.suppress(ChildProcessError):  # the user's own code has waited for it
                os.waitpid(pid, 0)


def _children() -> list[int]:
    """Of all our threads, zombies included."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/children") as file:
                found.extend(map(int, file.read().split()))
    return found
