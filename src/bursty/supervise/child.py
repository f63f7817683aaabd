"""The worker child: takes invocations off the socket, runs them, sends what they gave."""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import socket
import sys
from typing import Any

from bursty.core import codec
from bursty.runtime.execute import Functions, execute, note_fork
from bursty.runtime.host import set_host
from bursty.supervise.link import ChildLink
from bursty.supervise.linux import die_with_parent
from bursty.supervise.shared import SharedJournal
from bursty.values import Buffer, Frame


class LocalHost:
    """``ports.Host`` for a worker on the client's machine: parts by the shared folder, questions by the pipe."""

    def __init__(self, link: ChildLink, config: dict[str, Any]) -> None:
        self.link = link
        self.blobs: str = config["blobs"]
        self.spill_bytes: int = config["spill_bytes"]
        self.depth: int = config["depth"]
        self.workers: int = config["workers"]
        self._parts: Any = None

    def _store(self) -> Any:
        if self._parts is None:
            from bursty.supervise.parts import FolderParts

            self._parts = FolderParts(self.blobs)
        return self._parts

    def put_part(self, data: Buffer) -> tuple[str, int]:
        ref = self._store().put(data)
        return ref.digest, ref.size

    def get_part(self, digest: str, size: int) -> Buffer:
        return self._store().get(digest, size)

    def ask(self, frame: Frame, on_answer: Any) -> int:
        return self.link.ask(frame, on_answer)

    def forget(self, number: int) -> None:
        self.link.forget(number)

    def leave(self) -> None:
        self.link.leaving = True


def run_worker(sock_fd: int, memory_fd: int, out_fd: int, err_fd: int, config: dict[str, Any]) -> None:
    """Be a worker until the supervisor closes the socket. Called in a fresh fork of the zygote; does not return."""
    code = 1
    try:
        _settle(out_fd, err_fd, config)
        sock = socket.socket(fileno=sock_fd)
        link = ChildLink(sock)
        journal = SharedJournal(memory_fd, link)
        os.close(memory_fd)
        os.register_at_fork(after_in_child=journal.detach)
        os.register_at_fork(after_in_child=link.detach)
        os.register_at_fork(after_in_child=note_fork)
        link.capture(journal.current, config["call_bytes"])
        host = LocalHost(link, config)
        set_host(host)
        os.environ["BURSTY_WORKER"] = str(config["id"])
        _serve(link, journal, host)
        atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]  # a fork ends by _exit, which runs none
        code = 0
    except (BrokenPipeError, ConnectionResetError):
        code = 0
    except BaseException as error:
        os.write(2, f"the worker failed outside of any call: {error!r}\n".encode())
    finally:
        os._exit(code)


def _serve(link: ChildLink, journal: SharedJournal, host: LocalHost) -> None:
    functions = Functions(host)
    for frame in link.invocations():
        invocation = codec.unpack_invocation(frame)
        seq = invocation.seq
        stopped = execute(invocation, journal, functions, host)
        del frame, invocation
        journal.ended(seq, stopped)


def _settle(out_fd: int, err_fd: int, config: dict[str, Any]) -> None:
    """A session-wide clean start: own process group, limits first, nothing inherited that isn't ours."""
    os.setpgid(0, 0)
    die_with_parent()
    for path in config["cgroups"]:
        with open(path, "w") as file:
            file.write(str(os.getpid()))
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass  # no Linux; then the kernel picks as it likes
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (out_fd, 1), (err_fd, 2)):
        os.dup2(source, target)
        os.close(source)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    faulthandler.enable(file=2, all_threads=False)


if sys.platform not in ("linux", "darwin"):
    raise ImportError("bursty's workers need Linux or macOS; on Windows use WSL")
