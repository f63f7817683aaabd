"""Which files belong to an app: what a version holds of the project, and what never goes into one."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bursty.errors import ConfigError
from bursty.packaging.ignore import FILE as IGNORE_FILE
from bursty.packaging.ignore import read_rules
from bursty.packaging.tarball import is_inside
from bursty.units import format_bytes

LIMIT = 200 << 20
"""Bytes that the files of a version may have together."""

MARKERS = ("pyproject.toml", "bursty.toml", "requirements.txt", ".git")
SECRETS = (".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519",
           ".netrc", ".pgpass", ".pypirc")  # fmt: skip
_FOLDERS = frozenset({".git", ".hg", ".bursty", "__pycache__", "node_modules", ".mypy_cache", ".pytest_cache",
                      ".ruff_cache", ".ipynb_checkpoints", ".hypothesis"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """The files of an app. ``target``: path of its file below ``root``. ``names``: paths below ``root``, sorted.

    ``left_out``: files that were left out for a reason that may surprise, with the reason.
    """

    root: Path
    target: str
    names: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def find_source(target: str | os.PathLike[str], *, limit: int = LIMIT) -> Source:
    """The project around the file ``target``. Raises ``ConfigError``, naming the file that is in the way."""
    path = Path(os.path.abspath(target))
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", "Name the file that your app is in.")
    root = project_root(path)
    wanted = path.relative_to(root).as_posix()
    rules = read_rules(root)
    names: list[str] = []
    left_out: list[tuple[str, str]] = []
    for name in _without_venvs(_git_files(root, wanted) or list(_walk(root))):
        reason = _reason(name) or (f"a line of {IGNORE_FILE}" if rules.excludes(name) else None)
        if reason is None:
            names.append(_checked(root, name))
        elif reason:
            left_out.append((name, reason))
    if wanted not in names:
        reason = dict(left_out).get(wanted, "it is ignored")
        raise ConfigError(f"{path} can't be part of its own version: {reason}", f"See {IGNORE_FILE}.")
    _refuse_large(root, names, limit)
    return Source(root, wanted, tuple(sorted(names)), tuple(sorted(left_out)))


def project_root(path: Path) -> Path:
    """The nearest folder above a file that holds one of ``MARKERS``, else the file's own folder.

    The home folder, the root and the folder of temporary files are nobody's project: a version would hold all of it.
    """
    ends = {Path.home().resolve(), Path(path.anchor), Path(tempfile.gettempdir()).resolve()}
    if path.parent.resolve() in ends:
        raise ConfigError(
            f"{path} lies directly in {path.parent}, and a version of it would hold everything there",
            f"Move it to a folder of its own: {path.parent / path.stem / path.name}",
        )
    for folder in path.parents:
        if folder.resolve() in ends:
            break
        if any((folder / marker).exists() for marker in MARKERS):
            return folder
    return path.parent


def git_commit(root: Path) -> str | None:
    """The commit that the project's work tree is at, with ``+`` behind it when files have changed since."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None or commit.returncode:
        return None
    changes = _git(root, "status", "--porcelain", "--", ".")
    is_clean = changes is not None and not changes.returncode and not changes.stdout.strip()
    return os.fsdecode(commit.stdout).strip() + ("" if is_clean else "+")


def _reason(name: str) -> str | None:
    """Why no version holds this file, ``""`` for what goes without saying, or ``None``."""
    *folders, last = name.split("/")
    if not _FOLDERS.isdisjoint(folders) or last.endswith((".pyc", ".pyo")) or last == ".DS_Store":
        return ""
    secret = any(fnmatch.fnmatchcase(last, pattern) for pattern in SECRETS)
    example = last.endswith((".example", ".sample", ".template"))
    return "it may hold a secret" if secret and not example else None


def _walk(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [
            name for name in folders if name not in links and name not in _FOLDERS and not _ignores_itself(here / name)
        ]
        for name in (*files, *links):
            if (here / name).is_symlink() or (here / name).is_file():
                yield (here / name).relative_to(root).as_posix()


def _ignores_itself(folder: Path) -> bool:
    """Whether all that its ``.gitignore`` says is ``*``, as tools write it into folders of what they make."""
    try:
        lines = (folder / ".gitignore").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return False
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")] == ["*"]


def _without_venvs(names: list[str]) -> list[str]:
    """Virtual environments hold packages, which have a lock of their own."""
    venvs = tuple(name.removesuffix("pyvenv.cfg") for name in names if name.endswith("/pyvenv.cfg"))
    return [name for name in names if not name.startswith(venvs)] if venvs else names


def _git_files(root: Path, wanted: str) -> list[str] | None:
    """Tracked files, and others that git does not ignore. ``None`` where git has no say: no work tree, no git, or one
    that ignores the app itself."""
    done = _git(root, "ls-files", "-co", "--exclude-standard", "-z")
    if done is None or done.returncode:
        words = os.fsdecode(done.stderr).strip() if done else ""
        if done and "not a git repository" not in words:
            raise ConfigError(f"git can't list the files of {root}: {words}", "Mend what git says.")
        return None
    names: list[str] = []
    for name in sorted(set(os.fsdecode(done.stdout).split("\0")) - {""}):
        path = root / name
        if path.is_dir() and not path.is_symlink():  # a submodule, or a repository inside this one
            inner = _git_files(path, "") or list(_walk(path))
            names += [f"{name.rstrip('/')}/{file}" for file in inner]
        elif path.is_symlink() or path.is_file():  # else it is deleted, or a socket or pipe
            names.append(name)
    return names if not wanted or wanted in names else None


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes] | None:
    if shutil.which("git") is None:
        return None
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env={**variables, "LC_ALL": "C"}, check=False
    )


def _checked(root: Path, name: str) -> str:
    path = root / name
    if path.is_symlink() and (os.path.isabs(os.readlink(path)) or not is_inside(path, root)):
        raise ConfigError(
            f"{path} is a link that leads out of the project, to {os.readlink(path)}",
            f"Copy what it leads to, or name it in {IGNORE_FILE}.",
        )
    return name


def _refuse_large(root: Path, names: list[str], limit: int) -> None:
    sizes = sorted(((root / name).lstat().st_size, name) for name in names)
    total = sum(size for size, _ in sizes)
    if total > limit:
        largest = ", ".join(f"{name} ({format_bytes(size)})" for size, name in reversed(sizes[-5:]))
        raise ConfigError(
            f"the files of {root} have {format_bytes(total)}, and a version may hold {format_bytes(limit)}; "
            f"the largest: {largest}",
            f"Name what the app does not need in {IGNORE_FILE}; data belongs into inputs or the blob store.",
        )
