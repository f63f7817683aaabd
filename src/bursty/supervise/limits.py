"""Memory limits of workers: a cgroup (v1 or v2) where one can be made, a watched RSS everywhere.

v1: https://docs.kernel.org/admin-guide/cgroup-v1/memory.html, v2: https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

V1_ROOT = Path("/sys/fs/cgroup/memory")
V2_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A cgroup of one worker. Processes enter by writing their id into ``entry``."""

    folder: Path
    v2: bool

    @property
    def entry(self) -> str:
        return str(self.folder / "cgroup.procs")

    def killed(self) -> bool:
        """Whether the kernel killed a process in it for want of memory."""
        name = "memory.events" if self.v2 else "memory.oom_control"
        try:
            lines = (self.folder / name).read_text().splitlines()
        except OSError:
            return False
        return any(key == "oom_kill" and int(value) > 0 for key, value in (line.split() for line in lines))

    def remove(self) -> None:
        """Give it back; the warden removes what is still in use when the client ends."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()


class MemoryGroups:
    """Makes memory cgroups below one folder of this client; none where that is not allowed."""

    def __init__(self, own: str) -> None:
        self._name = own
        self._found: tuple[Path, bool] | None = None
        self._tried = False

    def candidates(self) -> tuple[str, ...]:
        """The folders that may come to be, for whoever clears up after us: a limit may be asked for later."""
        return tuple(str(parent / self._name) for parent in (_v1_parent(), _v2_parent()) if parent is not None)

    def base(self) -> tuple[Path, bool] | None:
        """The folder and whether it is v2, made and tried at the first use."""
        if not self._tried:
            self._tried = True
            self._found = _try(_v1_parent(), self._name, v2=False) or _try(_v2_parent(), self._name, v2=True)
        return self._found

    def create(self, name: str, limit: int) -> MemoryGroup | None:
        """A group with this limit in bytes, or ``None`` where the kernel or our rights don't give one."""
        base = self.base()
        if base is None:
            return None
        folder = base[0] / name
        try:
            folder.mkdir()
            _set_limit(folder, limit, v2=base[1])
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            return None
        return MemoryGroup(folder, base[1])

    def remove(self) -> None:
        """Give the folder back, if it is empty."""
        if self._found is not None:
            with contextlib.suppress(OSError):
                self._found[0].rmdir()


def _set_limit(folder: Path, limit: int, *, v2: bool) -> None:
    (folder / ("memory.max" if v2 else "memory.limit_in_bytes")).write_text(str(limit))
    swap = folder / ("memory.swap.max" if v2 else "memory.memsw.limit_in_bytes")
    with contextlib.suppress(OSError):  # a kernel without swap accounting
        swap.write_text("0" if v2 else str(limit))


def _own_path(controller: str) -> str | None:
    """This process's group: /proc/self/cgroup has lines ``id:controllers:path``; v2's has no controllers."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path.lstrip("/")
    return None


def _v1_parent() -> Path | None:
    path = _own_path("memory")
    return None if path is None else V1_ROOT / path


def _v2_parent() -> Path | None:
    path = _own_path("")
    return None if path is None else V2_ROOT / path


def _try(parent: Path | None, name: str, *, v2: bool) -> tuple[Path, bool] | None:
    if parent is None or not parent.is_dir():
        return None
    folder, probe = parent / name, parent / name / "probe"
    try:
        folder.mkdir(exist_ok=True)
        if v2:
            (folder / "cgroup.subtree_control").write_text("+memory")
        probe.mkdir(exist_ok=True)
        _set_limit(probe, 1 << 30, v2=v2)
        probe.rmdir()
    except OSError:
        for made in (probe, folder):
            with contextlib.suppress(OSError):
                os.rmdir(made)
        return None
    return folder, v2


def resident_bytes(pid: int) -> int | None:
    """Resident memory of a process, or ``None`` when it is gone."""
    if sys.platform != "linux":
        return _resident_by_psutil(pid)
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # the second field counts pages
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None


def _resident_by_psutil(pid: int) -> int | None:
    import psutil

    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return None
