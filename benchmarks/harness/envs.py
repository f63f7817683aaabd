"""A virtual environment for each requirements file, built by uv and kept by the hash of what goes into it."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVS = ROOT / "benchmarks" / ".envs"
INSTALL_SECONDS = 600


class EnvFailed(Exception):
    """An environment can't be had; the message is the installer's."""


def base_python() -> str:
    return getattr(sys, "_base_executable", None) or sys.executable


def find_uv() -> str:
    """The uv of this environment, of the PATH, or of tools/bootstrap, which fetches one."""
    beside = Path(sys.executable).with_name("uv")
    if beside.exists():
        return str(beside)
    found = shutil.which("uv")
    if found:
        return found
    return _run([str(ROOT / "tools" / "bootstrap"), "uv"], cwd=ROOT).stdout.strip()


def uv_variables() -> dict[str, str]:
    """A mirror that pip knows is meant for uv too, unless uv was told otherwise."""
    variables = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    if variables.keys() & {"UV_DEFAULT_INDEX", "UV_INDEX_URL"}:
        return variables
    index = variables.get("PIP_INDEX_URL") or _pips_index()
    return {**variables, "UV_DEFAULT_INDEX": index} if index else variables


@functools.cache
def _pips_index() -> str:
    command = [base_python(), "-m", "pip", "config", "get", "global.index-url"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def digest(requirements: Path) -> str:
    """Of the file, of the constraints and projects that it names, and of the Python that it is for."""
    said = hashlib.sha256(f"{platform.python_version()} {base_python()}".encode())
    for line in requirements.read_text().splitlines():
        said.update(line.strip().encode() + b"\n")
        option, _, target = line.strip().partition(" ")
        path = requirements.parent / target
        if option == "-c":
            said.update(path.read_bytes())
        elif option == "-e":
            said.update(f"{path.resolve()}".encode() + (path / "pyproject.toml").read_bytes())
    return said.hexdigest()[:12]


def ensure(requirements: Path, folder: Path = ENVS, uv: str | None = None) -> Path:
    """The interpreter of the environment with these requirements, which is built when there is none yet."""
    env = folder / f"{requirements.stem}-{digest(requirements)}"
    python = env / "bin" / "python"
    done = env / "bench-complete"
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder / f"{requirements.stem}.lock"):
        if not done.exists():
            _build(requirements, env, python, uv or find_uv())
            done.touch()
    return python


def _build(requirements: Path, env: Path, python: Path, uv: str) -> None:
    for old in env.parent.glob(f"{requirements.stem}-*"):
        shutil.rmtree(old)
    try:
        _run([uv, "venv", "--quiet", "--no-project", "--python", base_python(), str(env)])
        install = [uv, "pip", "install", "--quiet", "--python", str(python), "-r", requirements.name]
        _run(install, cwd=requirements.parent)
    except EnvFailed:
        shutil.rmtree(env, ignore_errors=True)
        raise


def _run(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    try:
        result = subprocess.run(
            command, cwd=cwd, env=uv_variables(), capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvFailed(f"did not install: {error}") from error
    if result.returncode:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        raise EnvFailed("did not install: " + " ".join(lines[:3] or [f"exit code {result.returncode}"]))
    return result


@contextmanager
def _lock(path: Path) -> Generator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
