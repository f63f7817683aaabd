"""``.burstyignore``: what a version leaves out, in the syntax of ``.gitignore``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from bursty.errors import ConfigError

FILE = ".burstyignore"


class Rules:
    """The lines of a file: ``#`` comments, ``*``, ``?``, ``[a-z]``, ``**``, a leading ``/`` (from the root), a trailing
    one (folders only) and ``!`` (not left out after all, if an earlier line says so)."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = [rule for line in lines if (rule := _rule(line)) is not None]

    def excludes(self, name: str) -> bool:
        """Whether a file with this path below the root is left out, itself or with a folder above it."""
        parts = name.split("/")
        ways = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        return any(self._matches(way, way != name) for way in ways)

    def _matches(self, way: str, is_folder: bool) -> bool:
        found = False
        for pattern, only_folders, again in self._rules:
            if (is_folder or not only_folders) and pattern.fullmatch(way):
                found = not again
        return found


def read_rules(root: Path) -> Rules:
    """The rules of a project; none when it has no such file."""
    try:
        return Rules((root / FILE).read_text("utf-8").splitlines())
    except FileNotFoundError:
        return Rules(())
    except (OSError, ValueError) as error:
        raise ConfigError(f"can't read {root / FILE}: {error}", "Mend or remove it.") from error


def _rule(line: str) -> tuple[re.Pattern[str], bool, bool] | None:
    text = line.strip()
    if not text or text.startswith("#"):
        return None
    again, text = text.startswith("!"), text.removeprefix("!").removeprefix("\\")
    only_folders, text = text.endswith("/"), text.rstrip("/")
    anchored = "/" in text
    pattern = _regex(text.removeprefix("/"))
    return re.compile(pattern if anchored else f"(?:.*/)?{pattern}", re.DOTALL), only_folders, again


_PIECES = re.compile(r"(\*\*/|/\*\*$|\*\*|\*|\?|\[!?[^\]]+\])")
_MEANING = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _regex(text: str) -> str:
    pieces = _PIECES.split(text)
    return "".join(_MEANING.get(piece) or _bracket(piece) or re.escape(piece) for piece in pieces)


def _bracket(piece: str) -> str | None:
    if not (piece.startswith("[") and piece.endswith("]") and len(piece) > 2):
        return None
    inner = piece[1:-1].replace("\\", "\\\\")
    return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
