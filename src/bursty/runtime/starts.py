"""``job.start()`` in a worker of a server: the server queues the run, of the version that the worker itself is of."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from bursty.records import RunRecord
from bursty.runtime.desk import ask


class DeskRuns:
    """What ``job.start()`` asks, in place of the stage that settings say (put it into ``slots.runs``). ``by``: who is
    said to have asked. ``version``: a digest."""

    def __init__(self, by: str, version: str) -> None:
        self._by = by
        self._version = version

    def start(self, fn: Callable[..., Any], app: str, job: str, inputs: Mapping[str, Any]) -> RunRecord:
        """Queue a run. Files are given as ``Path``, and uploaded: text is never taken for a path, for it may be a
        client's. Raises ``DeskError`` for wrong inputs."""
        sent = {name: _upload(value) for name, value in inputs.items()}
        question = {"app": app, "job": job, "inputs": sent, "version": self._version, "by": self._by}
        return _run_of(ask("job.start", **question).meta["run"])


def _upload(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return dict(ask("job.upload", file=os.path.abspath(value)).meta["file"])  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_upload(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _run_of(data: Mapping[str, Any]) -> RunRecord:
    """From plain data."""
    import msgspec

    return msgspec.convert(data, RunRecord)
