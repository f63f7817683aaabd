"""Versions made ready on this machine, from the blob store alone, beside any others.

    CACHE/versions/DIGEST.json   the manifest; its digest is checked at each reading
    CACHE/sources/HASH/tree      a version's files (and those of its Env), read-only: see ``place``
    CACHE/envs/HASH/venv         a locked Env, as ``resolve`` has them

Versions with the same source share its folder, those with the same lock their Env.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bursty.errors import BlobNotFound, EnvError
from bursty.packaging import place as places
from bursty.packaging.lock import is_running, lock_digest
from bursty.packaging.locked import build_locked
from bursty.packaging.manifest import Manifest, declared_key, find_env, lock_of, manifest_key, read_manifest
from bursty.packaging.place import silent
from bursty.packaging.resolve import UvBuilder
from bursty.packaging.tarball import unpack
from bursty.ports import BlobStore, BuiltEnv
from bursty.values import Env

Say = Callable[[str], None]


class VersionBuilder(UvBuilder):
    """The ``Builder`` of this machine that knows versions, too. Thread-safe; processes share what lies in the cache.

    ``blobs``: opens the blob store when something is needed that the cache has not. What this builder has given out is
    not pruned while it lives.
    """

    def __init__(self, blobs: Callable[[], BlobStore], cache_dir: str | os.PathLike[str]) -> None:
        super().__init__(cache_dir)
        self._open_blobs = blobs

    def build_version(self, version: str, env: Env | None = None, *, say: Say = silent) -> BuiltEnv:
        """The version's folder and interpreter; ``path``: all that its workers import, but the Env's own packages."""
        manifest = self.manifest(version)
        locked = manifest["envs"][find_env(manifest, env)]
        lock = lock_of(locked)
        digest = lock_digest(lock)
        try:
            tree = self.source(manifest, env, say=say)
            path = (self.worker_path(), *(str(tree / folder) for folder in manifest["path"]))
            if is_running(lock):
                return BuiltEnv(sys.executable, str(tree), digest, (*path, *own_path()), whole=True)
            python = build_locked(self, digest, locked, self._fetch, say)
        except OSError as error:
            raise EnvError(
                f"can't make version {version[:12]} ready in {self.cache_dir}: {error.strerror or error}",
                "See that the disk has room (bursty prune) and that your user may write there.",
            ) from error
        return BuiltEnv(python, str(tree), digest, path)

    def manifest(self, version: str) -> Manifest:
        """From the cache, else from the blob store."""
        key = manifest_key(version)
        path = self.cache_dir / "versions" / f"{version}.json"
        try:
            return read_manifest(path.read_bytes(), version)
        except FileNotFoundError:
            data = self._get(key, version)
        manifest = read_manifest(data, version)
        self.keep_manifest(version, data)
        return manifest

    def keep_manifest(self, version: str, data: bytes) -> None:
        """Put a manifest into the cache, whole or not at all."""
        folder = places.private(self.cache_dir / "versions")
        draft = folder / f".{secrets.token_hex(8)}"
        draft.write_bytes(data)
        draft.replace(folder / f"{version}.json")

    def source(
        self, manifest: Manifest, env: Env | None, *, archives: Mapping[str, Path] | None = None, say: Say = silent
    ) -> Path:
        """The folder of a version's files, its Env's among them. ``archives``: those that lie here already, by key."""
        packs = [manifest["source"]]
        if (more := manifest["files"].get(declared_key(env))) is not None:
            packs.append(more)
        name = hashlib.sha256("".join(pack["digest"] for pack in packs).encode()).hexdigest()[:32]
        place = self.cache_dir / "sources" / name
        places.private(place.parent)
        with places.locked(place, lambda: say("waiting for another process that restores this version")):
            if not places.is_ready(place):
                self._unpack(place, packs, archives or {})
            self.uses.hold(place)
        return place / "tree"

    def _unpack(self, place: Path, packs: Sequence[Mapping[str, Any]], archives: Mapping[str, Path]) -> None:
        places.clear(place)
        place.mkdir(mode=0o700)
        try:
            for pack in packs:
                here = archives.get(pack["key"])
                data = read_file(here) if here is not None else self._fetch(pack["key"])
                unpack(data, pack["digest"], pack["size"], place / "tree", read_only=True)
        except BaseException:
            places.clear(place)
            raise
        places.make_read_only(place / "tree")
        (place / ".ready").touch()

    def _fetch(self, key: str) -> Iterable[bytes]:
        return self._open_blobs().stream(key)

    def _get(self, key: str, version: str) -> bytes:
        try:
            return self._open_blobs().get(key)
        except BlobNotFound as error:
            raise BlobNotFound(
                f"there is no version {version[:12]} in the blob store",
                "bursty versions lists those there are; was it pruned, or is BURSTY_BLOBS another one?",
            ) from error


def own_path() -> tuple[str, ...]:
    """The import path of this interpreter without what projects added to it: its library and packages."""
    library = Path(sysconfig.get_path("stdlib")).resolve()
    paths = [Path(entry) for entry in sys.path if entry]
    packages = {"site-packages", "dist-packages"}
    return tuple(str(path) for path in paths if packages & set(path.parts) or path.resolve().is_relative_to(library))


def read_file(path: Path) -> Iterable[bytes]:
    """A file, piece by piece."""
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            yield data


def prune_versions(cache: str | os.PathLike[str], older_than: float, *, now: float | None = None) -> tuple[int, int]:
    """Remove restored files that nobody used for ``older_than`` seconds nor uses now; return how many, and their bytes.
    They come back from the blob store when they are needed. Envs are ``prune_envs``'s."""
    root = Path(os.path.abspath(cache))
    now = time.time() if now is None else now
    for path in root.glob("versions/*"):  # manifests, and what a killed snapshot left
        if path.lstat().st_mtime > now - older_than:
            continue
        if path.is_dir():
            places.clear(path)
        else:
            path.unlink(missing_ok=True)
    return places.prune(root / "sources", older_than, now=now)
