"""``Runs``: asking for runs of jobs, and for what became of them."""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bursty.changes import EventDraft
from bursty.core import runstate
from bursty.errors import BurstyError, ConfigError
from bursty.forms.validate import inputs_hash, replace_files, validate
from bursty.ids import new_id
from bursty.jobs.artefacts import CHUNK, Artefact, Manifest, put_file, read_manifest, upload_key
from bursty.jobs.asked import OWN_KEYS, check_asked, check_same
from bursty.jobs.catalog import Catalog, JobInfo
from bursty.jobs.logs import LogLine, Tail
from bursty.jobs.outbox import outbox_of
from bursty.jobs.versions import Versions
from bursty.ports import BlobStore, StateStore
from bursty.records import Event, RunQuery, RunRecord, RunStatus
from bursty.runtime.host import current_host

FOLLOW_SECONDS = 0.5
REWRITE_SECONDS = 86400.0
"""An older upload is written anew when it comes again: ``jobs.prune`` might think that nobody needs it."""

Check = Callable[[JobInfo, Mapping[str, Any]], None]
"""Has a child of the version check inputs that only the function's own types can check."""


class Runs:
    """The client of jobs and runs. Thread-safe. ``actor``: who asks."""

    def __init__(
        self,
        state: StateStore,
        blobs: BlobStore,
        versions: Versions,
        catalog: Catalog,
        *,
        actor: str,
        check: Check | None = None,
    ) -> None:
        self.state = state
        self.blobs = blobs
        self.versions = versions
        self.catalog = catalog
        self.actor = actor
        self._check = check

    # Ask

    def submit(
        self,
        app: str,
        job: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        version: str | int | None = None,
        key: str | None = None,
        strict_key: bool = True,
        priority: int | None = None,
        delay: float = 0.0,
        created_by: str | None = None,
        rerun_of: str | None = None,
        schedule: str | None = None,
        allow_paths: bool = False,
    ) -> RunRecord:
        """Queue a run. Inputs are checked first; nothing is queued when one is wrong.

        ``version``: number or digest; the current one by default. ``key``: a second submit of this app with the same
        key gives the first one's run; with another job or other inputs it is refused, unless ``strict_key=False``.
        ``priority``: higher goes first. ``delay``: seconds until it is due.
        ``allow_paths``: a file among the inputs may be a path on this machine, and is uploaded.

        Raises ``InputsInvalid`` with all that is wrong, ``ConfigError`` for an unknown job or version, a key that
        is taken, and arguments that can't be.
        """
        check_asked(inputs, key, priority, delay, own_key=not strict_key)
        found = self.versions.get(app, version)
        info = self.catalog.job(found.digest, job)
        checked = self._checked(info, inputs or {}, allow_paths)
        run = RunRecord(
            id=new_id(),
            app=app,
            job=job,
            version=found.digest,
            inputs=json.dumps(checked, ensure_ascii=False, allow_nan=False),
            inputs_hash=inputs_hash(checked),
            idempotency_key=key,
            max_attempts=info.max_attempts,
            retries=info.retries,
            priority=info.priority if priority is None else priority,
            not_before=self.state.now() + delay if delay > 0 else 0.0,
            timeout=info.timeout,
            created_by=created_by or self.actor,
            rerun_of=rerun_of,
            schedule=schedule,
        )
        event = EventDraft("submitted", created_by or self.actor, {"version": found.number})
        queued, is_new = self.state.submit(run, event)
        if strict_key and not is_new:
            check_same(queued, run)
        return queued

    def _checked(self, info: JobInfo, inputs: Mapping[str, Any], allow_paths: bool) -> dict[str, Any]:
        """By the form, and by the function's own validators where it has some; files are uploaded."""
        checked = replace_files(info.form, validate(info.form, inputs, allow_paths=allow_paths), self._uploaded)
        if info.form["custom"] and self._check is not None:
            self._check(info, checked)
        return checked

    def start(self, fn: Callable[..., Any], app: str, job: str, inputs: Mapping[str, Any]) -> RunRecord:
        """Queue a run of the job that ``fn`` declares, of its file as it is now (a snapshot is taken)."""
        if current_host() is not None:
            raise ConfigError(
                "start() works in your own scripts, not inside a run", 'In a job: run.start("job", inputs…).'
            )
        file = inspect.getsourcefile(fn)
        if file is None or not Path(file).is_file():
            raise ConfigError(f"the job {job!r} lies in no file", "Put the app into a .py file and import it.")
        version, _ = self.versions.take(file, "started from Python")
        return self.submit(app, job, inputs, version=version.digest, allow_paths=True)

    def start_from(self, parent: RunRecord, job: str, inputs: Mapping[str, Any], number: int) -> str:
        """Queue a run of a job of the same version from inside a run: its id. The ``number``-th one that it starts is
        one run, however often the run is tried."""
        found = self.submit(
            parent.app,
            job,
            inputs,
            version=parent.version,
            key=f"{OWN_KEYS}started by {parent.id} {number}",
            strict_key=False,
            created_by=f"run {parent.id}",
        )
        return found.id

    def _uploaded(self, file: dict[str, Any]) -> dict[str, Any]:
        """A file among the inputs that lies in the blob store: uploaded now if it is a path."""
        if "upload" in file:
            if self.blobs.head(upload_key(file["upload"])) is None:
                raise ConfigError(f"the upload of {file['name']!r} is not there any more", "Upload the file again.")
            return file
        return self.upload(Path(file["path"]), file["name"])

    def upload(self, path: Path, name: str | None = None) -> dict[str, Any]:
        """Stream a file into the blob store, once for the same content: what stands for it among inputs."""
        hasher = hashlib.sha256()
        with path.open("rb") as stream:
            while piece := stream.read(CHUNK):
                hasher.update(piece)
        digest = hasher.hexdigest()
        size = path.stat().st_size
        found = self.blobs.head(upload_key(digest))
        if found is None or found.size != size or time.time() - found.modified > REWRITE_SECONDS:
            stored, actual = put_file(self.blobs, upload_key(digest), path)
            if actual != digest or stored != size:
                self.blobs.delete(upload_key(digest))
                raise ConfigError(f"{path} changed while it was uploaded", "Try again when it is at rest.")
        return {"upload": digest, "name": name or path.name, "size": size}

    def rerun(self, run: str, changes: Mapping[str, Any] | None = None, **options: Any) -> RunRecord:
        """A new run with the same inputs, or with changes; of the same version unless ``version`` says otherwise."""
        old = self.get(run)
        inputs = {**json.loads(old.inputs), **(changes or {})}
        options.setdefault("version", old.version)
        return self.submit(old.app, old.job, inputs, rerun_of=old.id, **options)

    def cancel(self, run: str) -> RunRecord:
        """Cancel: at once when queued, within seconds when running. One that is over stays as it is."""
        while True:
            seen = self.get(run)
            outbox = outbox_of(seen, self._info(seen), "cancelled", False) if not seen.is_final else ()
            change = None if seen.cancel_requested else runstate.cancel(seen, self.actor, outbox)
            if change is None:
                return seen
            if (done := self.state.change(change)[0]) is not None:
                return done

    def requeue(self, run: str) -> RunRecord:
        """Give a lost run as many attempts as it had at first. Raises ``ConfigError`` when it isn't lost."""
        seen = self.get(run)
        info = self._info(seen)
        change = runstate.requeue(seen, self.actor, info.max_attempts if info else 1)
        done = None if change is None else self.state.change(change)[0]
        if done is None:
            raise ConfigError(
                f"the run {run} is {self.get(seen.id).status}; only lost ones are taken up again",
                f"A new run with the same inputs: bursty runs rerun {run}",
            )
        return done

    def note(self, run: str, text: str) -> None:
        """Write a note into a run's audit trail."""
        self._append(run, "note", {"text": text[:10_000]})

    def feedback(self, run: str, rating: int, comment: str = "") -> None:
        """Rate a run from 1 to 5. Raises ``ConfigError``."""
        if not 1 <= rating <= 5:
            raise ConfigError(f"a rating is a whole number from 1 to 5, not {rating}")
        self._append(run, "feedback", {"rating": rating, "comment": comment[:10_000]})

    def _append(self, run: str, kind: str, data: dict[str, Any]) -> None:
        if self.state.change(runstate.note(self.get(run).id, kind, self.actor, data))[0] is None:
            raise ConfigError(f"the run {run} is gone", "It was pruned.")

    # Look

    def get(self, run: str) -> RunRecord:
        """A run by its id, or by the end of it when that is enough (eight digits at least); ``last``: the newest one.

        Raises ``ConfigError``.
        """
        if not isinstance(run, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"a run is named by its id, not by {run!r:.100}", "bursty runs list shows some.")
        if run == "last" and (newest := self.state.find(RunQuery(limit=1))):
            return newest[0]
        found = self.state.get(run)
        if found is None and len(run) >= 8:
            close = [item for item in self.state.find(RunQuery(limit=1000)) if item.id.endswith(run)]
            found = close[0] if len(close) == 1 else None
        if found is None:
            raise ConfigError(f"there is no run {run!r}", "bursty runs list shows the newest ones.")
        return found

    def list(self, query: RunQuery | None = None) -> Sequence[RunRecord]:
        """The newest first."""
        return self.state.find(query or RunQuery())

    def latest_good(self, job: str, app: str | None = None) -> RunRecord | None:
        """The newest run of a job that succeeded: what stays published when later ones fail."""
        found = self.state.find(RunQuery(app=app, job=job, status=RunStatus.SUCCEEDED, limit=1))
        return found[0] if found else None

    def events(self, run: str, after: int = 0) -> Sequence[Event]:
        """The audit trail of a run."""
        return self.state.events(run, after)

    def wait(self, run: str, timeout: float | None = None) -> RunRecord:
        """The run once it is over. Raises ``TimeoutError`` after ``timeout`` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        pause = 0.02
        while not (found := self.get(run)).is_final:
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"the run {run} is still {found.status} after {timeout} s")
            time.sleep(pause)  # the store can't be asked to tell of one run
            pause = min(pause * 1.5, FOLLOW_SECONDS)
        return found

    def log(self, run: str, *, follow: bool = False) -> Iterator[LogLine]:
        """Lines of the newest attempt's log (``follow``: of all attempts, until the run is over)."""
        seen = self.get(run)
        tail = Tail(self.blobs, seen.id, max(seen.attempt, 1))
        while True:
            over = seen.is_final
            yield from tail.read(seen.attempt)
            if not follow or over:
                return
            time.sleep(FOLLOW_SECONDS)
            seen = self.get(seen.id)

    def manifest(self, run: str) -> Manifest:
        """What a run published: artefacts and metrics."""
        return read_manifest(self.blobs, self.get(run))

    def artefact(self, run: str, name: str) -> Artefact:
        """One output by its name; a table's or figure's may be given without the ending. Raises ``ConfigError``."""
        artefacts = self.manifest(run).artefacts
        for artefact in artefacts:
            if name == artefact.name:
                return artefact
        for artefact in artefacts:
            if name in (Path(artefact.name).stem, artefact.meta.get("figure")):
                return artefact
        known = ", ".join(artefact.name for artefact in artefacts) or "none"
        raise ConfigError(f"the run {run} has no output {name!r}", f"It has: {known}.")

    def _info(self, run: RunRecord) -> JobInfo | None:
        try:
            return self.catalog.job(run.version, run.job)
        except BurstyError:
            return None
