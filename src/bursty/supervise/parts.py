"""Spilled parts in a folder, under their digest. Standard library only: workers use it beside the user's packages.

A part is written once however many calls carry it, and read as a private mapping of its file: loading it costs no copy,
a caller that changes its arrays changes nobody else's, and all readers share the pages until then.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
import weakref

from bursty.errors import BlobNotFound, DigestMismatch, StoreError
from bursty.supervise.folder import SLICE, Folder
from bursty.values import Buffer, Ref

PREFIX = "spill"
_MAP_FROM = 128 << 10
"""Smaller parts are read: a mapping costs a few system calls and page faults."""

_HEX = frozenset("0123456789abcdef")
_known: dict[tuple[str, int, int, int], bool] = {}
"""Files whose digest this process has checked or made: digest, inode, time in nanoseconds, size."""

_mapped: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def part_key(digest: str) -> str:
    """Where a part lies in a blob store. A digest comes from elsewhere, so it is looked at before it becomes a path."""
    if len(digest) != 64 or not _HEX.issuperset(digest):
        raise StoreError(f"{digest!r:.100} is no SHA-256 digest", "The message that named it is damaged: run again.")
    return f"{PREFIX}/{digest[:2]}/{digest}"


def part_digest(data: Buffer) -> str:
    """SHA-256 in hex, in slices, so that a signal waits for one slice only."""
    import hashlib  # costs a worker that never spills 20 ms

    view, hasher = memoryview(data).cast("B"), hashlib.sha256()
    for start in range(0, len(view), SLICE):
        hasher.update(view[start : start + SLICE])
    return hasher.hexdigest()


def damaged(key: str, why: str) -> DigestMismatch:
    """The error for content that is not what its name says."""
    return DigestMismatch(
        f"the spilled part {key} is not what was stored: {why}",
        "It was damaged or tampered with and was not opened. Delete it and run again; check who can write there.",
    )


def missing(key: str, where: str) -> BlobNotFound:
    """The error for a part that should be there."""
    return BlobNotFound(
        f"the spilled part {key} is not in {where}",
        "It was pruned (bursty prune) or deleted while it was still needed: run again, and keep spills for longer.",
    )


class FolderParts:
    """Parts under ``spill/`` of a blob folder. Thread-safe; any number of processes may share the folder."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._folder = Folder(root)

    def put(self, data: Buffer) -> Ref:
        """Store unless it is there. Hashing comes first: it costs a quarter of writing, which it often saves."""
        digest, size = part_digest(data), memoryview(data).nbytes
        key = part_key(digest)
        if not self._folder.refresh(key, size):
            self._folder.put(key, data, durable=False)  # what a loss of power takes, its digest gives away
            with contextlib.suppress(StoreError):
                file = self._folder.open(key)
                _remember(digest, os.fstat(file))
                os.close(file)
        return Ref(digest, size)

    def get(self, digest: str, size: int) -> Buffer:
        """A writable buffer of the caller's own, after this process has checked the file's digest once."""
        key = part_key(digest)
        try:
            file = self._folder.open(key)
        except BlobNotFound:
            raise missing(key, str(self._folder.root)) from None
        try:
            return self._checked(file, key, digest, size)
        except OSError as error:
            raise StoreError(
                f"can't read {self._folder.root / key}: {error.strerror}", "Is the disk in order?"
            ) from error
        finally:
            os.close(file)

    @staticmethod
    def _checked(file: int, key: str, digest: str, size: int) -> Buffer:
        found = os.fstat(file)
        if found.st_size != size:
            raise damaged(key, f"it has {found.st_size} bytes instead of {size}")
        data = _load(file, size)
        if _mark(digest, found) not in _known:
            if part_digest(data) != digest:
                raise damaged(key, "its content has another digest")
            _remember(digest, found)
        return data


def _mark(digest: str, found: os.stat_result) -> tuple[str, int, int, int]:
    return digest, found.st_ino, found.st_mtime_ns, found.st_size


def _remember(digest: str, found: os.stat_result) -> None:
    if len(_known) >= 100_000:
        _known.clear()
    _known[_mark(digest, found)] = True


def _load(file: int, size: int) -> Buffer:
    if size >= _MAP_FROM:
        with contextlib.suppress(_NoMapping):
            return memoryview(_map(file, size))
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = os.preadv(file, [view[done : done + (1 << 30)]], done)
        if not count:
            raise OSError(errno.EIO, "the file became shorter while it was read")
        done += count
    return data


class _NoMapping(Exception):
    """There are too many mappings; read instead."""


def _map(file: int, size: int) -> mmap.mmap:
    try:
        if sys.version_info >= (3, 13):
            return mmap.mmap(file, size, access=mmap.ACCESS_COPY, trackfd=False)
        if len(_mapped) >= _most_mapped():  # a mapping keeps a descriptor of its own, and the user needs some too
            raise _NoMapping
        mapping = mmap.mmap(file, size, access=mmap.ACCESS_COPY)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise _NoMapping from error
        raise
    _mapped.add(mapping)
    return mapping


def _most_mapped() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4
