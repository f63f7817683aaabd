"""uv and the Pythons of this machine."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bursty.errors import EnvError

OLDEST = (3, 11)
"""What a worker's part of bursty runs on."""


def minor_version(python: str | None) -> str:
    """``"3.12"`` of an Env's ``python``; the running one's for ``None``."""
    if python is None:
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    match = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)?", python.strip())
    if match is None:
        raise EnvError(f"an Env's python is a version such as '3.12', not {python!r}", 'Write Env(…, python="3.12").')
    version = int(match[1]), int(match[2])
    if version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise EnvError(f"workers run on Python {oldest} or newer, and an Env asks for {python}", "Ask for a newer one.")
    return f"{version[0]}.{version[1]}"


def find_python(minor: str) -> str:
    """Path of an interpreter of this minor version: the running one, else one that uv or pyenv knows."""
    if minor == minor_version(None):
        return sys.executable
    path = _uv_finds(minor) or next(_pyenv_has(minor), None)
    if path is None:
        raise EnvError(
            f"there is no Python {minor} on this machine, and an Env asks for one",
            f"Install it: `uv python install {minor}`, `pyenv install {minor}` or your system's python{minor} package; "
            "or leave the Env's python out.",
        )
    return path


@functools.cache
def find_uv() -> str:
    """Path of uv: the one beside bursty, else one on PATH."""
    try:
        import uv

        return os.fspath(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        path = shutil.which("uv")
    if path is None:
        raise EnvError("uv, which builds Envs, is not installed", "pip install uv")
    return path


def run_uv(arguments: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run uv quietly, with ``text`` as its input, and return what it said. It never downloads a Python by itself."""
    command = [find_uv(), *arguments, "--no-python-downloads", "--no-progress", "--color", "never"]
    return subprocess.run(
        command, input=text, capture_output=True, encoding="utf-8", errors="replace", env=_environment()
    )


def _environment() -> dict[str, str]:
    """The user's, without what ties uv to another environment. A mirror that pip was told of is meant for uv, too."""
    tied = ("VIRTUAL_ENV", "CONDA_PREFIX", "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_PROJECT_ENVIRONMENT", "PYTHONHOME")
    variables = {name: value for name, value in os.environ.items() if name not in tied}
    if (index := variables.get("PIP_INDEX_URL")) and "UV_INDEX_URL" not in variables:
        variables.setdefault("UV_DEFAULT_INDEX", index)
    return variables


def _uv_finds(minor: str) -> str | None:
    found = run_uv(["python", "find", minor, "--system", "--no-project"])
    path = found.stdout.strip()
    return path if found.returncode == 0 and _runs(path, minor) else None


def _pyenv_has(minor: str) -> Iterator[str]:
    """pyenv's shims are no interpreters, so its folders are looked at; the newest patch version first."""
    roots = dict.fromkeys([os.environ.get("PYENV_ROOT") or "~/.pyenv", "~/.pyenv"])
    for root in roots:
        versions = Path(root).expanduser().glob(f"versions/{minor}.*/bin/python{minor}")
        for path in sorted(versions, key=_patch, reverse=True):
            if _runs(str(path), minor):
                yield str(path)


def _patch(path: Path) -> tuple[int, ...]:
    return tuple(int(piece) for piece in re.findall(r"\d+", path.parent.parent.name))


def _runs(path: str, minor: str) -> bool:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([path, "-I", "-c", code], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == minor
