"""Reading requirements: one flat, normalized list, whatever files they were spread over."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bursty.errors import EnvError

_COMMENT = re.compile(r"(^|\s+)#.*$")
_INCLUDE = re.compile(r"(?:(?P<r>-r\s*|--requirement(?:\s+|=))|(?P<c>-c\s*|--constraint(?:\s+|=)))(?P<path>\S.*)")
_LINKS = re.compile(r"(-f|--find-links)(?:\s+|=)(\S.*)")
_LOCAL = re.compile(r"(?P<edit>(?:-e|--editable)(?:\s+|=))?(?P<path>[^\s;\[]+)(?P<rest>.*)")
_FILE_URL = re.compile(r"@\s*file://(?P<path>/[^\s;#]+)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_Kind = Literal["requirement", "constraint"]


@dataclass(frozen=True, slots=True)
class Requirements:
    """``lines``: what to install, and options; ``constraints``: what only limits versions; ``local``: paths in them."""

    lines: tuple[str, ...]
    constraints: tuple[str, ...]
    local: tuple[Path, ...]


def read_requirements(requirements: str | Sequence[str]) -> Requirements:
    """Read and normalize: order, comments, spelling of names and nesting make no difference.

    A string is the path of a requirements file, ``-r`` and ``-c`` are followed; a sequence holds requirements.
    """
    if isinstance(requirements, str):
        hint = f"A string is the path of a file; a requirement itself goes into a list: Env([{requirements!r}])."
        lines = _Lines().file(Path(requirements), "requirement", hint)
    else:
        lines = _Lines().read(requirements)
    found: dict[_Kind, list[str]] = {"requirement": [], "constraint": []}
    local: list[Path] = []
    for kind, line, folder in lines:
        found[kind].append(_normalized(line, folder, local))
    return Requirements(_ordered(found["requirement"]), _ordered(found["constraint"]), tuple(sorted(set(local))))


class _Lines:
    """Walks lines and the files that they include, each file once."""

    def __init__(self) -> None:
        self._seen: set[tuple[Path, _Kind]] = set()

    def read(
        self, text: Iterable[str], folder: Path | None = None, kind: _Kind = "requirement"
    ) -> Iterator[tuple[_Kind, str, Path]]:
        folder = folder or Path.cwd()
        for line in _logical(text):
            include = _INCLUDE.fullmatch(line)
            if include is None or "://" in include["path"]:
                yield kind, line, folder
            else:
                yield from self.file(folder / include["path"].strip("\"'"), "constraint" if include["c"] else kind)

    def file(self, path: Path, kind: _Kind, hint: str = "") -> Iterator[tuple[_Kind, str, Path]]:
        path = Path(os.path.abspath(path))
        if (path, kind) in self._seen:
            return
        self._seen.add((path, kind))
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise EnvError(f"can't read the requirements file {path}: {reason}", hint or "Correct its name.") from error
        yield from self.read(text.splitlines(), path.parent, kind)


def _logical(text: Iterable[str]) -> Iterator[str]:
    """Lines without comments, blank ones left out, those that end in a backslash joined."""
    begun = ""
    for raw in text:
        for piece in raw.splitlines() or [""]:
            line = begun + _COMMENT.sub("", piece)
            if line.endswith("\\"):
                begun = line[:-1]
                continue
            begun = ""
            if line := " ".join(line.split()):
                yield line
    if begun := " ".join(begun.split()):
        yield begun


def _normalized(line: str, folder: Path, local: list[Path]) -> str:
    if links := _LINKS.fullmatch(line):
        path = folder / links[2]
        return f"--find-links {os.path.abspath(path)}" if path.exists() else line
    if url := _FILE_URL.search(line):
        local.append(Path(url["path"]))
        return line
    if (place := _LOCAL.fullmatch(line)) and (path := _local_path(place["path"], folder)):
        local.append(path)
        return f"{place['edit'] or ''}{path}{place['rest']}"
    if line.startswith("-"):
        return line
    return _NAME.sub(lambda name: re.sub(r"[-_.]+", "-", name[0]).lower(), line, count=1)


def _local_path(text: str, folder: Path) -> Path | None:
    """A requirement that is a path, as pip reads it: from the working folder; else from its file's folder."""
    if "/" not in text and not text.startswith("."):
        return None
    for base in (Path.cwd(), folder):
        path = Path(os.path.abspath(base / text))
        if path.exists():
            return path
    return None


def _ordered(lines: Iterable[str]) -> tuple[str, ...]:
    """Options first and in their order, for it may matter; requirements sorted, for theirs doesn't."""
    unique = list(dict.fromkeys(lines))
    options = [line for line in unique if line.startswith("-") and not line.startswith(("-e", "--editable"))]
    return (*options, *sorted(line for line in unique if line not in options))
