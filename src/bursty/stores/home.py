"""The project's folder ``.bursty``: made for this user alone, and trusted only when this user's bursty made it.

What lies in it is unpickled, so a folder that came with a cloned repository or from another user must not be believed.
A random token in it is also written down in the user's cache folder; both must be there.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from bursty.errors import StoreError

TOKEN = "token"


def open_home(home: str, cache_folder: str) -> Path:
    """The folder, made if it isn't there. Raises ``StoreError`` when it can't be made or is not ours."""
    folder = Path(home).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise StoreError(f"{folder} belongs to another user", "Set BURSTY_HOME to a folder of your own.")
        os.chmod(folder, 0o700)
        if _is_new(folder):
            _sign(folder, Path(cache_folder))
        else:
            _check(folder, Path(cache_folder))
    except OSError as error:
        raise StoreError(
            f"bursty's folder {folder} can't be used: {error.strerror or error}",
            "Make room or rights there, or set BURSTY_HOME to another folder.",
        ) from error
    return folder


def _is_new(folder: Path) -> bool:
    """Whether it holds nothing yet that we would believe."""
    return not (folder / TOKEN).exists() and not (folder / "resume").exists()


def _sign(folder: Path, cache: Path) -> None:
    token = secrets.token_hex(16)
    known = cache / "homes"
    known.mkdir(mode=0o700, parents=True, exist_ok=True)
    (known / token).touch(mode=0o600)
    (folder / ".gitignore").write_text("*\n", "utf-8")
    draft = folder / f"{TOKEN}.{token}"
    draft.write_text(token, "utf-8")
    draft.replace(folder / TOKEN)  # whole or not at all: another process may look now


def _check(folder: Path, cache: Path) -> None:
    token = (folder / TOKEN).read_text("utf-8").strip() if (folder / TOKEN).is_file() else ""
    known = cache / "homes" / token if token.isalnum() else None
    if known is None or not known.is_file():
        trust = f"; if you trust it: touch {known}" if known is not None else ""
        raise StoreError(
            f"{folder} was not made by you on this machine: what is in it would be opened as code",
            f"Delete it if it came with a cloned repository{trust}",
        )
