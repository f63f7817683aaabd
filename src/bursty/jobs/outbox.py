"""The outbox: what must be done after a run has ended, at least once. Notices go out, outputs get their stable keys."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bursty.core.runstate import retry_delay
from bursty.errors import StoreError, in_words
from bursty.jobs.artefacts import Artefact, fetch_file, find_good, published_key, put_file
from bursty.jobs.catalog import JobInfo
from bursty.ports import BlobStore, StateStore
from bursty.records import OutboxDraft, OutboxItem, RunRecord

NOTICE, PUBLISH = "notice", "publish"
LEASE_SECONDS = 300.0
FIRST_DELAY, LONGEST_DELAY = 5.0, 3600.0
ELSEWHERE_DELAY = 30.0


def outbox_of(
    run: RunRecord, job: JobInfo | None, end: str, publishes: bool, error: str | None = None
) -> tuple[OutboxDraft, ...]:
    """What follows from the end of a run. ``job`` ``None``: its version can't be read, so the usual ends are told."""
    drafts: list[OutboxDraft] = []
    if publishes:
        drafts.append(OutboxDraft(PUBLISH))
    wanted = job.notify if job is not None else ("failed", "timed_out", "lost")
    if end in wanted:
        drafts.append(OutboxDraft(NOTICE, {"end": end, "error": (error or "")[-2000:]}))
    return tuple(drafts)


class Outbox:
    """Delivers. ``notify``: sends a notice of (run, data of the row); ``None``: this process can tell nobody.

    ``lease``: seconds after which a row is another's, whose deliverer did not come back.
    """

    def __init__(
        self,
        state: StateStore,
        blobs: BlobStore,
        notify: Callable[[RunRecord, dict[str, Any]], None] | None,
        *,
        lease: float = LEASE_SECONDS,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._state = state
        self._blobs = blobs
        self._notify = notify
        self._lease = lease
        self._say = say

    def drafts(
        self, run: RunRecord, job: JobInfo | None, end: str, publishes: bool, error: str | None = None
    ) -> tuple[OutboxDraft, ...]:
        """As ``outbox_of``; without notices where this process could tell nobody, so that these don't wait in vain."""
        drafts = outbox_of(run, job, end, publishes, error)
        return drafts if self._notify is not None else tuple(draft for draft in drafts if draft.kind != NOTICE)

    def deliver(self, limit: int = 20) -> int:
        """Try what is due; tell how many rows were tried. One that fails is due again later, at most an hour."""
        items = self._state.take_outbox(limit, self._lease)
        for item in items:
            if item.kind == NOTICE and self._notify is None:  # another process wrote it, and can deliver it
                self._state.outbox_later(item, ELSEWHERE_DELAY, "left to a process that has BURSTY_NOTIFY")
                continue
            try:
                self._deliver(item)
            except Exception as error:  # of a damaged row or manifest, say: the others go out all the same
                words = in_words(error)
                self._state.outbox_later(item, retry_delay(item.tries - 1, FIRST_DELAY, LONGEST_DELAY), words)
                self._say(f"the {item.kind} of run {item.run} could not be delivered, it is tried again: {words}")
            else:
                self._state.outbox_done(item)
        return len(items)

    def _deliver(self, item: OutboxItem) -> None:
        run = self._state.get(item.run)
        if run is None:  # pruned meanwhile
            return
        if item.kind == PUBLISH:
            self.publish(run.app, run.job)
        elif self._notify is not None:
            self._notify(run, dict(item.data))

    def publish(self, app: str, job: str) -> None:
        """Bring the stable keys to the newest good run's outputs. Whoever is late copies the newest too: when two do it
        at once, each looks again afterwards, so the last one to write has seen the newest."""
        done: str | None = None
        while (good := self._newest(app, job)) is not None and good[0].id != done:
            for artefact in good[1]:
                self._copy(artefact.key, published_key(app, job, artefact.name), artefact.digest)
            done = good[0].id

    def _newest(self, app: str, job: str) -> tuple[RunRecord, list[Artefact]] | None:
        """The newest good run that published something."""
        return find_good(self._state, self._blobs, app, job, lambda artefact: artefact.publish)

    def _copy(self, source: str, target: str, digest: str) -> None:
        """Through a file, so that what is damaged does not replace what is good."""
        with tempfile.TemporaryDirectory(prefix="bursty-publish-") as folder:
            file = Path(folder) / "content"
            try:
                fetch_file(self._blobs, source, file, digest)
            except OSError as error:
                raise StoreError(f"there is no room to publish {source}: {error.strerror}") from error
            put_file(self._blobs, target, file)
