"""Exactly which packages an Env has: pins that give the same ones later, elsewhere."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import re
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from bursty.errors import EnvError
from bursty.packaging.interpreters import minor_version

_OWN = "bursty"
"""A worker has the bursty of whoever starts it, so no lock names it."""


@dataclass(frozen=True, slots=True)
class Lock:
    """``lines``: a pin for each package, as uv and pip read them. ``python``: minor version. ``folders``: where
    packages lie that are part of the project itself, below its root. ``local``: packages from this machine's files,
    which no index has: an Env with such must be packed."""

    python: str
    platform: str
    lines: tuple[str, ...]
    folders: tuple[str, ...] = ()
    local: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Local:
    """A package that was installed from this machine's files: ``path`` is the folder or file."""

    name: str
    version: str
    path: Path
    editable: bool


def freeze(root: Path) -> Lock:
    """What the running interpreter has installed. Packages that lie inside ``root`` are the project's own.

    Raises ``EnvError`` for packages that only this machine has.
    """
    lines, local = read_installed(sys.path)
    foreign = [item for item in local if not item.path.is_relative_to(root)]
    if foreign:
        names = ", ".join(f"{item.name} (from {item.path})" for item in foreign)
        raise EnvError(
            f"a version can't hold packages that were installed from files of this machine: {names}",
            "Install them from an index, move them into the project, or declare an Env: App(…, env=Env(…)).",
        )
    folders = {item.path.relative_to(root).as_posix() for item in local}
    return Lock(minor_version(None), sysconfig.get_platform(), lines, tuple(sorted(folders)))


def read_installed(path: Sequence[str]) -> tuple[tuple[str, ...], tuple[Local, ...]]:
    """Pins of the packages on an import path that came from indexes and repositories; and those from files."""
    lines: dict[str, str] = {}
    local: dict[str, Local] = {}
    for found in importlib.metadata.distributions(path=list(path)):
        name = normalized(found.metadata["Name"] or "")
        if not name or name == _OWN or name in lines or name in local:
            continue  # the first on the import path counts
        origin = origin_of(found)
        url = str(origin.get("url", ""))
        if url.startswith("file:"):
            folder = Path(unquote(urlsplit(url).path)).resolve()
            local[name] = Local(name, found.version, folder, bool(origin.get("dir_info", {}).get("editable")))
        else:
            lines[name] = _pin(name, found.version, origin)
    return tuple(sorted(lines.values())), tuple(local[name] for name in sorted(local))


def is_running(lock: Lock) -> bool:
    """Whether the running interpreter has exactly these packages."""
    mine = minor_version(None), sysconfig.get_platform()
    return mine == (lock.python, lock.platform) and _running()[0] == lock.lines


@functools.cache
def _running() -> tuple[tuple[str, ...], tuple[Local, ...]]:
    """Workers start often, and what runs here now has imported what was installed when it began."""
    return read_installed(sys.path)


def lock_digest(lock: Lock) -> str:
    """The identity of the Env that it makes."""
    text = json.dumps(["lock", 1, sys.implementation.name, lock.python, lock.platform, lock.lines, lock.local])
    return hashlib.sha256(text.encode()).hexdigest()


def normalized(name: str) -> str:
    """A package's name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def without_password(text: str) -> str:
    """An address, alone or in a line, without user and password; ``git@`` of ssh stays."""
    return re.sub(r"(https?://)[^@/\s]*@", r"\1", re.sub(r"(://[^:@/\s]*):[^@/\s]*@", r"\1@", text))


def origin_of(found: importlib.metadata.Distribution) -> dict[str, Any]:
    """``direct_url.json``: where a package came from when it was no index."""
    text = found.read_text("direct_url.json")
    data: Any = json.loads(text) if text else {}
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def _pin(name: str, version: str, origin: dict[str, Any]) -> str:
    if not origin.get("url"):
        return f"{name}=={version}"
    url = without_password(str(origin["url"]))
    inside = f"#subdirectory={origin['subdirectory']}" if origin.get("subdirectory") else ""
    if "vcs_info" in origin:
        info = origin["vcs_info"]
        return f"{name} @ {info['vcs']}+{url}@{info['commit_id']}{inside}"
    return f"{name} @ {url}{inside}"
