"""Archives whose bytes depend on their content alone, and unpacking them without trust.

The digest and size of an archive are those of the plain tar inside: compressors differ between machines, content
doesn't. An archive is checked to the last byte before anything of it is unpacked.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bursty.errors import ConfigError, DigestMismatch

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Packed:
    """What was packed: ``digest`` (SHA-256) and ``size`` of the tar, and (name, digest, size) of each file."""

    digest: str
    size: int
    files: tuple[tuple[str, str, int], ...]


class _Hashing:
    """Passes bytes on and keeps their digest and number."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        self.size += len(data)
        return data

    def tell(self) -> int:
        return self.size


def pack(entries: Mapping[str, Path | bytes], target: Path, *, level: int = 6) -> Packed:
    """Write files and symbolic links, by their names in it, to a ``tar.gz``: sorted, without times and owners.

    Bytes are the content of a file. Raises ``ConfigError`` when a file changes meanwhile or can't be read.
    """
    with target.open("wb") as raw, gzip.GzipFile("", "wb", level, raw, mtime=0) as zipped:
        plain: Any = _Hashing(zipped)
        with tarfile.TarFile(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
            files = tuple(_add(tar, name, entries[name]) for name in sorted(entries, key=os.fsencode))
    return Packed(plain.hash.hexdigest(), plain.size, files)


def _add(tar: tarfile.TarFile, name: str, path: Path | bytes) -> tuple[str, str, int]:
    member = tarfile.TarInfo(name)
    if isinstance(path, bytes):
        member.size, member.mode = len(path), 0o644
        tar.addfile(member, io.BytesIO(path))
        return name, hashlib.sha256(path).hexdigest(), len(path)
    try:
        if path.is_symlink():
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
            tar.addfile(member)
            return name, "link:" + member.linkname, 0
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            member.size = found.st_size
            member.mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
            content = _Hashing(file)
            tar.addfile(member, content)  # pyright: ignore[reportArgumentType]
            changed = bool(file.read(1))
    except OSError as error:
        if error.errno is not None:
            raise ConfigError(f"can't read {path}: {error.strerror}", "Make it readable, or leave it out.") from error
        changed = True  # the file became shorter than it was a moment ago
        content = None
    if changed or content is None:
        raise ConfigError(f"{path} changed while it was packed", "Run again when it is at rest.")
    return name, content.hash.hexdigest(), content.size


def unpack(data: Iterable[bytes], digest: str, size: int, folder: Path, *, read_only: bool = False) -> None:
    """Unpack a ``tar.gz`` into ``folder`` after its content was checked. What lies there already is replaced.

    Raises ``DigestMismatch`` for content that is not what ``digest`` and ``size`` say, or that would leave ``folder``.
    """
    draft = folder.with_name(folder.name + ".tar")
    try:
        with draft.open("wb") as file:
            _check(data, digest, size, file)
        with tarfile.open(draft, "r:") as tar:
            _extract(tar, folder, read_only)
    except tarfile.TarError as error:
        raise DigestMismatch(f"an archive can't be read: {error}", _HINT) from error
    finally:
        draft.unlink(missing_ok=True)


_HINT = "It is damaged or somebody changed it; nothing of it was unpacked. Take a new snapshot, or restore the blob."


def _check(data: Iterable[bytes], digest: str, size: int, file: IO[bytes]) -> None:
    """Decompress to ``file``, never more than ``size`` bytes."""
    plain = _Hashing(file)
    try:
        for piece in _plain(data):
            if plain.size + len(piece) > size:
                raise DigestMismatch(f"an archive holds more than the {size:,} bytes that it should", _HINT)
            plain.write(piece)
    except zlib.error as error:
        raise DigestMismatch(f"an archive can't be decompressed: {error}", _HINT) from error
    if plain.hash.hexdigest() != digest:
        raise DigestMismatch(f"an archive is not the one with the digest {digest[:12]}…", _HINT)


def _plain(data: Iterable[bytes]) -> Iterator[bytes]:
    unzip = zlib.decompressobj(31)
    for piece in data:
        while piece:
            yield unzip.decompress(piece, CHUNK)
            piece = unzip.unconsumed_tail
    while rest := unzip.decompress(unzip.unconsumed_tail, CHUNK):
        yield rest


def _extract(tar: tarfile.TarFile, folder: Path, read_only: bool) -> None:
    """Links come last, so that nothing is written through one; each must lead to a place inside."""
    links: list[tarfile.TarInfo] = []
    folder.mkdir(parents=True, exist_ok=True)
    for member in tar:
        _refuse_outside(member)
        if member.issym():
            links.append(member)
            continue
        path = folder / member.name
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with tar.extractfile(member) as content, path.open("xb") as file:  # pyright: ignore[reportOptionalContextManager]
            while piece := content.read(CHUNK):
                file.write(piece)
        mode = 0o555 if member.mode & stat.S_IXUSR else 0o444
        path.chmod(mode if read_only else mode | stat.S_IWUSR)
    for member in links:
        path = folder / member.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(member.linkname)
    for member in links:
        if not is_inside(folder / member.name, folder):
            _leaves(member)


def _refuse_outside(member: tarfile.TarInfo) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not name.parts or "\0" in member.name:
        _leaves(member)
    if not (member.isreg() or member.isdir() or member.issym()):
        raise DigestMismatch(f"an archive holds {member.name!r}, which is no file, folder or link", _HINT)


def _leaves(member: tarfile.TarInfo) -> None:
    raise DigestMismatch(f"an archive holds {member.name!r}, which leads out of its folder", _HINT)


def is_inside(path: Path, folder: Path) -> bool:
    """Whether ``path``, all links followed, lies in ``folder``. A link that turns in a circle does not."""
    with contextlib.suppress(OSError, RuntimeError):
        return path.resolve().is_relative_to(folder.resolve())
    return False
