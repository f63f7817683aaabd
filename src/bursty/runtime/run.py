"""``Run``: what a job's function gets to say how far it is and to hand in what it made. Standard library at import."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from bursty.errors import ConfigError
from bursty.runtime.desk import ask, tell
from bursty.runtime.totals import total_of

T = TypeVar("T")

NAME = re.compile(r"[\w][\w .()+,=@-]{0,99}")
REPORT_SECONDS = 0.2
"""How often progress is told at most."""
LOOK_SECONDS = 0.5
"""How often it is asked whether the run is to be cancelled."""

Level = Literal["debug", "info", "warning", "error"]


class Run:
    """A run, as its function sees it: progress, log, metrics, and outputs that people can look at and download.

    Outputs count when the run succeeds. Names may hold letters, digits, spaces and ``. ( ) + , = @ _ -``.

    ``id``, ``job``, ``app``, ``version``, ``attempt``: which one. ``inputs``: as submitted (JSON).

    In tests and notebooks: ``Run.local("out")`` gives one that writes to a folder.
    """

    __bursty_run__ = True

    def __init__(
        self,
        id: str,  # noqa: A002 (the name that users read)
        *,
        job: str = "",
        app: str = "",
        version: str = "",
        attempt: int = 1,
        inputs: Mapping[str, Any] | None = None,
        folder: str | os.PathLike[str] = ".",
        store: Store | None = None,
    ) -> None:
        self.id = id
        self.job = job
        self.app = app
        self.version = version
        self.attempt = attempt
        self.inputs: dict[str, Any] = dict(inputs or {})
        self._folder = Path(folder)
        self._store = store or DeskStore(id, attempt)
        self._told_at = 0.0
        self._looked_at = 0.0
        self._cancelled = False
        self._started = 0

    @classmethod
    def local(cls, folder: str | os.PathLike[str] = "out", *, job: str = "local", **inputs: Any) -> Run:
        """A run without a worker: what it saves lies in ``folder``, metrics in ``metrics.json``, the log is printed."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        return cls("local", job=job, inputs=inputs, folder=tempfile.mkdtemp(), store=FolderStore(place))

    @property
    def folder(self) -> Path:
        """An empty folder for this attempt's own files; it is removed when the attempt is over."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._folder

    # Progress and log

    def track(self, iterable: Iterable[T], label: str = "", total: int | None = None) -> Iterator[T]:
        """The same items; how many went by is shown as progress. ``total``: their number, when it can't be told."""
        size = total if total is not None else total_of(iterable)
        self.progress(0, size, label, now=True)
        done = 0
        for item in iterable:
            yield item
            done += 1
            self.progress(done, size, label)
        self.progress(done, size, label, now=True)

    def progress(self, done: float, total: float | None = None, label: str = "", *, now: bool = False) -> None:
        """Say how far it is. Told at most a few times a second, unless ``now``."""
        moment = time.monotonic()
        if now or moment - self._told_at >= REPORT_SECONDS:
            self._told_at = moment
            self._store.tell("run.progress", done=done, total=total, label=_sayable(label))

    def log(self, message: object, level: Level = "info") -> None:
        """A line in the run's log, with its time; what is printed goes there, too."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self._store.tell("run.log", text=_sayable(str(message)), level=level)

    def metric(self, name: str, value: float) -> None:
        """A number to compare runs by; the last value counts. Raises ``ConfigError`` for what is no finite number."""
        scalar: Any = value
        number: Any = scalar.item() if hasattr(scalar, "item") else scalar  # numpy's numbers
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ConfigError(f"the metric {name!r} must be a finite number, not {value!r}")
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 100:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"{name!r} can't name a metric", "Use up to 100 printable characters.")
        self._store.ask("run.metric", name=name, value=number)

    @property
    def cancelled(self) -> bool:
        """Whether somebody wants this run to end. A function that asks has ten seconds to end by itself."""
        moment = time.monotonic()
        if not self._cancelled and (not self._looked_at or moment - self._looked_at >= LOOK_SECONDS):
            self._looked_at = moment
            self._cancelled = bool(self._store.ask("run.cancelled").get("cancelled"))
        return self._cancelled

    # Outputs

    def save_table(self, name: str, frame: Any, *, publish: bool = False) -> None:
        """A table: pandas, polars, pyarrow, a list of dicts or a dict of lists. People see its first rows and download
        it as CSV, XLSX or Parquet."""
        from bursty.runtime.tables import write_table

        meta = write_table(frame, str(self.folder), _checked(name))
        self._put(name, meta.pop("kind"), meta.pop("file"), meta, publish)

    def save_figure(self, name: str, figure: Any, *, publish: bool = False) -> None:
        """A picture: a figure of matplotlib, Altair or Plotly."""
        from bursty.runtime.figures import write_figure

        meta = write_figure(figure, str(self.folder), _checked(name))
        files: list[str] = meta.pop("files", None) or [meta.pop("file")]
        meta.pop("file", None)
        kind = meta.pop("kind")
        for file in files:
            self._put(Path(file).name, kind, file, {**meta, "figure": name}, publish)

    def save_file(self, name: str, content: str | os.PathLike[str] | bytes, *, publish: bool = False) -> None:
        """A file to download: its path, or its content as bytes. ``publish``: see ``publish``."""
        _checked(name)
        if isinstance(content, bytes | bytearray | memoryview):
            path = self.folder / name
            path.write_bytes(content)
            self._put(name, "file", str(path), {}, publish)
            return
        source = Path(content)
        if not source.is_file():
            raise ConfigError(f"there is no file {source}", "Write the file first, then save it.")
        mine = source.resolve().is_relative_to(self.folder.resolve())
        self._put(name, "file", str(source.resolve()), {}, publish, keep=not mine)

    def save_json(self, name: str, value: Any, *, publish: bool = False) -> None:
        """A JSON file; ``.json`` is added to the name where it lacks. NaN and what JSON can't hold are errors."""
        file = name if name.endswith(".json") else f"{name}.json"
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2, default=_plain)
        self.save_file(file, text.encode(), publish=publish)

    def publish(self, name: str, content: str | os.PathLike[str] | bytes) -> None:
        """A file that, once the run has succeeded, replaces the one of the last good run under a stable key
        (``published/APP/JOB/NAME``). A run that fails leaves it as it is."""
        self.save_file(name, content, publish=True)

    def last_good(self, name: str) -> Path | None:
        """A copy of the output of this name of the newest run of this job that succeeded, whichever version that was;
        ``None`` when there is none. Raises ``DeskError``."""
        file = self.folder / f"last-good-{_checked(name)}"
        return file if self._store.ask("run.last_good", name=name, file=str(file)).get("found") else None

    # Other runs

    def start(self, job: str, /, **inputs: Any) -> str:
        """Queue a run of another job of this version; its id. Should this run be tried again, its first ``start`` gives
        the same run as before, its second too, and so on. Raises ``DeskError`` for wrong inputs."""
        self._started += 1
        return str(self._store.ask("run.start", job=job, inputs=inputs, number=self._started).get("run", ""))

    # Data that is slow to fetch

    def cache(self, key: object, compute: Callable[[], T], *, max_age: float | str | None = None) -> T:
        """``compute()``, or what it gave for this key before (for this job, in any run), if not older than ``max_age``
        (seconds or ``"1 day"``). Put everything that the data depends on into ``key``: text, numbers, dates, enums,
        and lists or dicts of them. Raises ``ConfigError`` for a key of another type."""
        from bursty.runtime.cached import cached, key_text
        from bursty.units import parse_seconds

        return cached(self._store, self.folder, key_text(key), compute, parse_seconds(max_age))

    # Inside

    def _put(self, name: str, kind: str, file: str, meta: dict[str, Any], publish: bool, keep: bool = False) -> None:
        self._store.ask("run.put", name=name, what=kind, file=file, meta=meta, publish=publish, keep=keep)


class Store(Protocol):
    """Where a run's words go."""

    def ask(self, kind: str, **meta: Any) -> Mapping[str, Any]: ...

    def tell(self, kind: str, **meta: Any) -> None: ...


class DeskStore:
    """To the worker's desk."""

    def __init__(self, run: str, attempt: int) -> None:
        self._of = {"run": run, "attempt": attempt}

    def ask(self, kind: str, **meta: Any) -> Mapping[str, Any]:
        return ask(kind, **meta, **self._of).meta

    def tell(self, kind: str, **meta: Any) -> None:
        tell(kind, **meta, **self._of)


class FolderStore:
    """To a folder and the terminal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._metrics: dict[str, float] = {}

    def ask(self, kind: str, **meta: Any) -> Mapping[str, Any]:
        if kind == "run.put":
            target = self._folder / (meta["name"] if Path(meta["file"]).suffix in meta["name"] else "")
            if target == self._folder:
                target = self._folder / Path(meta["file"]).name
            if Path(meta["file"]).resolve() != target.resolve():
                shutil.copyfile(meta["file"], target)
        elif kind == "run.metric":
            self._metrics[meta["name"]] = meta["value"]
            (self._folder / "metrics.json").write_text(json.dumps(self._metrics, indent=2), "utf-8")
        if kind == "run.last_good" and (self._folder / meta["name"]).is_file():
            shutil.copyfile(self._folder / meta["name"], meta["file"])
            return {"found": True}
        return {}

    def tell(self, kind: str, **meta: Any) -> None:
        if kind == "run.log":
            print(meta["text"])


def _checked(name: str) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"{name!r} can't name an output", "Use up to 100 letters, digits, spaces and . ( ) + , = @ _ -"
        )
    return name


def _sayable(text: str) -> str:
    """Names of files may hold what is no text."""
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(value: Any) -> Any:
    """What numpy and pandas hold, as plain Python."""
    for method in ("tolist", "item", "isoformat", "to_dict"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"{type(value).__name__} can't be written as JSON")
