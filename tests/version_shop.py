"""A small app that tests take versions of, and run them."""

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bursty import Env, Executor
from bursty.packaging.restore import VersionBuilder
from bursty.packaging.snapshot import Snapshot, take_snapshot
from bursty.runtime.describe import describe
from bursty.runtime.execute import resolve
from bursty.stores.blobs import FolderBlobs
from bursty.values import WorkerSpec

APP = """
import sys
from bursty import App, Executor
from helper import FACTOR
app = App("shop")

@app.function
def price(n: int) -> int:
    return FACTOR * n

@app.function
def total(n: int) -> int:
    return sum(price.map(range(n)))

@app.function
def around(n: int) -> tuple[int, int]:
    return n, sum(Executor().map(double, range(n)))

def double(n: int) -> int:
    return 2 * FACTOR * n

@app.function
def price_then(version: str, n: int) -> tuple[int, int]:
    return FACTOR * n, Executor(version=version).submit(price, n).result()
"""

PINNED = """
from bursty import App, Env, Executor
app = App("pinned", env=Env(["packaging=={version}"]))

@app.function
def version() -> str:
    import packaging
    return packaging.__version__

@app.function
def inside() -> list[str]:
    return [Executor().submit(probe).result(), version.submit().result()]

def probe() -> str:
    import packaging
    return packaging.__version__
"""


def by_value() -> tuple[Callable[..., Any], Callable[[], Any]]:
    """Functions that travel by value, for a version has no module of the client's."""

    def invoke(reference: str, *args: Any) -> Any:
        return resolve(reference)(*args)

    def look() -> tuple[str, list[str], list[int]]:
        """Working folder, import path, modes of the files there."""
        modes = [os.stat(name).st_mode & 0o777 for name in os.listdir() if os.path.isfile(name)]
        return os.getcwd(), sys.path, modes

    return invoke, look


invoke, look = by_value()


class Shop:
    """A project in a folder, a blob store, a cache, and an executor that describes and runs its versions."""

    def __init__(self, folder: Path, executor: Executor) -> None:
        self.folder = folder
        self.project = folder / "project"
        self.cache = folder / "cache"
        self.blobs = FolderBlobs(folder / "blobs")
        self.executor = executor

    def write(self, **files: str) -> Path:
        """Write ``name`` as ``name.py``; the path of the app."""
        self.project.mkdir(exist_ok=True)
        for name, text in files.items():
            (self.project / f"{name}.py").write_text(textwrap.dedent(text))
        return self.project / "app.py"

    def take(self, target: str | Path | None = None, **options: Any) -> Snapshot:
        target = target or self.project / "app.py"
        return take_snapshot(target, blobs=self.blobs, cache=self.cache, describe=self.describe, **options)

    def describe(self, spec: WorkerSpec, target: str) -> Any:
        return self.running(spec.version, spec.env).submit(describe, target).result(120)

    def running(self, version: str | None, env: Env | None = None) -> Executor:
        return self.executor.options(version=version, env=env)

    def call(self, snapshot: Snapshot, name: str, *args: Any, env: Env | None = None) -> Any:
        return self.running(snapshot.digest, env).submit(invoke, f"app:{name}", *args).result(120)

    def builder(self, cache: str = "cache") -> VersionBuilder:
        return VersionBuilder(lambda: self.blobs, self.folder / cache)


@pytest.fixture
def shop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("BURSTY_CACHE", str(folder / "cache"))
    monkeypatch.setenv("BURSTY_BLOBS", str(folder / "blobs"))
    with Executor("local?workers=2", output="hide") as executor:
        made = Shop(folder, executor)
        made.write(app=APP, helper="FACTOR = 10")
        yield made


def files_of(snapshot: Snapshot) -> list[str]:
    return [name for name, _, _ in snapshot.manifest["source"]["files"]]
