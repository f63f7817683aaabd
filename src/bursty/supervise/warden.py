"""The warden: parent of everything that a client starts, so that nothing outlives the client.

    client ── warden ── zygote ── worker, worker, …

It never runs user code. It is a subreaper, so whatever a worker leaves behind, daemons included, becomes its child; and
it watches the client (a pidfd, and a pipe that only the client holds). When the client ends, however it went, or the
zygote does, the warden kills all of its descendants until none is left, and ends. Should the warden itself be killed,
the kernel kills the zygote and with it the workers (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from bursty.supervise import linux


def main(control_fd: int, lifeline_fd: int, client: int) -> None:
    """Read the zygote's settings, fork it, and watch. Runs in a fresh interpreter of the Env."""
    os.setsid()
    linux.become_subreaper()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = _read_settings(lifeline_fd)
    wakeup, alarm = socket.socketpair()
    for end in (wakeup, alarm):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, _noted)
    signal.set_wakeup_fd(alarm.fileno(), warn_on_full_buffer=False)
    zygote = os.fork()
    if zygote == 0:
        os.close(lifeline_fd)
        wakeup.close()
        signal.set_wakeup_fd(-1)
        alarm.close()
        from bursty.supervise.zygote import run_zygote

        run_zygote(control_fd, settings)
    os.close(control_fd)
    try:
        _watch(zygote, lifeline_fd, client, wakeup)
    finally:
        _kill_all()
        for folder in settings["cgroups"]:
            _remove_cgroups(folder)
        os._exit(0)


def _noted(number: int, frame: object) -> None:
    """A handler must be there, or the signal would not wake us through the wakeup descriptor."""


def _read_settings(fd: int) -> dict[str, Any]:
    """One JSON line: folder, modules to preload, folders of cgroups to remove at the end."""
    data = b""
    while not data.endswith(b"\n"):
        chunk = os.read(fd, 1 << 16)
        if not chunk:
            os._exit(0)
        data += chunk
    return json.loads(data)


def _watch(zygote: int, lifeline: int, client: int, wakeup: socket.socket) -> None:
    """Return when the client or the zygote has ended."""
    watched: list[Any] = [lifeline, wakeup]
    if hasattr(os, "pidfd_open"):
        try:
            watched.append(os.pidfd_open(client))
        except OSError:
            if os.getppid() != client:
                return
    while True:
        ready = select.select(watched, [], [])[0]
        if any(item is not wakeup for item in ready):
            return
        with contextlib.suppress(BlockingIOError):
            wakeup.recv(4096)
        if zygote in _reap():
            return


def _reap() -> list[int]:
    """Collect children that have ended: the zygote, and orphans that came to us."""
    ended: list[int] = []
    with contextlib.suppress(ChildProcessError):
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            ended.append(pid)
    return ended


def _kill_all() -> None:
    """SIGKILL every descendant, again and again until there is none: one may fork while we look."""
    if sys.platform != "linux":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with contextlib.suppress(OSError):
            os.killpg(0, signal.SIGTERM)
        return
    while True:
        for pid in linux.descendants_of(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.001)  # killed, not yet gone: the only thing to wait for is the kernel
        except ChildProcessError:
            return


def _remove_cgroups(folder: str) -> None:
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(folder, name))
        os.rmdir(folder)
