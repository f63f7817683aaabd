"""Folders of the user's cache that several processes share: made once, kept while in use, removed when old.

PLACE/           what it holds            PLACE.lock         held while it is made or removed
PLACE/.ready     written last: without it, it is made anew
PLACE/last-used  its time is the last use; locked (shared) by each process that uses the place
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
import weakref
from collections.abc import Callable, Generator
from pathlib import Path

from bursty.errors import EnvError


class Uses:
    """The places that this process uses: they are not pruned while this object lives. Thread-safe."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        weakref.finalize(self, _close_all, self._held)

    def hold(self, place: Path) -> None:
        """Note the use, and hold the note. Call it inside ``locked``."""
        previous = self._held.pop(str(place), None)
        used = os.open(place / "last-used", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.utime(used)
        fcntl.flock(used, fcntl.LOCK_SH)
        self._held[str(place)] = used
        if previous is not None:
            os.close(previous)


def is_ready(place: Path) -> bool:
    """Whether it was made to the end."""
    return (place / ".ready").exists()


def private(folder: Path) -> Path:
    """The folder, made for this user alone; one of another user is refused, for what lies in it is run."""
    for path in (*reversed(folder.parents), folder):
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise EnvError(f"the cache {folder} belongs to another user (id {owner})", "Name a cache folder of your own.")
    return folder


@contextlib.contextmanager
def locked(place: Path, on_wait: Callable[[], None]) -> Generator[None]:
    """Excludes everybody else who makes or removes this place, in this process and in others."""
    lock = _lock(place, fcntl.LOCK_NB)
    if lock is None:
        on_wait()
        lock = _lock(place, 0)
    assert lock is not None
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def prune(folder: Path, older_than: float, *, now: float | None = None) -> tuple[int, int]:
    """Remove the places in ``folder`` that nobody used for ``older_than`` seconds and nobody uses now; return how many,
    and their bytes."""
    before = (time.time() if now is None else now) - older_than
    count = size = 0
    for place in [path for path in folder.glob("*") if path.is_dir()]:
        freed = _prune_one(place, before)
        if freed is not None:
            count, size = count + 1, size + freed
    return count, size


def make_read_only(tree: Path) -> None:
    """Nobody adds, removes or renames in these folders; the files have modes of their own."""
    for folder, _, _ in os.walk(tree):
        os.chmod(folder, 0o555)


def remove_tree(place: Path) -> None:
    """Remove a folder, read-only ones in it too."""
    for folder, _, _ in os.walk(place):
        if not os.stat(folder).st_mode & stat.S_IWUSR:
            os.chmod(folder, 0o700)
    shutil.rmtree(place)


def clear(place: Path) -> None:
    """Remove what an earlier try left, if anything."""
    with contextlib.suppress(FileNotFoundError):
        remove_tree(place)


def _lock(place: Path, mode: int) -> int | None:
    """The lock's descriptor, ``None`` if another has it and ``mode`` says not to wait."""
    path = place.with_suffix(".lock")
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | mode)
            if path.exists() and path.stat().st_ino == os.fstat(lock).st_ino:
                return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # a prune removed this file between opening and locking


def _prune_one(place: Path, before: float) -> int | None:
    lock = _lock(place, fcntl.LOCK_NB)
    if lock is None:
        return None
    try:
        if not _is_idle(place, before):
            return None
        size = sum(path.lstat().st_size for path in place.rglob("*"))
        (place / ".ready").unlink(missing_ok=True)
        remove_tree(place)
        place.with_suffix(".lock").unlink(missing_ok=True)
        return size
    finally:
        os.close(lock)


def _is_idle(place: Path, before: float) -> bool:
    """Not used since then, nor now. A half-made one has no ``last-used``: its folder's time counts."""
    try:
        used = os.open(place / "last-used", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return place.stat().st_mtime <= before
    try:
        fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(used).st_mtime <= before
    except BlockingIOError:
        return False
    finally:
        os.close(used)


def _close_all(used: dict[str, int]) -> None:
    while used:
        os.close(used.popitem()[1])


def silent(_line: str) -> None:
    """For who has nothing to say to."""
