"""Blobs in a folder of this machine. Standard library only: workers spill through it beside the user's packages.

Why not obstore's LocalStore: it has no conditional replace (``if_match``), an etag of it can come back for other
content (inode and the kernel's coarse clock), it never syncs, nobody clears what a killed writer left, and a user's Env
need not have it. It lies in this room because the child is here; ``stores.blobs`` makes a ``BlobStore`` of it.

- Every folder on the way to a blob is opened relative to its parent and never through a symbolic link, so no key and
  no link leaves the root.
- A put writes a temporary file in the blob's own folder, then renames it. The writer locks its temporary file, so that
  ``sweep`` can tell what a killed writer left from what is being written.
- Conditions are checked and switches made under an advisory lock on one file of the root (a file, for NFS locks no
  folders; one that exists already, for a full disk must not keep anybody from deleting). It is held for microseconds.
- An etag is inode, size and a time in nanoseconds that the writer sets: what follows within one tick of the kernel's
  clock has another etag.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bursty.core.keys import RESERVED, check_key, check_prefix
from bursty.errors import BlobExists, BlobNotFound, StoreError
from bursty.values import Buffer

SLICE = 8 << 20
"""Bytes that one system call writes, or one step hashes."""

_TEMPORARY = RESERVED + "tmp-"
_LOCK = RESERVED + "lock"
_PATIENCE = 100
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_FULL = "Free some space (bursty prune removes what is old), or put the blobs on a larger disk."
_RIGHTS = "Let your user write there (chmod, chown, or a writable mount), or name another folder for the blobs."
_SHAPE = "A blob can't have the name of a folder of blobs, and no symbolic links are followed: use another key."
_HINTS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _FULL),
    errno.EFBIG: "Raise the limit on file sizes (ulimit -f), or use a file system that takes larger files.",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY), _SHAPE),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Too many files are open: raise the limit (ulimit -n)."),
}


class Entry(NamedTuple):
    """What lies under a key; the fields of ``ports.BlobInfo``."""

    key: str
    size: int
    etag: str
    modified: float


class Folder:
    """Atomic files by key under one root, which the first put creates for this user alone (0700).

    ``durable``: a put returns when its bytes and its name would survive a loss of power.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(os.path.abspath(root))

    def put(
        self,
        key: str,
        data: Buffer | Iterable[Buffer],
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        durable: bool = True,
    ) -> str:
        """See ``ports.BlobStore.put``."""
        *folders, name = check_key(key)
        with self._temporary(key, folders) as (folder, file, temporary):
            for piece in _slices(data):  # what the source raises is the source's own
                with _explained("write", self._at(key)):
                    _write(file, piece)
            with _explained("write", self._at(key)):
                if durable:
                    os.fsync(file)
                with self._locked():
                    self._check(key, _stat_blob(folder, name), if_absent=if_absent, if_match=if_match)
                    now = time.time_ns()
                    os.utime(file, ns=(now, now))
                    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                if durable:
                    os.fsync(folder)
                return _etag(os.fstat(file))

    def get(self, key: str) -> bytes:
        """All of it."""
        with _explained("read", self._at(key)), os.fdopen(self.open(key), "rb", buffering=0) as file:
            return file.readall()

    def stream(self, key: str, chunk: int = SLICE) -> Iterator[bytes]:
        """Piece by piece; a blob that is replaced meanwhile is read to its end as it was."""
        with _explained("read", self._at(key)), os.fdopen(self.open(key), "rb", buffering=0) as file:
            while piece := file.read(chunk):
                yield piece

    def open(self, key: str) -> int:
        """A descriptor for reading, the caller's to close; ``BlobNotFound`` when there is no such blob."""
        *folders, name = check_key(key)
        file = None
        with _explained("read", self._at(key)), self._reach(folders) as folder:
            if folder is not None:
                file = _open_blob(folder, name)
        if file is None:
            raise BlobNotFound(f"there is no blob {key!r} in {self.root}", "Was it deleted, or pruned for its age?")
        return file

    def head(self, key: str) -> Entry | None:
        """What is there."""
        *folders, name = check_key(key)
        with _explained("look up", self._at(key)), self._reach(folders) as folder:
            found = None if folder is None else _stat_blob(folder, name)
            return None if found is None else Entry(key, found.st_size, _etag(found), found.st_mtime)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Entries whose keys begin with the prefix's pieces, in key order."""
        pieces = check_prefix(prefix)
        with _explained("list", self._at(prefix)):
            if pieces and (whole := self.head("/".join(pieces))):
                yield whole
            yield from self._walk(pieces)

    def delete(self, key: str, *, unless: Callable[[os.stat_result], bool] | None = None) -> bool:
        """Remove, and the folders it leaves empty; ``unless`` is asked under the key's lock."""
        *folders, name = check_key(key)
        with _explained("delete", self._at(key)), self._reach(folders) as folder:
            if folder is None:
                return False
            with self._locked():
                found = _stat_blob(folder, name)
                if found is None or (unless is not None and unless(found)):
                    return False
                os.unlink(name, dir_fd=folder)
        self._drop_empty(folders)
        return True

    def refresh(self, key: str, size: int) -> bool:
        """Whether there is a blob of this size; if so its age counts anew, while its etag stays."""
        *folders, name = check_key(key)
        with _explained("look up", self._at(key)), self._reach(folders) as folder:
            found = None if folder is None else _stat_blob(folder, name)
            if found is None or found.st_size != size:
                return False
            with self._locked(), contextlib.suppress(FileNotFoundError):
                os.utime(name, ns=(time.time_ns(), found.st_mtime_ns), dir_fd=folder, follow_symlinks=False)
                return True
        return False

    def sweep(self, older_than: float, now: float) -> tuple[int, int]:
        """Remove what killed writers left, older than ``older_than`` seconds; return how many files and bytes."""
        count = size = 0
        if not self.root.is_dir():
            return 0, 0
        with _explained("clear", str(self.root)):
            for _, _, names, folder in os.fwalk(self.root):
                for name in names:
                    if name.startswith(_TEMPORARY) and (freed := _sweep(folder, name, now - older_than)) is not None:
                        count, size = count + 1, size + freed
        return count, size

    def _at(self, key: str) -> str:
        return str(self.root / key)

    def _check(self, key: str, found: os.stat_result | None, *, if_absent: bool, if_match: str | None) -> None:
        if if_absent and found is not None:
            why = "there is one already"
        elif if_match is not None and (found is None or _etag(found) != if_match):
            why = "it was changed or deleted since it was read"
        else:
            return
        raise BlobExists(
            f"{self._at(key)} was not written: {why}", "Read it again and decide anew: somebody was faster."
        )

    @contextlib.contextmanager
    def _temporary(self, key: str, folders: list[str]) -> Generator[tuple[int, int, str]]:
        """A new locked file in the blob's folder: descriptors of both and its name. Gone afterwards, come what may."""
        name = f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        with contextlib.ExitStack() as stack:
            with _explained("write", self._at(key)):
                folder, file = self._create(folders, name)
                stack.callback(os.close, folder)
                stack.callback(os.close, file)
                stack.callback(_remove, name, folder)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder, file, name

    def _create(self, folders: list[str], name: str) -> tuple[int, int]:
        """A new file and its folder. A concurrent delete may remove the folder while it is empty: then again."""
        for _ in range(_PATIENCE):
            with contextlib.suppress(FileNotFoundError), self._reach(folders, create=True) as folder:
                assert folder is not None
                file = os.open(name, _CREATE, 0o600, dir_fd=folder)
                return os.dup(folder), file
        raise FileNotFoundError(errno.ENOENT, "its folder is removed again and again")

    @contextlib.contextmanager
    def _reach(self, folders: Iterable[str], *, create: bool = False) -> Generator[int | None]:
        """The folder with these pieces, opened; ``None`` when there is none and it may not be created."""
        here = self._open_root(create)
        try:
            for piece in folders:
                if here is None:
                    break
                there = _open_folder(piece, here, create)
                os.close(here)
                here = there
            yield here
        finally:
            if here is not None:
                os.close(here)

    def _open_root(self, create: bool) -> int | None:
        flags = _FOLDER & ~os.O_NOFOLLOW  # the root itself is the user's to choose
        try:
            root = os.open(self.root, flags)
        except FileNotFoundError:
            if not create:
                return None
            _make_private(self.root)
            root = os.open(self.root, flags)
        problem = _unsafe(os.fstat(root))
        if problem:
            os.close(root)
            raise StoreError(
                f"the blob folder {self.root} {problem}, who could slip pickles into it that run as you",
                "Name a folder of your own, or make this one yours alone (chown, chmod 700) if you trust its content.",
            )
        return root

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        with self._reach([]) as root:
            lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=root)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # at once, also for a child that was forked meanwhile
            os.close(lock)

    def _walk(self, pieces: tuple[str, ...]) -> Iterator[Entry]:
        with self._reach(pieces) as folder:
            if folder is None:
                return
            with os.scandir(folder) as found:
                entries = [(_order(entry), entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
            for _, name, is_folder in sorted(entries):
                if name.startswith(RESERVED):
                    continue
                if is_folder:
                    yield from self._walk((*pieces, name))
                elif info := _stat_blob(folder, name):
                    yield Entry("/".join((*pieces, name)), info.st_size, _etag(info), info.st_mtime)

    def _drop_empty(self, folders: list[str]) -> None:
        with contextlib.suppress(OSError):
            for depth in range(len(folders), 0, -1):
                with self._reach(folders[: depth - 1]) as parent:
                    os.rmdir(folders[depth - 1], dir_fd=parent)


def _unsafe(found: os.stat_result) -> str | None:
    if found.st_uid != os.geteuid():
        return f"belongs to another user (id {found.st_uid})"
    if found.st_mode & stat.S_IWOTH:
        return "is open to the writing of every user"
    return None


def _make_private(path: Path) -> None:
    """Create a folder and what is missing above it, each for this user alone."""
    for folder in (*reversed(path.parents), path):
        with contextlib.suppress(FileExistsError):
            if not folder.exists():
                folder.mkdir(mode=0o700)


def _open_folder(name: str, parent: int, create: bool) -> int | None:
    if create:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        return os.open(name, _FOLDER, dir_fd=parent)
    return _open_if(_FOLDER, name, parent)


def _open_blob(folder: int, name: str) -> int | None:
    file = _open_if(_READ, name, folder)
    if file is not None and not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        return None
    return file


def _open_if(flags: int, name: str, folder: int) -> int | None:
    """Open for reading; ``None`` when nothing of the kind is there. A symbolic link is nothing."""
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def _stat_blob(folder: int, name: str) -> os.stat_result | None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _order(entry: os.DirEntry[Any]) -> str:
    """Sorts the names in a folder as their whole keys sort."""
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name


def _etag(found: os.stat_result) -> str:
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


def _slices(data: Buffer | Iterable[Buffer]) -> Iterator[memoryview]:
    for buffer in (data,) if isinstance(data, bytes | bytearray | memoryview) else data:
        view = memoryview(buffer).cast("B")
        for start in range(0, len(view), SLICE):
            yield view[start : start + SLICE]


def _write(file: int, data: memoryview) -> None:
    done = 0
    while done < len(data):
        done += os.write(file, data[done:])


def _remove(name: str, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _sweep(folder: int, name: str, before: float) -> int | None:
    """Remove a temporary file whose writer is gone; return its size, ``None`` when it stays."""
    file = _open_blob(folder, name)
    if file is None:
        return None
    try:
        found = os.fstat(file)
        if found.st_mtime > before:
            return None
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(name, folder)
        return found.st_size
    except BlockingIOError:
        return None
    finally:
        os.close(file)


@contextlib.contextmanager
def _explained(what: str, where: str) -> Generator[None]:
    """Turn the system's refusals into errors that say where, why and what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0, "Is the disk in order? The system's log may say more.")
        raise StoreError(f"can't {what} {where}: {reason}", hint) from error
