"""What an attempt hands in: files in the blob store, and the manifest that tells of them.

runs/ID/ATTEMPT/files/NAME       runs/ID/ATTEMPT/manifest.json       published/APP/JOB/NAME
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bursty.errors import BlobNotFound, StoreError
from bursty.ports import BlobStore, StateStore
from bursty.records import RunQuery, RunRecord, RunStatus

CHUNK = 4 << 20
SEARCH = 50
"""How many good runs are looked at for one that has what is wanted."""


class Artefact(msgspec.Struct, frozen=True):
    """A file that a run handed in.

    ``kind``: ``table``, ``figure`` or ``file``. ``digest``: SHA-256 of its content. ``meta``: rows, columns, format of
    a table; the figure's name. ``publish``: it goes to the stable key when the run has succeeded.
    """

    name: str
    kind: str
    key: str
    size: int
    digest: str
    meta: dict[str, Any] = {}
    publish: bool = False


class Manifest(msgspec.Struct, frozen=True):
    """Everything that an attempt handed in."""

    run: str
    attempt: int
    artefacts: list[Artefact] = []
    metrics: dict[str, float] = {}


def prefix_of(run: str, attempt: int) -> str:
    """Where an attempt's blobs lie."""
    return f"runs/{run}/{attempt}"


def published_key(app: str, job: str, name: str) -> str:
    """The stable key of a published output."""
    return f"published/{app}/{job}/{name}"


def upload_key(digest: str) -> str:
    """Where an uploaded input lies: by its SHA-256."""
    return f"uploads/{digest}"


def put_file(blobs: BlobStore, key: str, path: Path) -> tuple[int, str]:
    """Stream a file into the store; its size and SHA-256."""
    hasher = hashlib.sha256()
    size = 0

    def pieces() -> Iterator[bytes]:
        nonlocal size
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                hasher.update(piece)
                size += len(piece)
                yield piece

    blobs.put(key, pieces())
    return size, hasher.hexdigest()


def fetch_file(blobs: BlobStore, key: str, path: Path, digest: str | None = None) -> int:
    """Stream a blob into a file; with ``digest``, its SHA-256 must be this one. Raises ``StoreError``."""
    hasher = hashlib.sha256()
    size = 0
    draft = path.with_name(f"{path.name}.part")
    with draft.open("wb") as file:
        for piece in blobs.stream(key, CHUNK):
            hasher.update(piece)
            size += file.write(piece)
    if digest is not None and hasher.hexdigest() != digest:
        draft.unlink()
        raise StoreError(
            f"the blob {key!r} is damaged: its content is not what was stored",
            "It was changed behind bursty's back. Restore it from a backup, or make it anew.",
        )
    draft.replace(path)
    return size


def write_manifest(blobs: BlobStore, manifest: Manifest) -> None:
    """Store it beside the attempt's files."""
    blobs.put(f"{prefix_of(manifest.run, manifest.attempt)}/manifest.json", msgspec.json.encode(manifest))


def find_good(
    state: StateStore, blobs: BlobStore, app: str, job: str, wanted: Callable[[Artefact], bool]
) -> tuple[RunRecord, list[Artefact]] | None:
    """The newest good run of a job that handed in something that is wanted, and what of it is."""
    for run in state.find(RunQuery(app=app, job=job, status=RunStatus.SUCCEEDED, limit=SEARCH)):
        try:
            found = [artefact for artefact in read_manifest(blobs, run).artefacts if wanted(artefact)]
        except BlobNotFound:  # pruned meanwhile
            continue
        if found:
            return run, found
    return None


def read_manifest(blobs: BlobStore, run: RunRecord) -> Manifest:
    """What a finished run published; an empty one if it handed in nothing. Raises ``BlobNotFound``, and ``StoreError``
    for what is no manifest."""
    if run.output is None:
        return Manifest(run.id, run.attempt)
    key = f"{run.output}/manifest.json"
    try:
        return msgspec.json.decode(blobs.get(key), type=Manifest)
    except msgspec.MsgspecError as error:
        raise StoreError(
            f"the blob {key!r} is damaged: it can't be read as a manifest ({error})",
            "It was changed behind bursty's back. Restore it from a backup, or run the job again.",
        ) from error
