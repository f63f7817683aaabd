"""The desk of a worker: answers what code in runs asks for (see ``runtime.desk``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bursty.errors import BurstyError, ConfigError
from bursty.jobs.artefacts import fetch_file, find_good
from bursty.jobs.attempt import Attempt
from bursty.jobs.caches import Caches
from bursty.jobs.models import Models
from bursty.jobs.runs import Runs
from bursty.ports import BlobStore, StateStore
from bursty.records import RunRecord
from bursty.values import Frame

Reply = Callable[[Frame], None]


class StoreDesk:
    """What needs the stores alone: caches and models. Called in a user's own process, too."""

    def __init__(self, state: StateStore, blobs: BlobStore, actor: str) -> None:
        self._state = state
        self._blobs = blobs
        self._caches = Caches(state, blobs)
        self._models = Models(state, blobs, actor)

    def answer(self, question: Frame, scope: str = "") -> Frame:
        """``scope``: whose caches (app and job). Raises what went wrong."""
        meta = question.meta
        match meta["kind"]:
            case "cache.get":
                found = self._caches.fetch(scope, meta["key"], meta["max_age"], Path(meta["file"]))
                return Frame({"found": found})
            case "cache.put":
                self._caches.keep(scope, meta["key"], Path(meta["file"]))
                return Frame({})
            case "model.save":
                details = {name: meta.get(name) for name in ("metrics", "note", "python", "type", "packages")}
                saved = self._models.save(meta["name"], Path(meta["file"]), details, promote=meta["promote"])
                return Frame({"version": saved.version})
            case "model.find":
                found = self._models.find(meta["name"], meta["version"])
                return Frame({"version": found.version, "digest": found.digest, "metadata": found.metadata})
            case "model.fetch":
                self._models.fetch(meta["name"], meta["version"], Path(meta["file"]))
                return Frame({})
            case other:
                raise ConfigError(f"nobody answers {other!r}", "Is this worker older than the code that it runs?")

    def last_good(self, run: RunRecord, name: str, file: Path) -> Frame:
        """Copy an output of the newest good run of the same job to ``file``."""
        good = find_good(self._state, self._blobs, run.app, run.job, lambda artefact: artefact.name == name)
        if good is not None:
            fetch_file(self._blobs, good[1][0].key, file, good[1][0].digest)
        return Frame({"found": good is not None})


class Desk:
    """For the attempts under way in a worker. ``__call__`` comes on the engine's driver thread: what takes long goes to
    threads of the desk's own."""

    def __init__(
        self,
        stores: StoreDesk,
        find: Callable[[tuple[str, int]], Attempt | None],
        runs: Runs,
    ) -> None:
        self._stores = stores
        self._runs = runs
        self._find = find
        self._threads = ThreadPoolExecutor(8, "bursty-desk")

    def __call__(self, question: Frame, reply: Reply) -> None:
        meta = question.meta
        attempt = self._find((meta.get("run", ""), meta.get("attempt", 0)))
        quick = attempt and QUICK.get(meta["kind"])
        if attempt is not None and quick is not None:
            _answer(lambda: quick(attempt, meta), reply)
        else:
            self._threads.submit(_answer, lambda: self._slow(attempt, question), reply)

    def _slow(self, attempt: Attempt | None, question: Frame) -> Frame:
        meta = question.meta
        if meta["kind"] == "run.put":
            if attempt is None:
                raise ConfigError("this run is over for this worker", "Its outputs are not wanted any more.")
            file = Path(meta["file"])
            attempt.put(meta["name"], meta["what"], file, meta["meta"], meta["publish"], meta["keep"])
            return Frame({})
        if meta["kind"] == "run.start" and attempt is not None:
            return Frame({"run": self._runs.start_from(attempt.run, meta["job"], meta["inputs"], meta["number"])})
        if meta["kind"] == "run.last_good" and attempt is not None:
            return self._stores.last_good(attempt.run, meta["name"], Path(meta["file"]))
        if meta["kind"] == "job.start":
            version = meta["version"] or None
            run = self._runs.submit(meta["app"], meta["job"], meta["inputs"], version=version, created_by=meta["by"])
            return Frame({"run": asdict(run)})
        if meta["kind"] == "job.upload":
            return Frame({"file": self._runs.upload(Path(meta["file"]), meta["name"])})
        return self._stores.answer(question, f"{attempt.run.app}/{attempt.run.job}" if attempt else "")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _answer(work: Callable[[], Frame], reply: Reply) -> None:
    """Whatever goes wrong is told to who asked."""
    try:
        answer = work()
    except BurstyError as error:
        answer = Frame({"error": error.message, "hint": error.hint})
    except Exception as error:
        answer = Frame({"error": f"{type(error).__name__}: {error}"})
    reply(answer)


def _progress(attempt: Attempt, meta: Mapping[str, Any]) -> Frame:
    attempt.take_progress(meta["done"], meta["total"], str(meta["label"]))
    return Frame({})


def _log(attempt: Attempt, meta: Mapping[str, Any]) -> Frame:
    attempt.logs.line(meta["text"], meta["level"])
    return Frame({})


def _metric(attempt: Attempt, meta: Mapping[str, Any]) -> Frame:
    attempt.take_metric(meta["name"], meta["value"])
    return Frame({})


def _cancelled(attempt: Attempt, _meta: Mapping[str, Any]) -> Frame:
    attempt.asked_whether_cancelled = True
    attempt.was_told_to_end = attempt.cancel_at is not None
    return Frame({"cancelled": attempt.was_told_to_end})


QUICK: dict[str, Callable[[Attempt, Mapping[str, Any]], Frame]] = {
    "run.progress": _progress,
    "run.log": _log,
    "run.metric": _metric,
    "run.cancelled": _cancelled,
}
