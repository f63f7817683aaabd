"""The zygote: a process that has imported what workers need, and forks a worker in milliseconds when told to.

It has one thread and never calls a user's function. Orders are JSON messages on a stream socket, each a length, then
the text; the order to fork carries four descriptors: the worker's socket, its shared memory, its stdout and its
stderr.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
from typing import Any, NoReturn

from bursty.supervise.linux import descendants_of, die_with_parent

LENGTH = struct.Struct("<I")
FDS_PER_ORDER = 4
PRELOAD_SECONDS = 20
"""A module that takes longer is left to the calls that need it, where their time limit applies."""
AGAIN = (
    "import sys,json;sys.path[:],fd,settings=json.loads(sys.argv[1]);"
    "from bursty.supervise.zygote import run_zygote;run_zygote(fd,settings)"
)


def run_zygote(control_fd: int, settings: dict[str, Any]) -> NoReturn:
    """Serve the control socket until the client closes it. Does not return."""
    try:
        die_with_parent()
        os.setpgid(0, 0)
        _prepare(control_fd, settings)
        _Zygote(socket.socket(fileno=control_fd)).serve()
    finally:
        os._exit(0)


def _prepare(control_fd: int, settings: dict[str, Any]) -> None:
    gc.disable()  # what modules make when they are imported is there to stay
    os.chdir(settings["folder"])
    sys.argv = [settings["argv0"]]
    import bursty.supervise.child
    from bursty.runtime.host import importing

    assert bursty.supervise.child.run_worker
    signal.signal(signal.SIGALRM, _too_long)
    for name in settings["preload"]:
        # What fails here fails again in the call that needs it, and is reported there.
        with contextlib.suppress(BaseException), importing(f"module {name!r}"):
            signal.alarm(PRELOAD_SECONDS)
            importlib.import_module(name)
        signal.alarm(0)
    if threading.active_count() > 1:
        _start_over(control_fd, settings)
    gc.collect()
    gc.freeze()
    gc.enable()


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"a module took longer than {PRELOAD_SECONDS} s to import")


def _noted(number: int, frame: object) -> None:
    """A handler must be there, or the signal would not wake us through the wakeup descriptor."""


def _start_over(control_fd: int, settings: dict[str, Any]) -> NoReturn:
    """A preloaded module has started threads, which a fork would not have: go on without it, in a fresh interpreter."""
    os.set_inheritable(control_fd, True)
    arguments = json.dumps([sys.path, control_fd, {**settings, "preload": []}])
    os.execv(sys.executable, [sys.executable, "-c", AGAIN, arguments])


class _Zygote:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: dict[int, int] = {}  # pid -> the client's number
        self._data = b""
        self._fds: list[int] = []
        self._wakeup, self._alarm = socket.socketpair()
        for end in (self._wakeup, self._alarm):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, _noted)
        signal.set_wakeup_fd(self._alarm.fileno(), warn_on_full_buffer=False)

    def serve(self) -> None:
        self._say({"op": "ready", "python": list(sys.version_info[:2])})
        while True:
            ready = select.select([self._control, self._wakeup], [], [])[0]
            if self._wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    self._wakeup.recv(4096)
                self._reap()
            if self._control in ready and not self._receive():
                for pid in self._workers:  # the client is gone; where there is no subreaper nobody else finds them
                    _kill_group(pid)
                return

    def _receive(self) -> bool:
        size = array.array("i").itemsize * FDS_PER_ORDER
        data, ancillary, _, _ = self._control.recvmsg(1 << 16, socket.CMSG_SPACE(size))
        if not data:
            return False
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
                self._fds.extend(fds)
        self._data += data
        while len(self._data) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._data)[0]
            if len(self._data) < end:
                break
            order = json.loads(self._data[LENGTH.size : end])
            self._data = self._data[end:]
            self._obey(order)
        return True

    def _obey(self, order: dict[str, Any]) -> None:
        if order["op"] == "fork":
            fds, self._fds = self._fds[:FDS_PER_ORDER], self._fds[FDS_PER_ORDER:]
            self._fork(order, fds)
        elif order["op"] == "kill":
            for pid, number in self._workers.items():
                if number == order["id"]:
                    _kill_group(pid)

    def _fork(self, order: dict[str, Any], fds: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._say({"op": "failed", "id": order["id"], "why": str(error)})
        else:
            if pid == 0:
                self._become_worker(order, fds)
            self._workers[pid] = order["id"]
            self._say({"op": "forked", "id": order["id"], "pid": pid})
        for fd in fds:
            os.close(fd)

    def _become_worker(self, order: dict[str, Any], fds: list[int]) -> NoReturn:
        from bursty.supervise.child import run_worker

        try:
            for end in (self._control, self._wakeup, self._alarm):
                end.close()
            sock, memory, out, err = fds
            run_worker(sock, memory, out, err, order)
        finally:
            os._exit(70)

    def _reap(self) -> None:
        """Report workers that ended; whatever they left running in their process group goes with them."""
        for pid in list(self._workers):
            status = _collect(pid)
            if status is None:
                continue
            number = self._workers.pop(pid)
            self._say({"op": "exit", "id": number, "code": os.waitstatus_to_exitcode(status)})

    def _say(self, message: dict[str, Any]) -> None:
        text = json.dumps(message).encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._control.sendall(LENGTH.pack(len(text)) + text)


def _collect(pid: int) -> int | None:
    """Reap a child that has ended, with its group; its wait status, or ``None`` while it lives."""
    if hasattr(os, "waitid"):  # the group goes while the zombie still holds its number
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        _kill_group(pid)
        return os.waitpid(pid, 0)[1]
    ended, status = os.waitpid(pid, os.WNOHANG)  # macOS before Python 3.13
    if not ended:
        return None
    _kill_group(pid)
    return status


def _kill_group(pid: int) -> None:
    """The worker, its group, and what has left the group but is still its descendant."""
    strays = descendants_of(pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)  # the group may not be there yet
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for stray in strays:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(stray, signal.SIGKILL)
