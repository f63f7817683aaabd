"""Adapters of the ``BlobStore`` port.

``FolderBlobs`` needs the standard library only; ``supervise.folder`` says why it is not obstore's LocalStore. obstore
is for what lies across a network, and is imported when such a store is opened.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bursty.core.keys import check_key, check_prefix
from bursty.errors import BlobExists, BlobNotFound
from bursty.ports import BlobInfo, BlobStore
from bursty.supervise.folder import Folder
from bursty.values import Buffer


class FolderBlobs:
    """Blobs as files of one folder, for processes of one user on one machine (or sharing one file system).

    The folder is created by the first put, for this user alone. One that another user owns, or that every user may
    write to, is refused: what lies in it is unpickled.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.folder = Folder(path)

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return str(self.folder.root)

    def put(
        self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        return self.folder.put(key, data, if_absent=if_absent, if_match=if_match)

    def get(self, key: str) -> bytes:
        return self.folder.get(key)

    def stream(self, key: str, chunk: int = 8 << 20) -> Iterator[bytes]:
        return self.folder.stream(key, chunk)

    def head(self, key: str) -> BlobInfo | None:
        entry = self.folder.head(key)
        return entry and BlobInfo(*entry)

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        return (BlobInfo(*entry) for entry in self.folder.list(prefix))

    def delete(self, key: str) -> bool:
        return self.folder.delete(key)


class MemoryBlobs:
    """Blobs in this process's memory, for tests and for trying things out."""

    url = "memory://"

    def __init__(self) -> None:
        self._blobs: dict[str, tuple[bytes, BlobInfo]] = {}
        self._puts = 0
        self._lock = threading.Lock()

    def put(
        self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        check_key(key)
        content = bytes(data) if isinstance(data, bytes | bytearray | memoryview) else b"".join(data)
        with self._lock:
            present = self._blobs.get(key)
            if (if_absent and present) or (if_match is not None and (present is None or present[1].etag != if_match)):
                raise BlobExists(f"{key!r} was not written: somebody was faster", "Read it again and decide anew.")
            self._puts += 1
            info = BlobInfo(key, len(content), f"memory-{self._puts}", time.time())
            self._blobs[key] = (content, info)
            return info.etag

    def get(self, key: str) -> bytes:
        check_key(key)
        try:
            return self._blobs[key][0]
        except KeyError:
            raise BlobNotFound(
                f"there is no blob {key!r} in memory", "Was it deleted, or pruned for its age?"
            ) from None

    def stream(self, key: str, chunk: int = 8 << 20) -> Iterator[bytes]:
        content = self.get(key)
        return (content[start : start + chunk] for start in range(0, len(content), chunk))

    def head(self, key: str) -> BlobInfo | None:
        check_key(key)
        found = self._blobs.get(key)
        return found and found[1]

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        whole = "/".join(check_prefix(prefix))
        with self._lock:
            infos = [info for _, info in self._blobs.values()]
        fits = (info for info in infos if not whole or info.key == whole or info.key.startswith(whole + "/"))
        return iter(sorted(fits, key=lambda info: info.key))

    def delete(self, key: str) -> bool:
        check_key(key)
        with self._lock:
            return self._blobs.pop(key, None) is not None


if TYPE_CHECKING:
    _adapters: list[type[BlobStore]] = [FolderBlobs, MemoryBlobs]
