"""What tests of tables share."""

import datetime as dt
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from bursty.jobs.tables import convert


def naive(*parts: int) -> dt.datetime:
    """A time without a zone."""
    return dt.datetime(*parts)  # noqa: DTZ001


UTC = dt.UTC
KINDS: dict[str, Any] = {
    "i": 7, "f": 1.5, "b": True, "s": "word", "d": dt.date(2024, 2, 29), "t": naive(2024, 1, 1, 1, 2, 3, 4),
    "z": dt.datetime(2024, 1, 1, tzinfo=UTC), "clock": dt.time(1, 2), "lasting": dt.timedelta(seconds=1.5),
    "x": b"ab", "l": [1, 2], "r": {"a": 1}, "*": 1, "^i$": 2,
}  # fmt: skip
"""A value of each type; and names that polars would take for patterns."""


def run_python(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    environment = os.environ | {"POLARS_MAX_THREADS": "2"}  # memory grows with the threads
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def convert_to(folder: Path, meta: dict[str, Any], target: Any) -> Path:
    path = folder / f"converted.{target}"
    convert(meta["file"], meta["format"], target, str(path), columns=meta["columns"])
    return path
