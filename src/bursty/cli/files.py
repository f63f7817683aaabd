"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from bursty.errors import ConfigError, StoreError


class NewFile:
    """Written beside its place under another name, and put there by ``commit``; gone when that does not come.

    A pipe or device is written directly. ``path`` may be a symbolic link: what it points to is replaced.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(os.path.realpath(path))
        self._shown = path
        self.direct = self.path.exists() and not stat.S_ISREG(self.path.stat().st_mode)
        self.temporary = self.path if self.direct else self.spare("part")
        if self.path.is_dir():
            raise ConfigError(f"{path!r} is a folder", "Name a file for the results.")
        if not self.path.parent.is_dir():
            raise ConfigError(f"there is no folder {str(Path(path).parent)!r} for {path!r}", "Make it first.")
        try:
            self.file: BinaryIO = open(self.temporary, "wb" if self.direct else "xb", buffering=1 << 18)  # noqa: SIM115
        except OSError as error:
            raise ConfigError(f"{path!r} can't be written: {error.strerror or error}") from error

    def spare(self, ending: str) -> Path:
        """Another name in the same folder."""
        return self.path.with_name(f".{self.path.name[:80]}.{secrets.token_hex(4)}.{ending}")

    def write(self, data: bytes) -> None:
        """Raises ``StoreError`` when the disk is full."""
        with self.explained():
            self.file.write(data)

    @contextlib.contextmanager
    def explained(self) -> Generator[None]:
        """What writing raises, as a ``StoreError``."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StoreError(
                f"{self._shown!r} can't be written: {error.strerror or error}; nothing half written was left",
                "Make room on the disk (bursty prune removes what bursty keeps), or name another place.",
            ) from error

    def commit(self) -> None:
        """Now it is there."""
        with self.explained():
            self.file.flush()
            if not self.direct:
                os.fsync(self.file.fileno())
            self.file.close()
            if not self.direct:
                if self.path.exists():
                    os.chmod(self.temporary, stat.S_IMODE(self.path.stat().st_mode))
                os.replace(self.temporary, self.path)

    def discard(self) -> None:
        """Leave nothing; without effect after ``commit``."""
        with contextlib.suppress(OSError):
            self.file.close()
        if not self.direct:
            self.temporary.unlink(missing_ok=True)
