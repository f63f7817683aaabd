"""The client's link to one warden and zygote: the place where workers of one kind are born."""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bursty.supervise.zygote import LENGTH

BOOT = (
    "import sys,json;path,own=json.loads(sys.argv[4]);sys.path[:]=path+(sys.path[1:] if own else []);"
    "from bursty.supervise.warden import main;main(*map(int,sys.argv[1:4]))"
)


@dataclass(frozen=True, slots=True)
class NurseryPlan:
    """What a nursery starts with. ``path``: the import path of its workers; with ``keeps_own``, in front of the
    interpreter's own. ``folder``: where they run. ``cgroups``: folders of groups to remove at the end."""

    python: str
    path: tuple[str, ...]
    keeps_own: bool
    folder: str
    variables: tuple[tuple[str, str], ...]
    preload: tuple[str, ...]
    cgroups: tuple[str, ...]


class Nursery:
    """Starts the warden (which forks the zygote), passes orders on, hears of births and deaths."""

    def __init__(self, plan: NurseryPlan) -> None:
        self.plan = plan
        self.control, theirs = socket.socketpair()
        reader, self._lifeline = os.pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the nursery)
        self._data = b""
        path = json.dumps([plan.path, plan.keeps_own])
        try:
            self._process = subprocess.Popen(
                [plan.python, "-c", BOOT, str(theirs.fileno()), str(reader), str(os.getpid()), path],
                pass_fds=(theirs.fileno(), reader),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env={**os.environ, **dict(plan.variables)},
            )
        except OSError:
            self.control.close()
            os.close(self._lifeline)
            raise
        finally:
            theirs.close()
            os.close(reader)
        self._send_settings()
        self.control.setblocking(False)

    def _send_settings(self) -> None:
        plan = self.plan
        settings = {
            "folder": plan.folder,
            "preload": plan.preload,
            "cgroups": plan.cgroups,
            "argv0": sys.argv[0] if sys.argv else "",
        }
        data = json.dumps(settings).encode() + b"\n"
        while data:
            data = data[os.write(self._lifeline, data) :]

    @property
    def pid(self) -> int:
        """The warden's process id."""
        return self._process.pid

    def order(self, message: dict[str, Any], fds: Sequence[int] = ()) -> bool:
        """Send an order; ``False`` when the zygote is gone."""
        text = json.dumps(message).encode()
        data = LENGTH.pack(len(text)) + text
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self.control.setblocking(True)
            sent = self.control.sendmsg([data], ancillary)
            self.control.sendall(data[sent:])
            self.control.setblocking(False)
        except OSError:
            return False
        return True

    def hear(self) -> list[dict[str, Any]] | None:
        """What the zygote said since; ``None`` when it is gone."""
        try:
            data = self.control.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self._data += data
        messages: list[dict[str, Any]] = []
        while len(self._data) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._data)[0]
            if len(self._data) < end:
                break
            messages.append(json.loads(self._data[LENGTH.size : end]))
            self._data = self._data[end:]
        return messages

    def last_words(self) -> str:
        """What warden or zygote wrote to stderr: why they could not start."""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 4096))
        return self._errors.read().decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Let go of the lifeline: the warden kills all that is left, and ends; wait for that."""
        if self._lifeline < 0:
            return
        with contextlib.suppress(OSError):
            os.write(self._lifeline, b"end")  # forks of this process may still hold the pipe, so closing says nothing
        os.close(self._lifeline)
        self._lifeline = -1
        self.control.close()
        self._process.wait()
        self._errors.close()
