"""Data that is slow to fetch, kept per key and age: the bytes as a blob, what we know of them as a document."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bursty.errors import BlobNotFound
from bursty.jobs.artefacts import fetch_file, put_file
from bursty.ports import BlobStore, StateStore

KIND = "cache"


class Caches:
    """The bytes are pickles: they are handed out only when their SHA-256 is the one that the state store has."""

    def __init__(self, state: StateStore, blobs: BlobStore) -> None:
        self._state = state
        self._blobs = blobs

    def fetch(self, scope: str, key: str, max_age: float | None, file: Path) -> bool:
        """Copy what is kept to ``file``, unless there is none or it is older than ``max_age`` seconds.

        Raises ``StoreError`` when the blob isn't what was kept.
        """
        found = self._state.document(KIND, _document_key(scope, key))
        if found is None or (max_age is not None and self._state.now() - found.updated_at > max_age):
            return False
        try:
            fetch_file(self._blobs, found.data["blob"], file, found.data["digest"])
        except BlobNotFound:  # pruned
            return False
        return True

    def keep(self, scope: str, key: str, file: Path) -> None:
        """Keep the content of ``file``; the newest stands."""
        name = _document_key(scope, key)
        digest = hashlib.file_digest(file.open("rb"), "sha256").hexdigest()
        blob = f"cache/{name}/{digest}"
        size, digest = put_file(self._blobs, blob, file)
        data = {"blob": blob, "digest": digest, "size": size, "key": key[:1000]}
        while True:
            found = self._state.document(KIND, name)
            if self._state.put_document(KIND, name, data, rev=found.rev if found else 0) is not None:
                break
        if found is not None and found.data["blob"] != blob:
            self._blobs.delete(found.data["blob"])


def _document_key(scope: str, key: str) -> str:
    return f"{scope or 'all'}/{hashlib.sha256(key.encode()).hexdigest()}"
