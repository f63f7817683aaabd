"""Finding processes by a mark in their environment, for tests of what is left behind. Linux."""

import os
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "BURSTY_TEST_MARK"


def marked(mark: str) -> list[int]:
    """Living processes with this mark; those that only wait to be collected don't count."""
    needle = f"{MARK}={mark}".encode()
    found: list[int] = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if needle in Path(f"/proc/{name}/environ").read_bytes().split(b"\0") and not is_zombie(int(name)):
                found.append(int(name))
        except OSError:
            continue
    return found


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"


def is_alive(pid: int) -> bool:
    try:
        return not is_zombie(pid)
    except OSError:
        return False


@contextmanager
def client(code: str, *arguments: object, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python process running ``code``, and its mark. Whatever carries the mark at the end is killed."""
    mark = uuid.uuid4().hex
    script = folder / f"client_{mark[:8]}.py"
    script.write_text(textwrap.dedent(code))
    with open(folder / "client.out", "a+") as output:
        process = subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            env={**os.environ, MARK: mark},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
        try:
            yield process, mark
        finally:
            for pid in marked(mark):
                os.kill(pid, 9)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
