"""Spilled parts in any blob store, and the rule by which they age.

Parts are content-addressed: ``spill/AB/ABCD…`` holds the bytes whose SHA-256 that is. Workers on this machine use
``supervise.parts`` on the same folder.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from bursty.errors import BlobNotFound, ConfigError
from bursty.ports import BlobStore
from bursty.stores.blobs import FolderBlobs
from bursty.stores.objects import ObjectBlobs
from bursty.supervise.parts import PREFIX, FolderParts, damaged, missing, part_digest, part_key
from bursty.values import Buffer, Ref

_REWRITE_AFTER = 24 * 3600.0
"""Where times can't be set, an older part is written anew when it is put, so that it isn't pruned while in use."""


class Pruned(NamedTuple):
    """What a prune removed."""

    removed: int = 0
    bytes: int = 0

    def plus(self, other: tuple[int, int]) -> Pruned:
        return Pruned(self.removed + other[0], self.bytes + other[1])


class PartStore:
    """Large parts of values, each stored once. ``where``: a blob folder's path, or a ``BlobStore``."""

    def __init__(self, where: str | os.PathLike[str] | BlobStore) -> None:
        self._parts = _parts(where)

    def put(self, data: Buffer) -> Ref:
        """Store unless it is there, and return its name."""
        return self._parts.put(data)

    def get(self, ref: Ref) -> Buffer:
        """A writable buffer of the caller's own. ``DigestMismatch`` when the content is not what the name says,
        ``BlobNotFound`` when there is none."""
        return self._parts.get(ref.digest, ref.size)


def prune(store: BlobStore, older_than: float, *, now: float | None = None) -> Pruned:
    """Remove spilled parts that nobody wrote or put again for ``older_than`` seconds, and what killed writers left."""
    now = time.time() if now is None else now
    if isinstance(store, FolderBlobs):
        return _prune_folder(store, older_than, now)
    pruned = Pruned(*store.sweep(older_than, now)) if isinstance(store, ObjectBlobs) else Pruned()
    for info in list(store.list(PREFIX)):
        if now - info.modified > older_than and store.delete(info.key):
            pruned = pruned.plus((1, info.size))
    return pruned


def _prune_folder(store: FolderBlobs, older_than: float, now: float) -> Pruned:
    def young(found: os.stat_result) -> bool:
        return now - max(found.st_mtime, found.st_atime) <= older_than

    pruned = Pruned(*store.folder.sweep(older_than, now))
    for info in list(store.list(PREFIX)):
        if now - info.modified > older_than and store.folder.delete(info.key, unless=young):
            pruned = pruned.plus((1, info.size))
    return pruned


class _BlobParts:
    """Parts in a store across a network: fetched, checked, and the caller's."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    def put(self, data: Buffer) -> Ref:
        digest, size = part_digest(data), memoryview(data).nbytes
        found = self._store.head(part_key(digest))
        if found is None or found.size != size or time.time() - found.modified > _REWRITE_AFTER:
            self._store.put(part_key(digest), data)
        return Ref(digest, size)

    def get(self, digest: str, size: int) -> Buffer:
        import hashlib

        key = part_key(digest)
        data, done, hasher = bytearray(size), 0, hashlib.sha256()
        try:
            for piece in self._store.stream(key):
                if done + len(piece) > size:
                    raise damaged(key, f"it has more than {size} bytes")
                data[done : done + len(piece)] = piece
                hasher.update(piece)
                done += len(piece)
        except BlobNotFound:
            raise missing(key, self._store.url) from None
        if done != size or hasher.hexdigest() != digest:
            raise damaged(
                key, f"it has {done} bytes instead of {size}" if done != size else "its content has another digest"
            )
        return data


def _parts(where: str | os.PathLike[str] | BlobStore) -> FolderParts | _BlobParts:
    if isinstance(where, FolderBlobs):
        return FolderParts(where.url)
    if isinstance(where, str) and "://" in where:
        raise ConfigError(f"parts can't be kept under the URL {where!r}", "Open the store first, or name a folder.")
    if isinstance(where, str | os.PathLike):
        return FolderParts(where)
    return _BlobParts(where)


class ClientParts:
    """The engine's side of spilling (``runtime.pickling.Parts``): opened when the first large part comes."""

    def __init__(self, where: str | os.PathLike[str] | BlobStore, spill_bytes: int) -> None:
        self.spill_bytes = spill_bytes
        self._where = where
        self._store: PartStore | None = None

    def _opened(self) -> PartStore:
        if self._store is None:
            self._store = PartStore(self._where)
        return self._store

    def put_part(self, data: Buffer) -> tuple[str, int]:
        ref = self._opened().put(data)
        return ref.digest, ref.size

    def get_part(self, digest: str, size: int) -> Buffer:
        return self._opened().get(Ref(digest, size))
