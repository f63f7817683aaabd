"""Notices of runs: what the outbox has sent to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bursty.core.notices import render
from bursty.core.redact import secret_inputs
from bursty.jobs.runs import Runs
from bursty.ports import Notifier
from bursty.records import RunRecord


class Notices:
    """Renders and sends. ``url``: where the web pages are, for links. ``secrets``: what notices must not show."""

    def __init__(self, notifier: Notifier, runs: Runs, url: str, secrets: Sequence[str]) -> None:
        self._notifier = notifier
        self._runs = runs
        self._url = url
        self._secrets = secrets

    def __call__(self, run: RunRecord, data: Mapping[str, Any]) -> None:
        """Send the notice of a run's end. Raises ``NoticeFailed``."""
        good = self._runs.latest_good(run.job, run.app)
        event = {
            "event": data["end"],
            "run": run.id,
            "job": run.job,
            "app": run.app,
            "attempt": run.attempt,
            "max_attempts": run.max_attempts,
            "version": run.version,
            "created_by": run.created_by,
            "schedule": run.schedule,
            "started_at": run.started_at,
            "finished_at": run.finished_at,
            "error": run.error or data.get("error"),
            "inputs": run.inputs,
            "url": self._url,
            "last_good": good and {"run": good.id, "finished_at": good.finished_at},
        }
        self._notifier.send(render(event, (*self._secrets, *secret_inputs(run.inputs))))

    def missed(self, event: Mapping[str, Any]) -> None:
        """Send the notice of fires that were missed: ``event`` as ``render`` has it. Raises ``NoticeFailed``."""
        self._notifier.send(render({**event, "url": self._url}, self._secrets))
