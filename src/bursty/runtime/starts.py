"""``job.start()`` in a worker of a server: the server queues the run, of the version that the worker itself is of."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from bursty.errors import ConfigError
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
        client's. Raises ``DeskError`` for wrong inputs, and ``ConfigError`` for those that can't be sent."""
        sent = {name: _sendable(name, value) for name, value in inputs.items()}
        question = {"app": app, "job": job, "inputs": sent, "version": self._version, "by": self._by}
        return msgspec.convert(ask("job.start", **question).meta["run"], RunRecord)


def _sendable(name: str, value: Any) -> Any:
    """As JSON has it: dates and enums as text."""
    try:
        return msgspec.to_builtins(_upload(value))
    except TypeError as error:
        raise ConfigError(f"the input {name!r} can't be sent to the job: {error}", "Give plain data.") from error


def _upload(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        value = cast(Any, value)
        path = os.path.abspath(value)
        name = getattr(value, "name", None) or os.path.basename(path)  # a File has the name that its user gave it
        return dict(ask("job.upload", file=path, name=name).meta["file"])
    if isinstance(value, list | tuple):
        return [_upload(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value
