"""What stages keep of runs, and nobody needs any more: first rows go, then all blobs that no row needs.

Old are runs that ended, caches and versions that nobody touched, uploads and other blobs that nobody wrote, for a given
time. Never removed: runs that are open; of each job the newest good run, and the newest good one that has an output of
each name (``run.last_good``, what is published); what waits in the outbox; versions that are current, were so before,
or have runs; models; what is published.

A prune may be killed, and any number may run at once, beside workers, submits and snapshots: blobs that lost their rows
are removed by the next one.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bursty.errors import BlobNotFound, ConfigError
from bursty.jobs.artefacts import SEARCH, read_manifest
from bursty.jobs.caches import KIND as CACHE
from bursty.jobs.versions import VERSION, Versions
from bursty.packaging.sweep import sweep_versions
from bursty.ports import BlobInfo, BlobStore, StateStore
from bursty.records import Document, RunQuery, RunRecord, RunStatus

PAGE = 1000
BATCH = 200
UPLOAD_SECONDS = 2 * 86400.0
"""A younger upload may be that of a run that is being asked for; ``Runs.upload`` writes it anew before it is so old."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Pruned:
    """``what`` went (or would): how many, and the bytes of their blobs."""

    what: str
    count: int
    bytes: int


@dataclass(slots=True)
class _Kept:
    """What the rows that stay need."""

    runs: set[str] = field(default_factory=set[str])
    versions: set[str] = field(default_factory=set[str])
    digests: set[str] = field(default_factory=set[str])
    """All that looks like a SHA-256 in inputs: uploads among them."""


class Prune:
    """One prune of a stage. Ages in seconds. ``dry_run``: only count; what is counted is what would go.

    ``read``: the manifest of a version by its digest. ``now``: seconds since the epoch.
    """

    def __init__(
        self,
        state: StateStore,
        blobs: BlobStore,
        versions: Versions,
        read: Callable[[str], Mapping[str, Any]],
        *,
        dry_run: bool = False,
        now: float | None = None,
    ) -> None:
        self._state = state
        self._blobs = blobs
        self._versions = versions
        self._read = read
        self._dry = dry_run
        self._now = time.time() if now is None else now

    def run(self, runs: float, caches: float, *, versions: bool = False) -> list[Pruned]:
        """``runs``: age of runs, uploads and versions; ``caches``: of what ``run.cache`` keeps. ``versions``: those
        without runs go, too. Raises ``StoreError``."""
        kept, old = self._sorted_runs(self._now - runs)
        removed = [self._runs(kept, old, self._now - runs)]
        gone: set[str] = set()
        if versions:
            gone = self._version_rows(kept, self._now - runs)
            _, freed = sweep_versions(self._blobs, self._known(gone), runs, now=self._now, dry_run=self._dry)
            removed.append(Pruned("versions", len(gone), freed))
        uploads = self._uploads(kept, gone, self._now - max(runs, UPLOAD_SECONDS))
        return [*removed, uploads, self._caches(self._now - caches)]

    # Runs

    def _sorted_runs(self, before: float) -> tuple[_Kept, list[str]]:
        """What stays, and the ids of what goes."""
        kept, old = _Kept(), list[str]()
        good = _LastGood(self._blobs)
        for run in self._all_runs():
            ended = run.finished_at if run.is_final else None
            needed = good.needs(run)
            if needed or ended is None or ended >= before or self._state.outbox(run.id):
                kept.runs.add(run.id)
                kept.versions.add(run.version)
                kept.digests.update(_DIGEST.findall(run.inputs))
            else:
                old.append(run.id)
        return kept, old

    def _all_runs(self) -> Iterator[RunRecord]:
        """The newest first."""
        last: str | None = None
        while page := self._state.find(RunQuery(before=last, limit=PAGE)):
            yield from page
            last = page[-1].id

    def _runs(self, kept: _Kept, old: Sequence[str], before: float) -> Pruned:
        if not self._dry:
            for start in range(0, len(old), BATCH):
                self._state.delete_runs(old[start : start + BATCH])
        gone = dict.fromkeys(old, self._dry)

        def is_gone(info: BlobInfo) -> bool:
            run = info.key.split("/")[1]
            if run in kept.runs:
                return False
            if run not in gone or not (self._dry or gone[run]):  # one may have been taken up again meanwhile
                gone[run] = self._state.get(run) is None
            return gone[run]

        return Pruned("runs", len(old), self._sweep("runs", before, is_gone))

    # Caches

    def _caches(self, before: float) -> Pruned:
        old: list[Document] = []
        needed: set[str] = set()
        for item in self._state.documents(CACHE):
            if item.updated_at < before and self._delete(item):
                old.append(item)
            else:
                needed.add(item.data["blob"])
        return Pruned("caches", len(old), self._sweep("cache", before, lambda info: info.key not in needed))

    def _delete(self, item: Document) -> bool:
        return self._dry or self._state.delete_document(item.kind, item.key, rev=item.rev)

    # Versions

    def _version_rows(self, kept: _Kept, before: float) -> set[str]:
        """The digests of those that went."""
        gone: set[str] = set()
        for app in self._versions.apps():
            in_use = self._in_use(app)
            for item in self._state.documents(VERSION, f"{app}/"):
                digest = item.key.rpartition("/")[2]
                is_old = item.data["created_at"] < before and item.updated_at < before
                if digest not in in_use and digest not in kept.versions and is_old and self._drop_version(item, digest):
                    gone.add(digest)
        return gone

    def _in_use(self, app: str) -> set[str]:
        """What is current, and what going back would make current."""
        try:
            current = self._versions.get(app).digest
        except ConfigError:
            return set()
        try:
            return {current, self._versions.before(app).digest}
        except ConfigError:
            return {current}

    def _drop_version(self, item: Document, digest: str) -> bool:
        if not self._delete(item):
            return False
        if self._dry or not self._state.find(RunQuery(version=digest, limit=1)):
            return True
        self._state.put_document(item.kind, item.key, item.data, rev=0)  # a run was asked for meanwhile
        return False

    def _known(self, gone: set[str]) -> set[str]:
        """All versions that stay; in a dry run those that are ``gone`` still have their rows."""
        return {item.key.rpartition("/")[2] for item in self._state.documents(VERSION)} - gone

    # Uploads

    def _uploads(self, kept: _Kept, gone: set[str], before: float) -> Pruned:
        needed = kept.digests | self._declared(gone)
        count = 0

        def is_gone(info: BlobInfo) -> bool:
            nonlocal count
            unneeded = info.key.split("/")[1] not in needed
            count += unneeded
            return unneeded

        freed = self._sweep("uploads", before, is_gone)
        return Pruned("uploads", count, freed)

    def _declared(self, gone: set[str]) -> set[str]:
        """What the inputs of schedules and the defaults of forms may name."""
        found: set[str] = set()
        for digest in self._known(gone):
            try:
                found.update(_DIGEST.findall(json.dumps(self._read(digest)["describe"])))
            except BlobNotFound:  # its blobs are lost, so it declares nothing
                continue
        return found

    # Blobs

    def _sweep(self, prefix: str, before: float, is_gone: Callable[[BlobInfo], bool]) -> int:
        """Remove the blobs that were last written before then and that nothing needs; their bytes."""
        freed = 0
        doomed = [info for info in self._blobs.list(prefix) if info.modified < before and is_gone(info)]
        for info in doomed:
            if self._dry or self._blobs.delete(info.key):
                freed += info.size
        return freed


class _LastGood:
    """Which runs ``find_good`` may still look for: of each job the newest good one, and of each of its outputs the
    newest good one that has it."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._looked: Counter[tuple[str, str]] = Counter()
        self._known: dict[tuple[str, str], set[str]] = {}

    def needs(self, run: RunRecord) -> bool:
        """Asked of all runs, the newest first."""
        job = run.app, run.job
        if run.status != RunStatus.SUCCEEDED or self._looked[job] == SEARCH:
            return False
        self._looked[job] += 1
        try:
            names = {artefact.name for artefact in read_manifest(self._blobs, run).artefacts}
        except BlobNotFound:
            names = set[str]()
        known = self._known.setdefault(job, set())
        has_news = not names <= known
        known |= names
        return has_news or self._looked[job] == 1
