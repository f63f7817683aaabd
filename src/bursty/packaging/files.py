"""The files of an Env: what they are, by content, and copying them to where its functions run."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bursty.errors import EnvError

_SKIPPED = frozenset({"__pycache__", ".git", ".bursty"})


@dataclass(frozen=True, slots=True, order=True)
class FileEntry:
    """A file: where it goes, the SHA-256 of its content, whether it is executable, and where it lies now."""

    name: str
    digest: str
    executable: bool
    source: str


def collect(paths: Iterable[str]) -> tuple[FileEntry, ...]:
    """The files at these paths, folders walked. A relative path below the working folder keeps its place; another
    one goes by its last piece."""
    found: dict[str, FileEntry] = {}
    for given in paths:
        for name, source in _walk(_place(given), Path(given)):
            entry = _entry(name, source)
            other = found.setdefault(name, entry)
            if other.digest != entry.digest:
                raise EnvError(
                    f"the files {other.source} and {source} of an Env would both be {name}",
                    "Rename one, or name both by relative paths below the working folder.",
                )
    return tuple(sorted(found.values()))


def copy(entries: Iterable[FileEntry], target: Path) -> None:
    """Copy and check that what was copied is what was hashed."""
    for entry in entries:
        path = target / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(entry.source, path)
        path.chmod(0o755 if entry.executable else 0o644)
        if _digest(str(path), *_stamp(path.stat())) != entry.digest:
            raise EnvError(f"{entry.source} changed while an Env with it was built", "Run again when it is at rest.")


def digest_tree(path: Path) -> str:
    """One digest for a file or folder."""
    entries = sorted(_entry(name, source) for name, source in _walk(path.name, path))
    listing = "".join(f"{entry.name}\0{entry.digest}\0{entry.executable}\n" for entry in entries)
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


def _place(given: str) -> str:
    path = Path(given)
    if path.is_absolute() or ".." in path.parts:
        return Path(os.path.abspath(path)).name
    return "" if path == Path() else str(path)


def _walk(place: str, path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield place, path
        return
    if not path.is_dir():
        raise EnvError(
            f"{os.path.abspath(path)}, one of an Env's files, is no file and no folder",
            "Correct the path; relative paths count from the folder in which the program was started.",
        )
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(path, followlinks=True):
        here = os.stat(folder)
        if (here.st_dev, here.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        for name in sorted(names):
            source = Path(folder, name)
            if source.is_file():
                yield str(Path(place) / source.relative_to(path)), source


def _entry(name: str, source: Path) -> FileEntry:
    try:
        found = source.stat()
        digest = _digest(str(source.absolute()), *_stamp(found))
    except OSError as error:
        raise EnvError(f"can't read {source}, one of an Env's files: {error.strerror}", "Make it readable.") from error
    return FileEntry(name, digest, bool(found.st_mode & stat.S_IXUSR), str(source.absolute()))


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_mtime_ns, found.st_size


@functools.lru_cache(4096)
def _digest(path: str, *_stamp: int) -> str:
    """SHA-256 of a file, read again only when its inode, time or size changed."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
