"""Taking a version: the app's files, its locked Envs and its declarations, under the hash of all that."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bursty.errors import BackendError, BlobExists, ConfigError, EnvError, StoreError
from bursty.packaging import place as places
from bursty.packaging.declared import read_app_env
from bursty.packaging.files import collect
from bursty.packaging.lock import Lock, freeze, lock_digest
from bursty.packaging.locked import Packing, lock_env
from bursty.packaging.manifest import (
    FORMAT,
    Manifest,
    archive_key,
    canonical,
    declared_key,
    digest_of,
    manifest_key,
)
from bursty.packaging.place import silent
from bursty.packaging.refusals import explained
from bursty.packaging.restore import Say, VersionBuilder, read_file
from bursty.packaging.source import LIMIT, Source, find_source, git_commit
from bursty.packaging.sweep import FRESH_SECONDS
from bursty.packaging.tarball import Packed, pack
from bursty.ports import BlobStore
from bursty.values import Env, WorkerSpec

Describe = Callable[[WorkerSpec, str], Mapping[str, Any]]
"""Runs ``bursty.runtime.describe.describe(target)`` on a worker of this kind, and gives what it gives."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A version that is in the blob store. ``is_new``: it was not there before.

    ``commit``: the git commit it was taken at, ``+`` behind it when files had changed; a label like message and time,
    and no part of the version. ``left_out``: files that may be missed, with the reason why they are no part of it.
    """

    digest: str
    manifest: Manifest
    is_new: bool
    commit: str | None
    left_out: tuple[tuple[str, str], ...]


def take_snapshot(
    target: str | os.PathLike[str],
    *,
    blobs: BlobStore,
    cache: str | os.PathLike[str],
    describe: Describe,
    limit: int = LIMIT,
    say: Say = silent,
) -> Snapshot:
    """The version of the app in the file ``target``, stored unless it is there already.

    It is restored here first, and described in a child that sees nothing else: a file that is missing is missed now.
    Raises ``ConfigError`` for an app that can't be packed or imported, ``EnvError`` for an Env that can't be locked.
    """
    source = find_source(target, limit=limit)
    builder = VersionBuilder(lambda: blobs, cache)
    folder = places.private(builder.cache_dir / "versions")
    with tempfile.TemporaryDirectory(prefix="taking-", dir=folder) as work:
        taking = _Taking(source, builder, blobs, Path(work), say)
        draft = taking.draft()
        described = taking.described(draft, describe)
        manifest = taking.manifest(described)
        digest = digest_of(manifest)
        is_new = _store(blobs, digest, manifest, taking.archives)
    builder.keep_manifest(digest, canonical(manifest))
    return Snapshot(digest, manifest, is_new, git_commit(source.root), source.left_out)


class _Taking:
    """One snapshot on its way."""

    def __init__(self, source: Source, builder: VersionBuilder, blobs: BlobStore, work: Path, say: Say) -> None:
        self._source = source
        self._blobs = blobs
        self._builder = builder
        self._work = work
        self._say = say
        self.archives: dict[str, Path] = {}
        self._forget()
        self._guess = read_app_env(source.root / source.target)
        self._pack = self._packed_source()

    def _packed_source(self) -> dict[str, Any]:
        path = self._work / "source.tar.gz"
        packed = pack({name: self._source.root / name for name in self._source.names}, path)
        return {**self._archived("sources", path, packed), "files": [list(file) for file in packed.files]}

    def draft(self) -> Manifest:
        """What is known before the app is imported, and with which it is."""
        self._lock(self._guess)
        return self._assembled({}, None)

    def described(self, draft: Manifest, describe: Describe) -> Mapping[str, Any]:
        """What the app declares, told by a child that has nothing but the draft."""
        digest = digest_of(draft)
        self._builder.keep_manifest(digest, canonical(draft))
        env = self._guess
        self._builder.source(draft, env, archives=self.archives, say=self._say)
        try:
            described = describe(WorkerSpec(env, version=digest), self._source.target)
        except (BackendError, EnvError, StoreError):
            raise
        except Exception as error:
            raise explained(self._source, error) from error
        _check_one_app(self._source, described["apps"])
        return described

    def manifest(self, described: Mapping[str, Any]) -> Manifest:
        self._forget()
        specs = [spec for app in described["apps"] for spec in _specs(app)]
        for env in [_env_of(spec) for spec in specs] or [None]:
            self._lock(env)
        return self._assembled({spec["name"]: self._declared[declared_key(_env_of(spec))] for spec in specs}, described)

    def _forget(self) -> None:
        """Only what functions and jobs declare belongs to the version."""
        self._envs: dict[str, dict[str, Any]] = {}
        self._declared: dict[str, str] = {}
        self._files: dict[str, dict[str, Any]] = {}
        self._folders: set[str] = set()

    def _lock(self, env: Env | None) -> None:
        name, place = declared_key(env), None
        if name in self._declared:
            return
        if env is None:
            lock = freeze(self._source.root)
        else:
            lock, place = lock_env(self._builder, env, self._source.root, self._say)
            self._pack_files(name, env)
        self._folders.update(lock.folders)
        self._declared[name] = digest = lock_digest(lock)
        if digest not in self._envs:
            self._envs[digest] = {
                "python": lock.python,
                "platform": lock.platform,
                "lock": list(lock.lines),
                "local": list(lock.local),
                "packed": self._pack_env(digest, lock, place) if place is not None else None,
            }

    def _pack_env(self, digest: str, lock: Lock, place: Path) -> dict[str, Any]:
        """Packing takes long, so it is done only when the blob store has no such pack."""
        packing = Packing(place, lock)
        known = packing.known()
        if known is None or not self._has(archive_key("envs", known["digest"])):
            path = self._work / f"{digest}.tar.gz"
            self._say(f"packing env {place.name[:8]}")
            known = self._archived("envs", path, packing.write(path))
        return {"key": archive_key("envs", known["digest"]), "digest": known["digest"], "size": known["size"]}

    def _has(self, key: str) -> bool:
        return key in self.archives or _is_fresh(self._blobs, key)

    def _pack_files(self, name: str, env: Env) -> None:
        """An Env's files that are not in their places among the app's anyway."""
        present = {(file[0], file[1]) for file in self._pack["files"]}
        entries = {
            item.name: Path(item.source) for item in collect(env.files) if (item.name, item.digest) not in present
        }
        if entries:
            path = self._work / f"files-{len(self.archives)}.tar.gz"
            self._files[name] = self._archived("sources", path, pack(entries, path))

    def _archived(self, kind: str, path: Path, packed: Packed) -> dict[str, Any]:
        key = archive_key(kind, packed.digest)
        self.archives[key] = path
        return {"key": key, "digest": packed.digest, "size": packed.size}

    def _assembled(self, env_of: Mapping[str, str], described: Mapping[str, Any] | None) -> Manifest:
        return {
            "format": FORMAT,
            "app": described["apps"][0]["name"] if described else None,
            "target": self._source.target,
            "path": import_folders(self._source, self._folders),
            "source": self._pack,
            "envs": dict(self._envs),
            "env_of": dict(env_of),
            "declared": dict(self._declared),
            "files": dict(self._files),
            "describe": described,
        }


def import_folders(source: Source, packages: set[str]) -> list[str]:
    """Folders below the root that go on the import path: the app file's own, then the project's."""
    own = [Path(source.target).parent.as_posix(), ".", "src"]
    wanted = [*own, *(f"{folder}{inner}" for folder in sorted(packages) for inner in ("", "/src"))]
    return [name for name in dict.fromkeys(wanted) if any(_is_below(file, name) for file in source.names)]


def _is_below(file: str, folder: str) -> bool:
    return folder == "." or file.startswith(folder + "/")


def _specs(app: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What an app declares that runs on workers."""
    jobs = [job.get("function", job) for job in app.get("jobs", ())]
    return [*app.get("functions", ()), *jobs]


def _env_of(spec: Mapping[str, Any]) -> Env | None:
    env = spec.get("env")
    if env is None:
        return None
    requirements = env["requirements"]
    given = requirements if isinstance(requirements, str) else tuple(requirements)
    return Env(given, python=env["python"], files=env["files"])


def _check_one_app(source: Source, apps: Sequence[Mapping[str, Any]]) -> None:
    path = source.root / source.target
    if not apps:
        raise ConfigError(f"{path} declares no App", 'Write app = App("name") and @app.function or @app.job.')
    if len(apps) > 1:
        names = ", ".join(repr(app["name"]) for app in apps)
        raise ConfigError(f"{path} has several Apps ({names}), and a version is of one", "Give each a file of its own.")


def _store(blobs: BlobStore, digest: str, manifest: Manifest, archives: Mapping[str, Path]) -> bool:
    """Archives first: a manifest that is there is complete."""
    for key, path in archives.items():
        if not _is_fresh(blobs, key):
            blobs.put(key, read_file(path))  # the content of a key is always the same
    if blobs.head(manifest_key(digest)) is not None:
        return False
    try:
        blobs.put(manifest_key(digest), canonical(manifest), if_absent=True)
    except BlobExists:
        return False
    return True


def _is_fresh(blobs: BlobStore, key: str) -> bool:
    """Whether it is there, and will be when the manifest is: see ``sweep``."""
    info = blobs.head(key)
    return info is not None and info.modified > time.time() - FRESH_SECONDS
