"""Words for an app that can't be imported from its version: which file, which line, and what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bursty.errors import BurstyError, ConfigError, RemoteError
from bursty.packaging.source import Source

_HINT = "Mend what the message says; the version was not stored."
_PLACE = re.compile(r'File "[^"]*/sources/[0-9a-f]{32}/tree/([^"]+)", line (\d+)')


def explained(source: Source, error: Exception) -> ConfigError:
    """The error of a child that described the version, for people."""
    name, words, hint = type(error).__name__, str(error), _HINT
    if isinstance(error, BurstyError):
        words, hint = error.message, error.hint or _HINT
    if isinstance(error, RemoteError):
        name = error.type_name
    elif isinstance(error, ModuleNotFoundError) and error.name:
        hint = _missing(source, error.name)
    where = _place(error)
    inside = f" ({where[0]}, line {where[1]})" if where else ""
    words = next(iter(words.splitlines()), "")
    return ConfigError(
        f"{source.root / source.target} can't be imported from its version: {name}: {words}{inside}", hint
    )


def _missing(source: Source, module: str) -> str:
    """What to do about a module that is not there, and is in the project after all."""
    left_out = dict(source.left_out)
    for name in _files_of(source, module):
        if name not in source.names and (source.root / name).exists():
            return f"{name} is no part of the version: {left_out.get(name, 'git ignores it')}."
    return f"Put {module.split('.')[0]!r} into the app's requirements, or its file into the project."


def _files_of(source: Source, module: str) -> Iterator[str]:
    inner = module.replace(".", "/")
    for folder in dict.fromkeys((Path(source.target).parent, Path(), Path("src"))):
        yield (folder / f"{inner}.py").as_posix()
        yield (folder / inner / "__init__.py").as_posix()


def _place(error: BaseException) -> tuple[str, str] | None:
    """The last of the app's own lines in the child's traceback."""
    told = error if isinstance(error, RemoteError) else error.__cause__
    found = _PLACE.findall(told.remote_traceback) if isinstance(told, RemoteError) else []
    return found[-1] if found else None
