"""Versions of apps: taken, listed, one of them current. Every promotion is in the audit trail.

document app/APP: {"newest": 3, "current": DIGEST}       document version/APP/DIGEST: number and labels
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bursty.changes import EventDraft
from bursty.errors import ConfigError
from bursty.jobs.catalog import check_schedules, jobs_of
from bursty.packaging.snapshot import Describe, Snapshot, take_snapshot
from bursty.ports import BlobStore, StateStore
from bursty.records import Document, Event

APP, VERSION = "app", "version"
DIGEST_LENGTH = 64
AUTOMATIC = ("", "bursty run", "started from Python")
"""Messages that nobody wrote."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of an app. ``number`` counts from 1 in an app; ``digest`` is its identity.

    ``commit``: of git, ``+`` behind it when files had changed. ``python``: of its jobs. ``jobs``: their names.
    """

    app: str
    number: int
    digest: str
    message: str
    created_at: float
    created_by: str
    commit: str | None
    python: str
    jobs: tuple[str, ...]
    is_current: bool = False


class Versions:
    """The registry. ``actor``: who does what is done. ``describe``: see ``packaging.snapshot``."""

    def __init__(self, state: StateStore, blobs: BlobStore, cache: str, describe: Describe, actor: str) -> None:
        self._state = state
        self._blobs = blobs
        self._cache = cache
        self._describe = describe
        self._actor = actor

    def take(
        self,
        target: str | os.PathLike[str],
        message: str = "",
        *,
        promote: bool | None = None,
        say: Callable[[str], None] = lambda _line: None,
    ) -> tuple[Version, Snapshot]:
        """Snapshot the app in this file; the same content is the same version. ``promote``: make it the current one
        (``None``: only when the app has none yet). Raises as ``take_snapshot`` does."""
        snapshot = self.snapshot(target, say=say)
        return self.register(snapshot, message, promote=promote), snapshot

    def snapshot(self, target: str | os.PathLike[str], *, say: Callable[[str], None] = lambda _line: None) -> Snapshot:
        """The app in this file as it is now, in the blob store; nobody knows of it before ``register``."""
        snapshot = take_snapshot(target, blobs=self._blobs, cache=self._cache, describe=self._describe, say=say)
        for job in jobs_of(snapshot.manifest, snapshot.digest).values():
            check_schedules(job)
        return snapshot

    def register(self, snapshot: Snapshot, message: str = "", *, promote: bool | None = None) -> Version:
        """The other half of ``take``."""
        app = str(snapshot.manifest["app"])
        found = self._state.document(VERSION, f"{app}/{snapshot.digest}")
        if found is None:
            found = self._record(app, snapshot, message)
        elif message and message not in AUTOMATIC and found.data["message"] in AUTOMATIC:
            data = {**found.data, "message": message}  # the first words that a person has for it
            event = EventDraft("labelled", self._actor, {"message": message})
            found = self._state.put_document(VERSION, found.key, data, rev=found.rev, event=event) or found
        if promote or (promote is None and self._app(app).data.get("current") is None):
            self.promote(app, snapshot.digest)
        return self._version(found, self._current(app))

    def _record(self, app: str, snapshot: Snapshot, message: str) -> Document:
        described = snapshot.manifest["describe"]["apps"]
        data = {
            "number": self._take_number(app),
            "message": message,
            "created_at": self._state.now(),
            "created_by": self._actor,
            "commit": snapshot.commit,
            "python": snapshot.manifest["python"] if "python" in snapshot.manifest else _python_of(snapshot.manifest),
            "jobs": [job["name"] for item in described for job in item.get("jobs", ())],
        }
        key = f"{app}/{snapshot.digest}"
        event = EventDraft("taken", self._actor, {"message": message})
        saved = self._state.put_document(VERSION, key, data, rev=0, event=event)
        found = saved or self._state.document(VERSION, key)  # somebody took the same one at the same time
        assert found is not None
        return found

    def promote(self, app: str, ref: str | int) -> Version:
        """Make a version the current one: for new runs and schedules. Going back is the same."""
        version = self.get(app, ref)
        while True:
            found = self._app(app)
            before = found.data.get("current")
            if before == version.digest:
                break
            event = EventDraft("promoted", self._actor, {"version": version.digest, "before": before})
            data = {**found.data, "current": version.digest}
            if self._state.put_document(APP, app, data, rev=found.rev, event=event) is not None:
                break
        return self.get(app, version.digest)

    def before(self, app: str) -> Version:
        """The one that was current before the current one. Raises ``ConfigError`` when there was none."""
        current = self.get(app)
        for event in reversed(self.history(app)):
            if event.kind == "promoted" and event.data.get("version") == current.digest and event.data.get("before"):
                return self.get(app, event.data["before"])
        raise ConfigError(
            f"no version of {app!r} was current before version {current.number}", "bursty versions promote VERSION"
        )

    def get(self, app: str, ref: str | int | None = None) -> Version:
        """A version by number (``3``, ``"v3"``), digest or its first six digits at least; ``None``: the current one.

        Raises ``ConfigError`` when there is none.
        """
        current = self._app(app).data.get("current")
        if ref is None:
            if current is None:
                raise ConfigError(
                    f"the app {app!r} has no current version",
                    "bursty snapshot FILE takes one; bursty versions promote.",
                )
            ref = current
        text = str(ref).strip().lower()
        if len(text) == DIGEST_LENGTH and (found := self._state.document(VERSION, f"{app}/{text}")) is not None:
            return self._version(found, current)
        for version in self.list(app):
            if text in (version.digest, str(version.number), f"v{version.number}"):
                return version
        close = [version for version in self.list(app) if len(text) >= 6 and version.digest.startswith(text)]
        if len(close) == 1:
            return close[0]
        known = ", ".join(f"v{version.number}" for version in self.list(app)[:10]) or "none"
        raise ConfigError(f"the app {app!r} has no version {ref!r}", f"Known: {known}. See: bursty versions")

    def list(self, app: str) -> Sequence[Version]:
        """All of an app, the newest first."""
        current = self._current(app)
        found = [self._version(item, current) for item in self._state.documents(VERSION, f"{app}/")]
        return sorted(found, key=lambda version: -version.number)

    def apps(self) -> Sequence[str]:
        return [item.key for item in self._state.documents(APP)]

    def history(self, app: str) -> Sequence[Event]:
        """Who promoted what, and when."""
        return self._state.events(f"{APP}/{app}")

    def _current(self, app: str) -> str | None:
        found = self._state.document(APP, app)
        return found.data.get("current") if found else None

    def _app(self, app: str) -> Document:
        found = self._state.document(APP, app)
        if found is None:
            known = ", ".join(self.apps()) or "none yet: bursty snapshot FILE"
            raise ConfigError(f"there is no app {app!r}", f"Known: {known}.")
        return found

    def _take_number(self, app: str) -> int:
        while True:
            found = self._state.document(APP, app)
            data: dict[str, Any] = dict(found.data) if found else {"newest": 0, "current": None}
            data["newest"] += 1
            if self._state.put_document(APP, app, data, rev=found.rev if found else 0) is not None:
                return data["newest"]

    def _version(self, document: Document, current: str | None) -> Version:
        app, _, digest = document.key.rpartition("/")
        data = document.data
        return Version(
            app,
            data["number"],
            digest,
            data["message"],
            data["created_at"],
            data["created_by"],
            data["commit"],
            data["python"],
            tuple(data["jobs"]),
            digest == current,
        )


def _python_of(manifest: Mapping[str, Any]) -> str:
    return next((str(env["python"]) for env in manifest["envs"].values()), "")
