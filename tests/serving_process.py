"""``bursty serve`` as a process of its own, for tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from servers import stop, wait_until

BURSTY = str(Path(sys.executable).with_name("bursty"))


class Serving:
    """A running server. ``said``: what it has printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path, folder: Path) -> None:
        self.process = process
        self.url = url
        self.folder = folder
        self._log = log
        self.client = httpx.Client(base_url=url, timeout=60)

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def ask(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        return self.client.post(path, json=json, **options)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series with these labels."""
        total = 0.0
        for line in self.client.get("/metrics").text.splitlines():
            if re.match(rf"bursty_{name}(_total)?(\{{| )", line) and all(
                f'{k}="{v}"' in line for k, v in labels.items()
            ):
                total += float(line.rpartition(" ")[2])
        return total

    def run(self, *arguments: str) -> str:
        """Another command of bursty, on the same state."""
        found = subprocess.run([BURSTY, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=120)
        assert found.returncode == 0, found.stderr
        return found.stdout


@contextmanager
def serving(source: str, folder: Path, *options: str, ready: bool = True, **environ: str) -> Iterator[Serving]:
    """Serve this app from when it is ready until the block ends."""
    (folder / "app.py").write_text(source, encoding="utf-8")
    log = folder / "serve.log"
    given: Mapping[str, str] = {**os.environ, "COLUMNS": "200", **environ}
    with log.open("wb") as out:
        command = [BURSTY, "serve", "app.py", "--port", "0", *options]
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, env=given)
    try:
        assert wait_until(lambda: _url(process, log) is not None, 120), log.read_text(encoding="utf-8")
        server = Serving(process, str(_url(process, log)), log, folder)
        assert not ready or wait_until(lambda: _is_ready(server), 120), server.said
        yield server
        server.client.close()
    finally:
        stop(process)


def _url(process: subprocess.Popen[bytes], log: Path) -> str | None:
    said = log.read_text(encoding="utf-8")
    assert process.poll() is None, said
    found = re.search(r" at (http://[0-9.:]+)", said)
    return found[1] if found else None


def _is_ready(server: Serving) -> bool:
    try:
        return server.client.get("/ready").status_code == 200
    except httpx.TransportError:
        return False
