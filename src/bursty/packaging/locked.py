"""Locked Envs: the same packages as when a version was taken, from its pack or, elsewhere, from the index.

CACHE/envs/HASH/lock.json    the lock of an Env that was built from requirements, and its pack's digest
CACHE/locks/DIGEST           the name of the Env here that has this lock already
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import sysconfig
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bursty.errors import BlobNotFound, EnvError
from bursty.packaging import place as places
from bursty.packaging.interpreters import find_python, minor_version, run_uv
from bursty.packaging.lock import Lock, lock_digest, normalized, origin_of, read_installed, without_password
from bursty.packaging.requirements import read_requirements
from bursty.packaging.resolve import UvBuilder, advice, is_built, python_of, uv_words
from bursty.packaging.tarball import Packed, pack, unpack
from bursty.values import Env

_NOTE, _PACK = "lock.json", "pack.json"

Say = Callable[[str], None]
Fetch = Callable[[str], Iterable[bytes]]


# Taking


def lock_env(builder: UvBuilder, env: Env, root: Path, say: Say) -> tuple[Lock, Path]:
    """What the Env has, built here if need be; and the place where it lies. The lock is made once an Env.

    Raises ``EnvError``: it can't be built, or has an editable package from outside of the project.
    """
    env = _rebased(env, root)
    built = builder.build(env, say=say)
    place = Path(built.python).parents[2]
    with places.locked(place, lambda: say(f"waiting for another process that locks env {place.name[:8]}")):
        note = place / _NOTE
        if not note.exists():
            say(f"locking env {place.name[:8]}")
            _note(note, env, place)
        data = json.loads(note.read_text("utf-8"))
    editable = [(name, Path(path)) for name, path in data["editable"]]
    _write(places.private(builder.cache_dir / "locks") / data["digest"], place.name)
    folders = _inside(editable, root)
    return Lock(data["python"], data["platform"], tuple(data["lines"]), folders, tuple(data["local"])), place


def _rebased(env: Env, root: Path) -> Env:
    """With its requirements file found in the project, when it is not in the working folder."""
    given = env.requirements
    if not isinstance(given, str) or Path(given).exists() or not (root / given).exists():
        return env
    return Env(str(root / given), python=env.python, files=env.files)


def _note(path: Path, env: Env, place: Path) -> None:
    """Write down what the Env has."""
    lines, local = read_installed([str(site_packages(place))])
    packed = tuple(f"{item.name}=={item.version}" for item in local if not item.editable)
    lock = Lock(minor_version(env.python), sysconfig.get_platform(), tuple(_hashed(lines, env)), (), packed)
    about: dict[str, Any] = {
        "digest": lock_digest(lock),
        "python": lock.python,
        "platform": lock.platform,
        "lines": lock.lines,
        "local": lock.local,
        "editable": [[item.name, str(item.path)] for item in local if item.editable],
    }
    _write(path, json.dumps(about))


class Packing:
    """The files of the packages in an Env as an archive, without scripts: their first line names this machine."""

    def __init__(self, place: Path, lock: Lock) -> None:
        self._place = place
        self._lock = lock

    def known(self) -> dict[str, Any] | None:
        """``digest`` and ``size`` of the archive, if it was written before."""
        try:
            return json.loads((self._place / _PACK).read_text("utf-8"))
        except FileNotFoundError:
            return None

    def write(self, target: Path) -> Packed:
        """Write the archive, and note what it is."""
        entries: dict[str, Path | bytes] = {}
        wanted = {re.split("==| @ ", line)[0] for line in (*self._lock.lines, *self._lock.local)}
        for found in importlib.metadata.distributions(path=[str(site_packages(self._place))]):
            if normalized(found.metadata["Name"]) in wanted:
                entries.update(_package_files(found, self._place / "venv"))
        packed = pack(entries, target, level=1)
        _write(self._place / _PACK, json.dumps({"digest": packed.digest, "size": packed.size}))
        return packed


def site_packages(place: Path) -> Path:
    """The folder of the packages of an Env."""
    [folder] = (place / "venv" / "lib").glob("python*/site-packages")
    return folder


def _package_files(found: importlib.metadata.Distribution, venv: Path) -> dict[str, Path | bytes]:
    """What its RECORD lists, but for what differs from machine to machine."""
    entries: dict[str, Path | bytes] = {}
    kept: list[str] = []
    record = ""
    origin = origin_of(found)
    for file in found.files or ():
        path = Path(os.path.abspath(str(found.locate_file(file))))
        name = path.relative_to(venv).as_posix()
        if file.name == "RECORD":
            record = name
        elif not _differs(path, str(origin.get("url", ""))) and path.is_file():
            entries[name] = path
            kept.append(str(file))
    lines = (found.read_text("RECORD") or "").splitlines()
    if record:
        text = "".join(f"{line}\n" for line in sorted(lines) if line.split(",")[0].strip('"') in {*kept, record})
        entries[record] = text.encode()
    return entries


def _differs(path: Path, url: str) -> bool:
    if path.suffix == ".pyc" or path.name == "uv_cache.json":
        return True
    if path.name == "direct_url.json":
        return url.startswith("file:")
    if path.parent.name == "bin" and path.is_file():
        with path.open("rb") as file:
            return file.read(2) == b"#!"
    return False


def _hashed(lines: tuple[str, ...], env: Env) -> list[str]:
    """Options that name indexes, and the pins with the hashes that their index states."""
    options = [line for line in read_requirements(env.requirements).lines if line.startswith("--")]
    options = [line for line in options if not line.startswith("--editable")]
    how = ("--no-deps", "--generate-hashes", "--no-header", "--no-annotate", "--quiet")
    python = find_python(minor_version(env.python))
    done = run_uv(["pip", "compile", "-", *how, "--python", python], "\n".join((*options, *lines, "")))
    if done.returncode:
        words = uv_words(done)
        raise EnvError(f"can't lock the packages of an Env:\n{words}", advice(words))
    text = done.stdout.replace("\\\n", " ")
    pins = [" ".join([line.split(" --hash=")[0].strip(), *sorted(_hashes(line))]) for line in text.splitlines()]
    return [*map(without_password, options), *sorted(pin for pin in pins if pin and not pin.startswith(("#", "-")))]


def _hashes(line: str) -> list[str]:
    return [piece for piece in line.split() if piece.startswith("--hash=")]


def _inside(editable: Sequence[tuple[str, Path]], root: Path) -> tuple[str, ...]:
    """Folders of editable packages, below the root."""
    outside = [f"{name} ({path})" for name, path in editable if not path.is_relative_to(root)]
    if outside:
        raise EnvError(
            f"an Env has editable packages from outside of the project {root}: {', '.join(outside)}",
            "Name them without -e, or move them into the project.",
        )
    return tuple(sorted({path.relative_to(root).as_posix() for _, path in editable}))


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, "utf-8")
    draft.replace(path)


# Restoring


def build_locked(builder: UvBuilder, digest: str, locked: Mapping[str, Any], fetch: Fetch, say: Say) -> str:
    """Path of the interpreter of the Env whose lock has this ``digest``, built if need be."""
    if (here := _python_here(builder, digest, say)) is not None:
        return here
    packed = locked["packed"]["digest"] if locked["packed"] else ""
    name = hashlib.sha256(f"{digest} {packed}".encode()).hexdigest()[:32]  # another pack is another Env
    place = builder.cache_dir / "envs" / name
    places.private(place.parent)
    with places.locked(place, lambda: _tell_of_waiting(place, say)):
        if not is_built(place):
            started = time.monotonic()
            say(f"building env {place.name[:8]} ({len(locked['lock'])} packages for Python {locked['python']})")
            _build(place, locked, fetch)
            say(f"env {place.name[:8]} is ready ({time.monotonic() - started:.1f} s)")
        builder.uses.hold(place)
    return str(python_of(place))


def _python_here(builder: UvBuilder, digest: str, say: Say) -> str | None:
    """The interpreter of the Env that the lock was made from, if it is still here."""
    try:
        name = (builder.cache_dir / "locks" / digest).read_text("utf-8")
    except FileNotFoundError:
        return None
    place = builder.cache_dir / "envs" / name
    if not (place / _NOTE).exists():
        return None
    with places.locked(place, lambda: _tell_of_waiting(place, say)):
        note = place / _NOTE
        if not is_built(place) or not note.exists() or json.loads(note.read_text("utf-8"))["digest"] != digest:
            return None
        builder.uses.hold(place)
    return str(python_of(place))


def _tell_of_waiting(place: Path, say: Say) -> None:
    say(f"waiting for another process that builds or locks env {place.name[:8]}")


def _build(place: Path, locked: Mapping[str, Any], fetch: Fetch) -> None:
    """From its pack, where that fits; else from the lock."""
    python = find_python(locked["python"])
    places.clear(place)
    place.mkdir(mode=0o700)
    try:
        _uv("venv", "--no-project", "--python", python, str(place / "venv"))
        if not _unpack(place, locked, fetch):
            _install(place, locked)
    except BaseException:
        places.clear(place)
        raise
    (place / ".ready").touch()


def _unpack(place: Path, locked: Mapping[str, Any], fetch: Fetch) -> bool:
    packed = locked["packed"]
    if packed is None or locked["platform"] != sysconfig.get_platform():
        return False
    try:
        unpack(fetch(packed["key"]), packed["digest"], packed["size"], place / "venv")
    except BlobNotFound:
        return False  # the lock may still do
    return True


def _install(place: Path, locked: Mapping[str, Any]) -> None:
    if locked["local"]:
        raise EnvError(
            f"the pack of a version's Env is not to be had for this machine ({sysconfig.get_platform()}), and no index "
            f"has {', '.join(locked['local'])}",
            f"Run it on {locked['platform']}, with the blob store that the version was stored in.",
        )
    (place / "requirements.txt").write_text("\n".join((*locked["lock"], "")), "utf-8")
    texts = ["--no-deps", "-r", str(place / "requirements.txt")]
    _uv("pip", "install", "--python", str(python_of(place)), *texts)


def _uv(*arguments: str) -> None:
    done = run_uv(arguments)
    if done.returncode:
        words = uv_words(done)
        raise EnvError(f"can't build the Env of a version:\n{words}", advice(words))
