"""Envs made ready on this machine, by uv: a virtual environment for each, under the hash of what it holds.

    CACHE/envs/HASH/venv        the environment
    CACHE/envs/HASH/files       the Env's files; see ``place`` for what else lies there
    CACHE/worker/HASH/bursty    a link to bursty, and nothing beside it, for the workers' import path

A virtual environment can't be moved, so it is built in its place, under the lock.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bursty.errors import EnvError
from bursty.packaging import files as env_files
from bursty.packaging.interpreters import find_python, minor_version, run_uv
from bursty.packaging.place import Uses, is_ready, locked, private, prune, silent
from bursty.packaging.requirements import Requirements, read_requirements
from bursty.ports import BuiltEnv
from bursty.values import Env

FORMAT = 1
"""Raised when the same Env is to be built in another way."""

_LAST_LINES = 20


def worker_requirements() -> tuple[str, ...]:
    """What every Env gets. Functions travel as cloudpickle's bytes, which only the same version is sure to read."""
    return f"cloudpickle=={importlib.metadata.version('cloudpickle')}", "msgspec>=0.20", "pydantic>=2.11"


@dataclass(frozen=True, slots=True)
class Plan:
    """All that makes an Env what it is, read from the disk once. ``digest`` is its identity."""

    python: str
    requirements: Requirements
    files: tuple[env_files.FileEntry, ...]
    digest: str


def plan_env(env: Env) -> Plan:
    """Read an Env's requirements and files, and hash them."""
    python = minor_version(env.python)
    requirements = read_requirements(env.requirements)
    files = env_files.collect(env.files)
    identity = {
        "format": FORMAT,
        "python": [python, sys.implementation.name, sysconfig.get_platform()],
        "worker": worker_requirements(),
        "requirements": requirements.lines,
        "constraints": requirements.constraints,
        "local": [[str(path), env_files.digest_tree(path)] for path in requirements.local],
        "files": [[entry.name, entry.digest, entry.executable] for entry in files],
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return Plan(python, requirements, files, digest)


class UvBuilder:
    """The ``Builder`` of this machine. Thread-safe; processes that share a cache build an Env once.

    ``cache_dir`` is made for this user alone. An Env that this builder has given out is not pruned while it lives.
    """

    def __init__(self, cache_dir: str | os.PathLike[str]) -> None:
        self.cache_dir = Path(os.path.abspath(cache_dir))
        self.uses = Uses()

    def build(self, env: Env, *, say: Callable[[str], None] = silent) -> BuiltEnv:
        """The Env's interpreter and folder, built if need be. ``say`` is told of what takes time."""
        plan = plan_env(env)
        place = self.cache_dir / "envs" / plan.digest[:32]
        try:
            private(place.parent)
            with locked(place, lambda: _tell_of_waiting(place, plan, say)):
                if not is_built(place):
                    _build(place, plan, say)
                self.uses.hold(place)
        except OSError as error:
            reason = error.strerror or str(error)
            raise EnvError(
                f"can't make an Env ready in {place}: {reason}",
                "See that the disk has room (bursty prune) and that your user may write there.",
            ) from error
        folder = str(place / "files") if env.files else None
        return BuiltEnv(python=str(python_of(place)), folder=folder, digest=plan.digest, path=(self.worker_path(),))

    def worker_path(self) -> str:
        """See ``worker_path``."""
        return worker_path(self.cache_dir)


def worker_path(cache_dir: str | os.PathLike[str]) -> str:
    """A folder with a link to the installed bursty and nothing else: on a worker's import path it shows bursty, and
    none of the packages that lie beside bursty here."""
    package = Path(__file__).resolve().parents[1]
    folder = private(Path(os.path.abspath(cache_dir)) / "worker") / hashlib.sha256(bytes(package)).hexdigest()[:16]
    link = folder / "bursty"
    if not link.is_dir():
        folder.mkdir(mode=0o700, exist_ok=True)
        fresh = folder / f".{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(package)
        fresh.replace(link)
    return str(folder)


def prune_envs(cache_dir: str | os.PathLike[str], older_than: float, *, now: float | None = None) -> tuple[int, int]:
    """Remove Envs that nobody used for ``older_than`` seconds and nobody uses now; return how many, and their bytes."""
    root = Path(os.path.abspath(cache_dir))
    removed = prune(root / "envs", older_than, now=now)
    for folder in root.glob("worker/*"):
        if not (folder / "bursty").exists():  # that bursty was uninstalled
            shutil.rmtree(folder, ignore_errors=True)
    return removed


def _tell_of_waiting(place: Path, plan: Plan, say: Callable[[str], None]) -> None:
    if not is_built(place):
        say(f"waiting for another process that builds env {plan.digest[:8]}")


def _build(place: Path, plan: Plan, say: Callable[[str], None]) -> None:
    """Build in place, from nothing. What fails or is killed leaves no ``.ready``."""
    started = time.monotonic()
    say(f"building env {plan.digest[:8]} ({_summary(plan)})")
    python = find_python(plan.python)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    try:
        (place / "requirements.txt").write_text("\n".join((*plan.requirements.lines, *worker_requirements(), "")))
        _uv(plan, "venv", "--no-project", "--python", python, str(place / "venv"))
        texts = ["-r", str(place / "requirements.txt")]
        if plan.requirements.constraints:
            (place / "constraints.txt").write_text("\n".join((*plan.requirements.constraints, "")))
            texts += ["-c", str(place / "constraints.txt")]
        _uv(plan, "pip", "install", "--python", str(python_of(place)), *texts)
        (place / "files").mkdir()
        env_files.copy(plan.files, place / "files")
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    (place / ".ready").touch()
    say(f"env {plan.digest[:8]} is ready ({time.monotonic() - started:.1f} s)")


def _uv(plan: Plan, *arguments: str) -> None:
    done = run_uv(arguments)
    if done.returncode:
        words = uv_words(done)
        raise EnvError(f"can't build the Env ({_summary(plan)}) for Python {plan.python}:\n{words}", advice(words))


def uv_words(done: subprocess.CompletedProcess[str]) -> str:
    """What uv said when it failed."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Using ")]
    return "\n".join(lines[-_LAST_LINES:]) or f"uv ended with exit code {done.returncode} and no word"


def advice(words: str) -> str:
    """What to do about uv's words."""
    low = words.lower()
    if "was not found in the package registry" in low or "no version of" in low or "there are no versions" in low:
        return "Check the name and the version; a private package needs its index (--index-url, or UV_DEFAULT_INDEX)."
    if "unsatisfiable" in low:
        always = ", ".join(worker_requirements())
        return f"Loosen one of the requirements that uv names. Every Env also gets {always}."
    if any(word in low for word in ("error sending request", "dns", "timed out", "connect")):
        return "The package index can't be reached: check the network and proxy, or name a mirror by UV_DEFAULT_INDEX."
    if "no space left" in low:
        return "The disk is full: free some space (bursty prune removes Envs that are not used)."
    return "Mend what uv says, then run again."


def _summary(plan: Plan) -> str:
    """The requirements in a few words; no options, for they may hold passwords."""
    lines = [line for line in plan.requirements.lines if not line.startswith("-")]
    lines = [re.sub(r"//[^@/\s]*@", "//***@", line) for line in lines]
    more = [f"and {len(lines) - 3} more"] if len(lines) > 4 else []
    shown = lines[:3] + more if more else lines
    return ", ".join(shown) or f"Python {plan.python}"


def is_built(place: Path) -> bool:
    """Built to the end, and its interpreter (a link to one of the machine's) is still there."""
    return is_ready(place) and python_of(place).exists()


def python_of(place: Path) -> Path:
    return place / "venv" / "bin" / "python"
