"""One attempt at a run on the worker's side: what it hands in, its log, its scratch folder, how it ended."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from bursty.core.redact import Redactor
from bursty.core.runstate import Ending, retry_delay
from bursty.engine.block import Failed, Sealed
from bursty.engine.futures import CallFuture
from bursty.errors import BackendError, BurstyError, CallTimeout, ConfigError, EnvError, StoreError
from bursty.jobs.artefacts import Artefact, Manifest, prefix_of, put_file, write_manifest
from bursty.jobs.logs import LogWriter
from bursty.ports import BlobStore
from bursty.records import RunRecord
from bursty.runtime.faults import describe_error
from bursty.values import Status

ERROR_LINES = 12
ERROR_CHARS = 4000
METRICS_BYTES = 16 << 10
VERSION_FOLDER = re.compile(r'(?<=")/[^"\n]*/sources/[0-9a-f]{32}/tree/')
"""Where a version's files lie on this machine: in tracebacks, files go by their names in the project."""
OUR_FRAME = re.compile(r'\s*File "[^"]*/bursty/(runtime|supervise|forms|engine)/')
CALL_NAME = re.compile(r"^call \d+, .*?\(worker w\d+, attempt \d+\): ", re.DOTALL)
"""How the engine names a call in its errors; people know it as the run."""
OWN_FRAME = re.compile(r'\s*File "[^/<]')


class Attempt:
    """An attempt under way. ``run``: as claimed. ``future``: the call, once it is made."""

    def __init__(self, run: RunRecord, blobs: BlobStore, scratch: Path, secrets: tuple[str, ...]) -> None:
        self.run = run
        self.prefix = prefix_of(run.id, run.attempt)
        self.scratch = scratch / f"{run.id}-{run.attempt}"
        self._secrets = secrets
        self.logs = LogWriter(blobs, f"{self.prefix}/log", secrets)
        self.future: Future[Any] | None = None
        self.failed: Ending | None = None
        """Why it could not even begin."""
        self.is_writing = False
        """Whether a thread writes its log now; it did so last at ``logged_at``."""
        self.logged_at = 0.0
        self.cancel_at: float | None = None
        """Monotonic time at which its child is killed, once somebody wants it cancelled."""
        self.is_stale = False
        """Its lease was refused: whatever it gives is nobody's."""
        self.asked_whether_cancelled = False
        self.was_told_to_end = False
        """Its function asked whether it is cancelled, and heard that it is."""
        self.renewed_at = time.monotonic()
        self.progress: str | None = None
        self._blobs = blobs
        self._artefacts: dict[str, Artefact] = {}
        self._metrics: dict[str, float] = {}
        self._lock = threading.Lock()

    @property
    def key(self) -> tuple[str, int]:
        return self.run.id, self.run.attempt

    @property
    def metrics(self) -> str | None:
        return json.dumps(self._metrics) if self._metrics else None

    @property
    def publishes(self) -> bool:
        """Whether something goes to stable keys."""
        return any(artefact.publish for artefact in self._artefacts.values())

    @property
    def is_over(self) -> bool:
        """Whether it has ended and only its outcome is to be recorded."""
        return self.failed is not None or (self.future is not None and self.future.done())

    def input_file(self, digest: str) -> Path:
        """Where an uploaded input goes; its folder is made."""
        folder = self.scratch.with_name(f"{self.scratch.name}.in")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / digest

    def clean(self) -> None:
        """Remove its folders."""
        scratch = str(self.scratch)
        for folder in (scratch, f"{scratch}.in"):
            if os.path.lexists(folder):  # most attempts need none
                shutil.rmtree(folder, ignore_errors=True)

    # What the child says

    def take_progress(self, done: object, total: object, label: str) -> None:
        """Numbers that are none, or not finite, are left out: what is told must stay small."""
        progress = {"done": _number(done), "total": _number(total), "label": self.redacted(label)[:200]}
        self.progress = json.dumps(progress)

    def take_metric(self, name: str, value: float) -> None:
        with self._lock:
            metrics = {**self._metrics, self.redacted(name): value}
            if len(json.dumps(metrics)) > METRICS_BYTES:
                raise ConfigError(f"too many metrics: {len(metrics)}", "Save the numbers as a table: run.save_table.")
            self._metrics = metrics

    def put(self, name: str, kind: str, file: Path, meta: dict[str, Any], publish: bool, keep: bool) -> None:
        """Store a file that the child wrote; without ``keep`` it is removed from its folder, to make room."""
        key = f"{self.prefix}/files/{name}"
        size, digest = put_file(self._blobs, key, file)
        with self._lock:
            self._artefacts[name] = Artefact(name, kind, key, size, digest, meta, publish)
        if not keep:
            file.unlink()

    # The end

    def redacted(self, text: str) -> str:
        """Without what the run's log must not show."""
        return Redactor(self._secrets).redact(text)

    def hand_in(self) -> str | None:
        """Write the log's rest and the manifest; the prefix under which they lie, ``None`` if there is nothing.

        Raises ``StoreError``.
        """
        self.clean()  # first, for the disk may be full of it
        self.logs.close()
        if not self._artefacts and not self._metrics:
            return None
        write_manifest(self._blobs, Manifest(*self.key, list(self._artefacts.values()), self._metrics))
        return self.prefix


def ending_of(attempt: Attempt) -> Ending:
    """How the call ended, in the words of a run. What the child gave is not opened: it may be any pickle."""
    future = attempt.future
    assert future is not None
    if future.cancelled():
        if attempt.cancel_at is None:  # nobody asked: the session was closed under it
            return Ending("failed", "its worker was closed", retry_in=_delay(attempt), always_retry=True)
        return Ending("cancelled", "cancelled while it ran")
    outcome = future.sealed() if isinstance(future, CallFuture) else Failed.of(future)
    if isinstance(outcome, Failed):
        if isinstance(outcome.error, CallTimeout):
            words = f"it took longer than {attempt.run.timeout or 0:g} s"
            return Ending("timed_out", words, retry_in=_delay(attempt))
        return failure(attempt, outcome.error)
    if isinstance(outcome, Sealed) and outcome.status is Status.ERROR:
        return Ending("failed", attempt.redacted(_raised(describe_error(outcome.payload))), retry_in=_delay(attempt))
    if attempt.was_told_to_end:
        return Ending("cancelled", "it ended by itself when it was cancelled")
    return Ending("succeeded")


def failure(attempt: Attempt, error: BaseException) -> Ending:
    """What failed, and not because the job raised. Trouble of ours (a store, an Env's download, no process to be had)
    is tried again as long as attempts are left; a child that died as ``retries`` says."""
    ours = isinstance(error, StoreError | EnvError | BackendError | OSError)
    words = str(error) if isinstance(error, BurstyError) else f"{type(error).__name__}: {error}"
    text = _cut("\n".join(_without_ours(CALL_NAME.sub("", words).splitlines())))
    return Ending("failed", attempt.redacted(text), retry_in=_delay(attempt), always_retry=ours)


def _delay(attempt: Attempt) -> float:
    return retry_delay(max(attempt.run.failures, attempt.run.attempt - 1))


def _raised(about: Mapping[str, Any]) -> str:
    """What the job raised, for people: its type and message, then the end of its traceback."""
    if about["type"] == "SystemExit":
        return f"the job ended itself with sys.exit({about['exit']!r})"
    ours = about["type"].startswith("bursty.")
    what = about["message"] if ours else f"{about['type']}: {about['message']}"
    lines = _end_of(_without_ours(VERSION_FOLDER.sub("", about["traceback"].rstrip()).splitlines()))
    return _cut(f"{what}\n\n" + "\n".join(lines) if lines else what)


def _cut(text: str) -> str:
    return text if len(text) <= ERROR_CHARS else f"{text[: ERROR_CHARS // 2]}\n…\n{text[-ERROR_CHARS // 2 :]}"


def _without_ours(lines: list[str]) -> list[str]:
    """A traceback without bursty's own frames: the line that names a frame and the indented ones below it."""
    found: list[str] = []
    skipping = False
    for line in lines:
        skipping = bool(OUR_FRAME.match(line)) or (skipping and line.startswith("    "))
        if not skipping:
            found.append(VERSION_FOLDER.sub("", line))
    return found


def _end_of(lines: list[str]) -> list[str]:
    """The last lines of a traceback; where these lie deep in a library, the user's own line that led there, too."""
    start = max(0, len(lines) - ERROR_LINES)
    own = max((number for number, line in enumerate(lines) if OWN_FRAME.match(line)), default=start)
    return lines[start:] if own >= start else [*lines[own : own + 2], "  …", *lines[start:]]


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and abs(value) < 1e300 else None
