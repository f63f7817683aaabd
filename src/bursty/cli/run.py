"""``bursty run``: a run of a job, made here while you look, or left to a worker."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bursty.cli.complete import jobs_in
from bursty.cli.jobhelp import describe_json, show_help
from bursty.cli.options import read_options, values_of
from bursty.cli.outcome import EXIT_CODES, show_outcome, whole_json
from bursty.cli.terminal import console, print_json, short_id
from bursty.cli.watch import Voice, Watch
from bursty.errors import ConfigError
from bursty.jobs.catalog import JobInfo, jobs_of
from bursty.packaging.snapshot import Snapshot
from bursty.records import RunRecord, RunStatus
from bursty.stage import Stage


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The command line. ``target``: FILE::JOB or JOB; ``arguments``: the job's own options."""

    target: str
    arguments: tuple[str, ...] = ()
    app: str | None = None
    version: str | None = None
    key: str | None = None
    priority: int | None = None
    note: str | None = None
    detach: bool = False
    quiet: bool = False
    as_json: bool = False
    reserved: tuple[str, ...] = ()


def run(request: RunRequest) -> int:
    """The command; its exit code. Raises ``BurstyError`` when nothing was queued."""
    voice = Voice(request.quiet)
    with Stage(say=voice) as stage:
        job, snapshot = find_job(stage, request, voice)
        values = values_of(job.form, read_options(job.form, request.arguments, request.reserved))
        if snapshot is not None:
            stage.versions.register(snapshot, "bursty run")
        queued = stage.runs.submit(
            job.app,
            job.name,
            values,
            version=job.version,
            key=request.key,
            priority=request.priority,
            allow_paths=True,
        )
        return attend(stage, queued, voice, note=request.note, detach=request.detach, as_json=request.as_json)


def attend(
    stage: Stage, queued: RunRecord, voice: Voice, *, note: str | None = None, detach: bool, as_json: bool
) -> int:
    """What follows on a submit: leave it to workers, or make it here and look on. The exit code."""
    if note:
        stage.runs.note(queued.id, note)
    if detach:
        if as_json:
            print_json(whole_json(stage, queued))
        else:
            _show_queued(queued, voice.quiet)
        return 0
    watch = Watch(stage, voice, all_stderr=as_json)
    ended = watch.follow(queued)
    if as_json:
        print_json(whole_json(stage, ended))
    elif not voice.quiet or ended.status != RunStatus.SUCCEEDED:
        show_outcome(stage, ended)
        _show_waiting(stage)
    if watch.interrupted is not None and ended.status != RunStatus.SUCCEEDED:
        return 128 + watch.interrupted
    return EXIT_CODES.get(ended.status, 1)


def _show_queued(queued: RunRecord, quiet: bool) -> None:
    print(queued.id)
    if not quiet:
        err = console(stderr=True)
        err.print(f"[cyan]…[/] [bold]{queued.job}[/] is queued [dim]· run {short_id(queued.id)}[/]")
        err.print(f"[dim]  → bursty worker makes it  ·  bursty runs logs -f {short_id(queued.id)}[/]")


def _show_waiting(stage: Stage) -> None:
    """Runs that this one started wait for a worker."""
    due = stage.state.pending().due
    if due:
        words = "1 other run waits" if due == 1 else f"{due:,} other runs wait"
        console(stderr=True).print(f"[dim]  {words} for a worker: bursty worker[/]")


def show_job_help(request: RunRequest) -> int:
    """``--help`` behind a job's name. Nothing is registered."""
    voice = Voice(request.quiet or not sys.stderr.isatty())
    with Stage(say=voice) as stage:
        job, _ = find_job(stage, request, voice)
    if request.as_json:
        print_json(describe_json(job))
    else:
        show_help(request.target, job, request.reserved)
    return 0


# Which job


def find_job(stage: Stage, request: RunRequest, voice: Voice) -> tuple[JobInfo, Snapshot | None]:
    """JOB of a version that is there, or FILE::JOB of one that is yet to be registered: the file as it is now."""
    file, mark, name = request.target.partition("::")
    if not mark and not file.endswith(".py"):
        return _stored_job(stage, request), None
    if request.version is not None or request.app is not None:
        raise ConfigError(
            "--version and --app go with the name of a job alone", f"bursty run {name or 'JOB'} --version 3"
        )
    if not Path(file).is_file():
        raise ConfigError(f"there is no file {file!r}", "Name the Python file that declares the app.")
    if not name:
        known = ", ".join(f"{file}::{job}" for job in jobs_in(file)) or f"{file}::JOB"
        raise ConfigError(f"which job of {file}?", f"Write one of: {known}.")
    snapshot = stage.versions.snapshot(file, say=voice)
    return _named(jobs_of(snapshot.manifest, snapshot.digest), file, name), snapshot


def _named(jobs: Mapping[str, JobInfo], file: str, name: str) -> JobInfo:
    found = jobs.get(name)
    if found is None:
        import difflib

        close = difflib.get_close_matches(name, jobs, 1)
        hint = f"Did you mean {close[0]}?" if close else f"Its jobs: {', '.join(jobs) or 'none'}."
        raise ConfigError(f"{file} has no job {name!r}", hint)
    return found


def _stored_job(stage: Stage, request: RunRequest) -> JobInfo:
    name = request.target
    app = request.app or _app_with(stage, name)
    version = stage.versions.get(app, request.version)
    return stage.catalog.job(version.digest, name)


def _app_with(stage: Stage, job: str) -> str:
    """The one app whose current version has the job."""
    apps = stage.versions.apps()
    if len(apps) == 1:
        return apps[0]
    having = [app for app in apps if job in _jobs_now(stage, app)]
    if len(having) == 1:
        return having[0]
    if having:
        raise ConfigError(f"several apps have a job {job!r}: {', '.join(having)}", "Say which: --app NAME.")
    if not apps:
        raise ConfigError(f"no app is known here, so there is no job {job!r}", f"bursty run FILE.py::{job}")
    raise ConfigError(f"no app has a job {job!r} now; apps: {', '.join(apps)}", f"bursty run FILE.py::{job}")


def _jobs_now(stage: Stage, app: str) -> Sequence[str]:
    try:
        return list(stage.catalog.jobs(stage.versions.get(app).digest))
    except ConfigError:  # no version is current
        return ()
