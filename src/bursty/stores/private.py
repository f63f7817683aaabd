"""Files of SQLite that only this user may read."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from bursty.errors import StoreError


def make_private(path: Path, what: str, setting: str) -> None:
    """The file and its folder, for this user alone; SQLite's files beside it get the same rights.

    ``what`` it is, and the ``setting`` that names it, for the ``StoreError`` when that can't be.
    """
    if sqlite3.sqlite_version_info < (3, 35):
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old", "Use a Python with SQLite 3.35 or newer.")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(
            f"the {what} {path} can't be made: {error.strerror or error}",
            f"Make room or rights there, or name another file in {setting}.",
        ) from error
