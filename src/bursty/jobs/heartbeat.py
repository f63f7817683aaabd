"""The heartbeat of a worker: renews leases, passes on progress and logs, hears of cancellations."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from bursty.core import runstate
from bursty.errors import StoreError
from bursty.jobs.attempt import Attempt
from bursty.ports import StateStore
from bursty.records import RunRecord

TICK_SECONDS = 0.25
RENEW_SECONDS = 1.0
GRACE_SECONDS = 10.0
"""For functions that ask whether they are cancelled; others are killed at once."""


class Heartbeat:
    """A thread of its own, so that nothing that takes long lets a lease end."""

    def __init__(
        self,
        state: StateStore,
        attempts: Mapping[tuple[str, int], Attempt],
        lease: float,
        say: Callable[[str], None],
    ) -> None:
        self._state = state
        self._attempts = attempts
        self._lease = lease
        self._say = say
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="bursty-heartbeat", daemon=True)
        self._writers = ThreadPoolExecutor(2, "bursty-logs")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(5)
        self._writers.shutdown(wait=False, cancel_futures=True)

    def _beat(self) -> None:
        while not self._stopped.wait(min(TICK_SECONDS, self._lease / 10)):
            try:
                self._look()
            except Exception as error:  # without heartbeats all runs would be lost
                self._say(f"a heartbeat failed, the next one follows: {error!r}")

    def _look(self) -> None:
        now = time.monotonic()
        attempts = [attempt for attempt in list(self._attempts.values()) if not attempt.is_stale]
        for attempt in attempts:
            self._write_log(attempt)
            self._end_grace(attempt, now)
        self._renew([attempt for attempt in attempts if self._is_due(attempt, now)])

    def _is_due(self, attempt: Attempt, now: float) -> bool:
        """At a third of the lease at the latest; once a second, for so progress goes out and cancelling comes in."""
        return now - attempt.renewed_at >= min(self._lease / 3, RENEW_SECONDS)

    def _renew(self, attempts: list[Attempt]) -> None:
        if not attempts:
            return
        changes = [runstate.renew(attempt.run, self._lease, attempt.progress, attempt.metrics) for attempt in attempts]
        began = time.monotonic()
        try:
            results = self._state.change(*changes)
        except StoreError as error:
            self._say(f"leases could not be renewed, trying again: {error.message}")
            return
        for attempt, result in zip(attempts, results, strict=True):
            attempt.renewed_at = began
            self._heard(attempt, result)

    def _heard(self, attempt: Attempt, result: RunRecord | None) -> None:
        if result is None:
            if attempt.is_over:
                return  # it has just ended, and its outcome is being recorded
            attempt.is_stale = True
            self._say(f"{attempt.run.job} {attempt.run.id}: the lease was lost, its child is killed")
            if attempt.future is not None:
                attempt.future.cancel()
        elif result.cancel_requested and attempt.cancel_at is None:
            attempt.cancel_at = time.monotonic() + (GRACE_SECONDS if attempt.asked_whether_cancelled else 0)

    def _end_grace(self, attempt: Attempt, now: float) -> None:
        if attempt.cancel_at is not None and now >= attempt.cancel_at and attempt.future is not None:
            attempt.future.cancel()

    def _write_log(self, attempt: Attempt) -> None:
        """Once a second, or when a chunk is full; one write at a time."""
        logs = attempt.logs
        if not logs.waiting or attempt.is_writing or not (logs.full or time.monotonic() - attempt.logged_at >= 1):
            return
        attempt.is_writing = True
        attempt.logged_at = time.monotonic()
        self._writers.submit(self._flush, attempt)

    def _flush(self, attempt: Attempt) -> None:
        try:
            attempt.logs.flush()
        except StoreError as error:
            self._say(f"the log of {attempt.run.id} can't be written, trying again: {error.message}")
        finally:
            attempt.is_writing = False
