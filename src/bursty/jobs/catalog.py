"""What a version declares, read from its manifest: jobs, their forms and schedules. Nobody imports user code for it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from bursty.core.cron import Timetable, parse_schedule
from bursty.errors import ConfigError
from bursty.forms.types import Form
from bursty.forms.validate import validate
from bursty.values import Env, ScheduleSpec

DEFAULT_LOSSES = 2
"""How often an attempt may be lost with its worker and be made again, beyond ``retries``."""


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job of a version. ``target``: the file that declares it, as the version's folder has it; ``reference``:
    ``module:qualname`` of its function; ``form``: see ``forms.schema``."""

    app: str
    name: str
    title: str
    description: str
    version: str
    target: str
    reference: str
    form: Form
    env: Env | None
    memory: int | None
    timeout: float | None
    retries: int
    max_attempts: int
    once: bool
    """Not begun again by itself (``idempotent=False``)."""
    priority: int
    notify: tuple[str, ...]
    schedules: tuple[ScheduleSpec, ...]


class Catalog:
    """Manifests by digest; they never change, so each is read once. ``read``: digest to manifest, checked."""

    def __init__(self, read: Callable[[str], Mapping[str, Any]]) -> None:
        self._read = read
        self._known: dict[str, dict[str, JobInfo]] = {}
        self._lock = threading.Lock()

    def jobs(self, version: str) -> Mapping[str, JobInfo]:
        """The jobs of a version by name. Raises ``StoreError`` when its manifest is missing or damaged."""
        with self._lock:
            found = self._known.get(version)
        if found is None:
            found = jobs_of(self._read(version), version)
            with self._lock:
                self._known[version] = found
        return found

    def job(self, version: str, name: str) -> JobInfo:
        """Raises ``ConfigError`` when the version has no such job."""
        jobs = self.jobs(version)
        if name not in jobs:
            close = get_close_matches(name, jobs, 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(sorted(jobs)) or 'none'}."
            raise ConfigError(f"version {version[:12]} has no job {name!r}", hint)
        return jobs[name]


def jobs_of(manifest: Mapping[str, Any], version: str) -> dict[str, JobInfo]:
    """The jobs that a manifest describes."""
    apps: Sequence[Mapping[str, Any]] = manifest["describe"]["apps"]
    make = functools.partial(_job, version=version, target=manifest["target"])
    return {job["name"]: make(app["name"], job) for app in apps for job in app.get("jobs", ())}


def _job(app: str, job: Mapping[str, Any], *, version: str, target: str) -> JobInfo:
    function: Mapping[str, Any] = job["function"]
    env = function["env"]
    retries = function["retries"] or 0
    once = function["idempotent"] is False
    return JobInfo(
        app=app,
        name=job["name"],
        title=job["title"],
        description=job["description"],
        version=version,
        target=target,
        reference=f"{function['module']}:{function['qualname']}",
        form=job["form"],
        env=env and Env(env["requirements"], python=env["python"], files=env["files"]),
        memory=function["memory"],
        timeout=function["timeout"],
        retries=0 if once else retries,
        max_attempts=1 if once else 1 + retries + DEFAULT_LOSSES,
        once=once,
        priority=job["priority"],
        notify=tuple(job["notify"]),
        schedules=tuple(ScheduleSpec(**schedule) for schedule in job["schedules"]),
    )


def timetable_of(spec: ScheduleSpec) -> Timetable:
    """Raises ``ConfigError`` for what can't be read, and for what never fires."""
    return parse_schedule(spec.cron, spec.every, spec.tz)


def check_schedules(job: JobInfo) -> None:
    """Refuse a version whose schedules could never queue a run. Raises ``ConfigError``."""
    for spec in job.schedules:
        try:
            timetable_of(spec)
            validate(job.form, spec.inputs)
        except ConfigError as error:
            raise ConfigError(f"the schedule of job {job.name!r}: {error.message}", error.hint) from error
