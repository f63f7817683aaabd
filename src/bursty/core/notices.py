"""What people are told of runs and schedules, in plain text: every service shows that as it is."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from bursty.core.redact import MASK, Redactor, is_secret_name
from bursty.records import Notice
from bursty.units import format_seconds

MAX_INPUTS = 20
MAX_VALUE = 200
"""Characters of an input's value."""
MAX_ERROR_LINES = 15
MAX_ERROR = 2000
"""Characters of an error, from its end."""

_ENDS = {
    "failed": "failed",
    "timed_out": "took too long",
    "lost": "was lost",
    "succeeded": "succeeded",
    "cancelled": "was cancelled",
}
_KINDS: dict[str, Literal["success", "failure", "warning"]] = {
    "succeeded": "success",
    "cancelled": "warning",
    "missed": "warning",
}


def render(event: Mapping[str, Any], secrets: Iterable[str] = ()) -> Notice:
    """The notice of an event. Values of ``secrets``, and inputs with names of secrets, are masked.

    ``event``: its ``event`` is ``failed``, ``timed_out``, ``lost``, ``succeeded`` or ``cancelled`` (a run's end) or
    ``missed`` (a schedule did not fire in time); ``job``, ``app``. ``url``: where the web pages are, if there are any.
    Times are seconds since the epoch.

    Of a run's end: ``run`` (id), ``attempt``, ``max_attempts``, ``version``, ``created_by``, ``schedule``,
    ``started_at``, ``finished_at``, ``error``, ``inputs`` (a dict, or its JSON), and ``last_good``: the newest good run
    as ``{"run", "finished_at"}``, ``None`` when there is none; without the key nothing is said about it.
    Of a missed fire: ``schedule``, ``count`` (how many), ``first``, ``last`` (when), ``policy`` (``once`` or ``skip``).
    """
    redactor = Redactor(secrets)
    if event["event"] == "missed":
        title, lines, link = _missed(event)
    else:
        title, lines, link = _ended(event, redactor)
    kind = _KINDS.get(event["event"], "failure")
    return Notice(redactor.redact(title), redactor.redact("\n".join(lines)), kind, link)


def _ended(event: Mapping[str, Any], redactor: Redactor) -> tuple[str, Iterator[str], str]:
    run, base = str(event["run"]), str(event.get("url") or "").rstrip("/")
    link = f"{base}/runs/{run}" if base else ""
    title = f"{event['job']} {_ENDS[event['event']]} (run {_short(run)})"
    return title, _run_lines(event, redactor, link), link


def _run_lines(event: Mapping[str, Any], redactor: Redactor, link: str) -> Iterator[str]:
    run, app = event["run"], event.get("app")
    yield f"The job {event['job']}{f' of {app}' if app else ''} {_ENDS[event['event']]}{_attempts(event)}."
    yield f"Look at it: {link}" if link else f"Look at it: bursty runs show {run}"
    yield ""
    yield f"Run: {run}"
    if event.get("version"):
        yield f"Version: {str(event['version'])[:12]}"
    if event.get("schedule"):
        yield f"Schedule: {event['schedule']}"
    if event.get("created_by"):
        yield f"Asked for by: {event['created_by']}"
    started, finished = event.get("started_at"), event.get("finished_at")
    if started is not None and finished is not None:
        yield f"Duration: {format_seconds(max(0.0, finished - started))}, until {_time(finished)}"
    yield from _inputs(event.get("inputs"), redactor)
    yield from _error(event.get("error"), redactor)
    yield from _published(event)


def _attempts(event: Mapping[str, Any]) -> str:
    """Without how many there may be: deaths of workers and failures of the job are counted apart."""
    attempt = event.get("attempt") or 1
    return f" at attempt {attempt}" if attempt > 1 else ""


def _inputs(inputs: Any, redactor: Redactor) -> Iterator[str]:
    """Masked before they are cut: half a secret is one, too."""
    if isinstance(inputs, str):
        inputs = json.loads(inputs)
    if not inputs:
        return
    yield "Inputs:"
    for name, value in list(inputs.items())[:MAX_INPUTS]:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        text = MASK if is_secret_name(name) else redactor.redact(text).replace("\n", " ")
        yield f"  {name}: {text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + '…'}"
    if len(inputs) > MAX_INPUTS:
        yield f"  … and {len(inputs) - MAX_INPUTS} more"


def _error(error: str | None, redactor: Redactor) -> Iterator[str]:
    lines = redactor.redact(error or "").strip().splitlines()
    if not lines:
        return
    text = "\n".join(lines[-MAX_ERROR_LINES:])
    cut = len(lines) > MAX_ERROR_LINES or len(text) > MAX_ERROR
    yield "Error (its end):" if cut else "Error:"
    yield from (f"  {line}" for line in text[-MAX_ERROR:].splitlines())


def _published(event: Mapping[str, Any]) -> Iterator[str]:
    if event["event"] == "succeeded" or "last_good" not in event:
        return
    good = event["last_good"]
    if good is None:
        yield "Published: nothing, for no run of this job has succeeded yet."
    else:
        when = f" of {_time(good['finished_at'])}" if good.get("finished_at") is not None else ""
        yield f"Still published: the outputs of run {good['run']}{when}."


def _missed(event: Mapping[str, Any]) -> tuple[str, Iterator[str], str]:
    count, base = int(event.get("count") or 1), str(event.get("url") or "").rstrip("/")
    link = f"{base}/schedules" if base else ""
    what = "a fire" if count == 1 else f"{count} fires"
    return f"{event['schedule']} missed {what}", _missed_lines(event, count, link), link


def _missed_lines(event: Mapping[str, Any], count: int, link: str) -> Iterator[str]:
    first, last = event.get("first"), event.get("last")
    when = f" at {_time(first)}" if first is not None else ""
    when += f" and {count - 1} times more until {_time(last)}" if count > 1 and last is not None else ""
    yield f"The schedule {event['schedule']} should have run {event['job']}{when}, and no scheduler was there to do it."
    if event.get("policy") == "skip":
        yield "These fires are skipped."
    elif event.get("policy") == "once":
        yield "It is run once now."
    yield f"Look at it: {link or 'bursty schedules'}"


def _short(run: str) -> str:
    """Ids begin with the time: runs of the same minute differ at the end."""
    return run if len(run) <= 12 else f"{run[:4]}…{run[-6:]}"


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
