"""The worker: claims runs, has them run in children, keeps their leases, records what they gave."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

from bursty.core import runstate
from bursty.core.redact import secret_inputs
from bursty.errors import BurstyError, StoreError
from bursty.forms.validate import files_in
from bursty.jobs.artefacts import fetch_file, upload_key
from bursty.jobs.attempt import Attempt, ending_of, failure
from bursty.jobs.caretaker import Caretaker
from bursty.jobs.catalog import Catalog, JobInfo
from bursty.jobs.heartbeat import Heartbeat
from bursty.jobs.launch import Launcher
from bursty.jobs.outbox import Outbox
from bursty.jobs.plan import Tally, WorkerPlan, owner_name, unfailing
from bursty.ports import BlobStore, StateStore
from bursty.records import RunRecord

POLL_SECONDS = 1.0
RECORD_RETRY_SECONDS = 1.0
STOP_SECONDS = 10.0


Ended: TypeAlias = tuple[Attempt, runstate.Ending, runstate.Change]
"""An attempt that is over, how it ended, and what is to be written of it."""


class Worker:
    """Runs until nothing is left (``run``), or until ``stop``.

    ``say`` is told in words of what happens. ``launcher``: runs attempts; ``catalog``: what versions declare.
    """

    def __init__(
        self,
        state: StateStore,
        blobs: BlobStore,
        catalog: Catalog,
        launcher: Launcher,
        outbox: Outbox,
        scratch: Path,
        plan: WorkerPlan,
        *,
        say: Callable[[str], None] = lambda _line: None,
        owner: str | None = None,
    ) -> None:
        self.owner = owner or owner_name()
        self.tally = Tally()
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self._state = state
        self._blobs = blobs
        self._catalog = catalog
        self._launcher = launcher
        self._scratch = scratch
        self._plan = plan
        self._say = unfailing(say)
        self._news: queue.SimpleQueue[Attempt | None] = queue.SimpleQueue()
        self._unrecorded: list[tuple[Attempt, runstate.Ending]] = []
        self._threads = ThreadPoolExecutor(max(4, plan.slots), "bursty-prepare")
        self._heartbeat = Heartbeat(state, self.attempts, plan.lease, self._say)
        self._stopping = threading.Event()
        self._outbox = outbox
        self._caretaker = Caretaker(state, outbox, self.owner, self._known, self._say)

    # The loop

    def run(self) -> Tally:
        """Work until nothing is queued, due later or leased (with ``stay``: until ``stop``)."""
        listener = threading.Thread(target=self._listen, name="bursty-listener", daemon=True)
        listener.start()
        self._sweep()
        self._heartbeat.start()
        self._caretaker.start()
        try:
            while not self._stopping.is_set():
                claimed = self._turn()
                if not claimed and not self.attempts and not self._unrecorded and self._is_through():
                    break
                if not claimed or len(self.attempts) >= self._plan.slots:
                    self._await_news()
            self._let_go()
        finally:
            self._stopping.set()
            self._state.wake()
            self._heartbeat.stop()
            self._caretaker.stop()
            self._threads.shutdown(wait=False, cancel_futures=True)
            listener.join(5)
        return self.tally

    def stop(self) -> None:
        """End soon: attempts under way are killed and queued again. From any thread, and from signal handlers."""
        self._stopping.set()
        self._news.put(None)

    def _sweep(self) -> None:
        """Remove what attempts of killed workers on this machine left in the scratch folder."""
        for path in self._scratch.glob("*-*"):
            run, _, attempt = path.name.removesuffix(".in").rpartition("-")
            with self._patience("scratch folders could not be looked at"):
                found = self._state.get(run)
                if found is None or found.is_final or str(found.attempt) != attempt:
                    shutil.rmtree(path, ignore_errors=True)

    def _listen(self) -> None:
        """Turns the store's word that something may be due into news."""
        while not self._stopping.is_set():
            try:
                self._state.wait(POLL_SECONDS)
            except Exception as error:
                self._say(f"the state store could not be watched, trying again: {error}")
                self._stopping.wait(POLL_SECONDS)
            self._news.put(None)

    def _await_news(self) -> None:
        attempt = self._news.get()
        while True:
            if attempt is not None:
                self._take(attempt)
            try:
                attempt = self._news.get_nowait()
            except queue.Empty:
                return

    @contextlib.contextmanager
    def _patience(self, what: str) -> Any:
        """The store may be away for a while: it is asked again."""
        try:
            yield
        except StoreError as error:
            self._say(f"{what}: {error.message}")
            self._stopping.wait(RECORD_RETRY_SECONDS)

    def _is_through(self) -> bool:
        if self._plan.stay and self._plan.only is None:
            return False
        with self._patience("what is left to do could not be asked"):
            if self._plan.only is None:
                return self._state.pending(self._plan.app).idle
            run = self._state.get(self._plan.only)
            return run is None or run.is_final
        return False

    def _turn(self) -> bool:
        """Record what has ended and begin what is due, in one transaction where the store has such; tell whether
        anything was begun."""
        ended = self._ended()
        if not ended or self._plan.only is not None or self._stopping.is_set():
            self._record(ended)
            return self._claim()
        free = self._plan.slots - len(self.attempts) + len(ended)
        try:
            results, claimed = self._state.change_and_claim(
                [change for _, _, change in ended], self.owner, self._plan.lease, free, self._plan.app
            )
        except StoreError as error:
            self._keep_all(ended, error)
            return False
        self._take_up(claimed)  # first, so that children are at work while the rest is done
        self._recorded_all(ended, results)
        return bool(claimed)

    # Begin

    def _claim(self) -> bool:
        free = self._plan.slots - len(self.attempts)
        if free <= 0 or self._stopping.is_set():
            return False
        claimed: Sequence[RunRecord] = ()
        with self._patience("no run could be claimed"):
            claimed = self._claimed(free)
        self._take_up(claimed)
        return bool(claimed)

    def _take_up(self, claimed: Sequence[RunRecord]) -> None:
        for run in claimed:
            self.tally.claimed += 1
            secrets = (*self._plan.secrets, *secret_inputs(run.inputs))
            attempt = Attempt(run, self._blobs, self._scratch, secrets)
            self.attempts[attempt.key] = attempt
            self._begin(attempt)

    def _claimed(self, free: int) -> Sequence[RunRecord]:
        if self._plan.only is None:
            return self._state.claim(self.owner, self._plan.lease, free, self._plan.app)
        run = self._state.get(self._plan.only)
        if run is None or run.is_final:
            return ()
        change = runstate.claim(self.owner, self._plan.lease, self._state.skew, run)
        return [found for found in self._state.change(change) if found is not None]

    def _begin(self, attempt: Attempt) -> None:
        try:
            job = self._catalog.job(attempt.run.version, attempt.run.job)
        except BurstyError as error:
            self._fail(attempt, error)
            return
        if self._launcher.is_ready(job) and '"upload"' not in attempt.run.inputs:
            self._launch(attempt, job, {})
        else:
            self._threads.submit(self._prepare, attempt, job)

    def _prepare(self, attempt: Attempt, job: JobInfo) -> None:
        """What may take long: the version's Env, uploaded inputs."""
        try:
            self._launcher.prepare(job)
            uploads = {file["upload"] for file in files_in(job.form, json.loads(attempt.run.inputs))}
            self._launch(attempt, job, {digest: self._fetch(attempt, digest) for digest in uploads})
        except BaseException as error:
            self._fail(attempt, error)

    def _fetch(self, attempt: Attempt, digest: str) -> str:
        path = attempt.input_file(digest)
        fetch_file(self._blobs, upload_key(digest), path, digest)
        return str(path)

    def _launch(self, attempt: Attempt, job: JobInfo, files: dict[str, str]) -> None:
        if attempt.is_stale:
            self._news.put(attempt)
            return
        attempt.future = self._launcher.launch(attempt, job, files)
        if attempt.cancel_at is not None or attempt.is_stale:  # since it was looked at
            attempt.future.cancel()
        attempt.future.add_done_callback(lambda _: self._news.put(attempt))

    def _fail(self, attempt: Attempt, error: BaseException) -> None:
        """It could not even begin."""
        attempt.failed = failure(attempt, error)
        self._news.put(attempt)

    # End

    def _take(self, attempt: Attempt) -> None:
        """An attempt is over. Whatever is wrong with how it ended must end this run, and not the worker."""
        if attempt.is_stale:
            self._forget(attempt)
            return
        try:
            ending = attempt.failed or ending_of(attempt)
        except Exception as error:
            ending = failure(attempt, error)
        self._unrecorded.append((attempt, ending))

    def _ended(self) -> list[Ended]:
        """What is to be recorded. What can't be handed in is kept for the next time."""
        pending, self._unrecorded = self._unrecorded, []
        ended: list[Ended] = []
        for attempt, ending in pending:
            if attempt.is_stale:
                self._forget(attempt)
                continue
            try:
                ended.append((attempt, *self._change_of(attempt, ending)))
            except (StoreError, OSError) as error:
                self._keep(attempt, ending, error)
        return ended

    def _record(self, ended: Sequence[Ended]) -> None:
        """Write the outcomes. What can't be written is kept."""
        if not ended:
            return
        try:
            results = self._state.change(*(change for _, _, change in ended))
        except StoreError as error:
            self._keep_all(ended, error)
            return
        self._recorded_all(ended, results)

    def _keep_all(self, ended: Sequence[Ended], error: StoreError) -> None:
        for attempt, ending, _ in ended:
            self._keep(attempt, ending, error)

    def _recorded_all(self, ended: Sequence[Ended], results: Sequence[RunRecord | None]) -> None:
        for (attempt, ending, change), result in zip(ended, results, strict=True):
            self._recorded(attempt, ending, change, result)

    def _keep(self, attempt: Attempt, ending: runstate.Ending, error: Exception) -> None:
        self._say(f"the outcome of {attempt.run.id} can't be written, trying again: {error}")
        self._unrecorded.append((attempt, ending))
        self._stopping.wait(RECORD_RETRY_SECONDS)

    def _change_of(self, attempt: Attempt, ending: runstate.Ending) -> tuple[runstate.Ending, runstate.Change]:
        if attempt.cancel_at is not None and ending.end != "succeeded":
            ending = runstate.Ending("cancelled", "cancelled while it ran")
        output = attempt.hand_in()
        publishes = ending.end == "succeeded" and attempt.publishes
        done = runstate.Ending(
            ending.end,
            ending.error,
            output,
            attempt.metrics,
            attempt.progress,
            ending.retry_in,
            ending.always_retry,
        )
        job = self._known(attempt.run)
        outbox = self._outbox.drafts(attempt.run, job, ending.end, publishes, done.error)
        return done, runstate.finish(attempt.run, done, outbox)

    def _known(self, run: RunRecord) -> JobInfo | None:
        try:
            return self._catalog.job(run.version, run.job)
        except BurstyError:
            return None

    def _recorded(
        self, attempt: Attempt, ending: runstate.Ending, change: runstate.Change, result: RunRecord | None
    ) -> None:
        if result is None and not attempt.is_stale:
            seen = self._seen(attempt)
            if seen is not None and seen.owner == self.owner:  # it is to be cancelled, so it was not queued again
                attempt.cancel_at = time.monotonic()
                self._unrecorded.append((attempt, ending))
                return
            result = seen
        self._forget(attempt)
        if result is None:
            self.tally.stale += 1
            self._say(f"{attempt.run.job} {attempt.run.id}: attempt {attempt.run.attempt} was not ours any more")
        elif result.is_final:
            self.tally.ended += 1
            if change.outbox:
                self._caretaker.poke()
            self._say(f"{result.job} {result.id}: {result.status}")
        else:
            self.tally.retried += 1
            self._say(f"{result.job} {result.id}: attempt {attempt.run.attempt} failed, trying again")

    def _given_up(self, attempt: Attempt) -> runstate.Change:
        attempt.is_stale = True  # should it still be prepared, it is not begun any more
        job = self._known(attempt.run)
        if attempt.future is None or job is None or not job.once:
            return runstate.release(attempt.run, "its worker was stopped")
        words = "its worker was stopped in the middle of it, and it is not begun twice (idempotent=False)"
        outbox = self._outbox.drafts(attempt.run, job, "lost", False, words)
        return runstate.finish(attempt.run, runstate.Ending("lost", words), outbox)

    def _seen(self, attempt: Attempt) -> RunRecord | None:
        """The run after a refused write, if it is still at our attempt: then the write had been made and its answer was
        lost, or somebody wants it cancelled."""
        with self._patience("a refusal could not be looked into"):
            seen = self._state.get(attempt.run.id)
            if seen is not None and seen.attempt == attempt.run.attempt:
                return seen
        return None

    def _forget(self, attempt: Attempt) -> None:
        self.attempts.pop(attempt.key, None)
        attempt.clean()

    def _let_go(self) -> None:
        """Asked to stop: record what has ended, kill what runs and queue it again at once, for others; what may not be
        begun twice is lost."""
        with contextlib.suppress(queue.Empty):
            while True:
                if (ended := self._news.get_nowait()) is not None:
                    self._take(ended)
        self._record(self._ended())
        for attempt in list(self.attempts.values()):
            if attempt.future is not None:
                attempt.future.cancel()
        changes = [self._given_up(attempt) for attempt in self.attempts.values()]
        if changes:
            with self._patience("runs could not be given back; they are taken over when their lease ends"):
                self._state.change(*changes)
        for attempt in list(self.attempts.values()):
            self._forget(attempt)
