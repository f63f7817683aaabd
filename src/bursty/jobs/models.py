"""Models: named, versioned trained objects. Bytes lie in the blob store, what we know of them in the state store.

models/NAME/0003/SHA256       document model/NAME: {"newest": 3, "current": 3}       document model-version/NAME/0003
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bursty.changes import EventDraft
from bursty.errors import ConfigError, StoreError
from bursty.jobs.artefacts import fetch_file, put_file
from bursty.ports import BlobStore, StateStore
from bursty.records import Document, Event

POINTER, VERSION = "model", "model-version"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A saved model. ``metadata``: metrics, note, Python, type and packages when it was saved."""

    name: str
    version: int
    digest: str
    size: int
    blob: str
    created_at: float
    created_by: str
    metadata: Mapping[str, Any]
    is_current: bool = False


class Models:
    """The registry. ``actor``: who does what is done, for the audit trail."""

    def __init__(self, state: StateStore, blobs: BlobStore, actor: str) -> None:
        self._state = state
        self._blobs = blobs
        self._actor = actor

    def save(self, name: str, file: Path, metadata: Mapping[str, Any], *, promote: bool = True) -> ModelVersion:
        """Store the file as the next version; with ``promote`` it becomes the current one.

        The number is taken first, so that two who save at once get two versions. Raises ``ConfigError``
        and ``StoreError``.
        """
        _check(name)
        version = self._take_number(name)
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        blob = f"models/{name}/{version:04d}/{digest}"
        size, _ = put_file(self._blobs, blob, file)
        data = {
            "blob": blob,
            "digest": digest,
            "size": size,
            "created_at": self._state.now(),
            "created_by": self._actor,
            "metadata": {key: value for key, value in metadata.items() if value is not None},
        }
        key = _key(name, version)
        saved = self._state.put_document(VERSION, key, data, rev=0) or self._state.document(VERSION, key)
        if saved is None or saved.data["digest"] != digest:  # refused may also mean: written, but the answer was lost
            raise StoreError(f"version {version} of the model {name!r} could not be recorded", "Save it again.")
        if promote:
            self.promote(name, version)
        return _version(saved, version if promote else None)

    def promote(self, name: str, version: int) -> None:
        """Make a version the current one: what ``load()`` gives from now on. Also the way back to an older one."""
        self.find(name, version)
        while True:
            pointer = self._pointer(name)
            data = {**pointer.data, "current": version}
            event = EventDraft("promoted", self._actor, {"version": version, "before": pointer.data.get("current")})
            if self._state.put_document(POINTER, name, data, rev=pointer.rev, event=event) is not None:
                return

    def find(self, name: str, version: int | None = None) -> ModelVersion:
        """A version; without ``version`` the current one. Raises ``ConfigError`` when there is none."""
        pointer = self._pointer(name)
        wanted = version if version is not None else pointer.data.get("current")
        if wanted is None:
            raise ConfigError(f"no version of the model {name!r} is current", f"bursty models promote {name} VERSION")
        found = self._state.document(VERSION, _key(name, wanted))
        if found is None:
            known = ", ".join(str(item.version) for item in self.versions(name)) or "none"
            raise ConfigError(f"the model {name!r} has no version {wanted}", f"Known: {known}.")
        return _version(found, pointer.data.get("current"))

    def fetch(self, name: str, version: int, file: Path) -> None:
        """Copy a version's bytes to a file once their SHA-256 is checked. Raises ``StoreError`` when it is another."""
        found = self.find(name, version)
        fetch_file(self._blobs, found.blob, file, found.digest)

    def versions(self, name: str) -> Sequence[ModelVersion]:
        """All of a model, the newest first."""
        pointer = self._state.document(POINTER, name)
        current = pointer.data.get("current") if pointer else None
        found = [_version(item, current) for item in self._state.documents(VERSION, f"{name}/")]
        return found[::-1]

    def names(self) -> Sequence[str]:
        return [item.key for item in self._state.documents(POINTER)]

    def history(self, name: str) -> Sequence[Event]:
        """Who promoted what, and when."""
        return self._state.events(f"{POINTER}/{name}")

    def _pointer(self, name: str) -> Document:
        _check(name)
        pointer = self._state.document(POINTER, name)
        if pointer is None:
            known = ", ".join(self.names()) or "none yet; Model(name).save(obj) makes one"
            raise ConfigError(f"there is no model {name!r}", f"Known: {known}.")
        return pointer

    def _take_number(self, name: str) -> int:
        while True:
            pointer = self._state.document(POINTER, name)
            data: dict[str, Any] = dict(pointer.data) if pointer else {"newest": 0, "current": None}
            data["newest"] += 1
            if self._state.put_document(POINTER, name, data, rev=pointer.rev if pointer else 0) is not None:
                return data["newest"]


def _check(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} can't name a model", "Use up to 64 letters, digits, '.', '_' and '-'.")


def _key(name: str, version: int) -> str:
    return f"{name}/{version:04d}"


def _version(document: Document, current: int | None) -> ModelVersion:
    name, _, number = document.key.rpartition("/")
    data = document.data
    return ModelVersion(
        name,
        int(number),
        data["digest"],
        data["size"],
        data["blob"],
        data["created_at"],
        data["created_by"],
        data["metadata"],
        int(number) == current,
    )
