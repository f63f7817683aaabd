"""What must hold after a trial; each thing that does not is a line of words."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bursty.jobs.artefacts import read_manifest
from bursty.jobs.outbox import outbox_of
from bursty.records import FINAL, Event, RunRecord, RunStatus
from crash.driver import Ended

CLEAN_SECONDS = 0.001
"""Times are doubles, and databases round them."""
ENDS = frozenset(status.value for status in FINAL)
GIVES_BACK = frozenset({"retry", "released"})
SAYS = ENDS | GIVES_BACK
LIFE: dict[str, dict[str, str]] = {
    "none": {"submitted": "queued"},
    "queued": {"started": "running", "cancelled": "over"},
    "running": {"started": "running", **dict.fromkeys(GIVES_BACK, "queued"), **dict.fromkeys(ENDS, "over")},
    "over": {},
}
"""What may happen to a run in a state, and its state then. Only leases say when a running one may be started."""


@dataclass(frozen=True)
class Life:
    """A run and its events."""

    run: RunRecord
    events: Sequence[Event]

    @cached_property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    @cached_property
    def attempts(self) -> list[list[Event]]:
        """The events of each attempt, the one that began it first."""
        found: list[list[Event]] = []
        for event in self.events:
            if event.kind == "started":
                found.append([])
            if found:
                found[-1].append(event)
        return found


def problems_of_workers(ended: Ended) -> list[str]:
    """Nothing, when all is well."""
    lives = {run.id: Life(run, ended.events[run.id]) for run in ended.runs}
    found = [f"nobody ended it: {words}" for words in ended.stuck]
    found += _asked_once(ended)
    for life in lives.values():
        found += [f"{life.run.job} {life.run.id}: {words} ({' '.join(life.kinds)})" for words in _of_run(life, ended)]
    found += _of_journals(ended, lives)
    found += _of_leases(ended, lives)
    found += _of_notices(ended, lives)
    return [*found, *_of_crew(ended)]


def _asked_once(ended: Ended) -> Iterator[str]:
    trial, known = ended.ground.trial, {run.id for run in ended.runs}
    if len(ended.ids) != trial.runs or set(ended.ids.values()) != known or len(ended.runs) != trial.runs:
        yield f"{trial.runs} runs were asked for, {len(ended.ids)} told of, {len(ended.runs)} found"


def _of_run(life: Life, ended: Ended) -> Iterator[str]:
    run, kinds = life.run, life.kinds
    if not run.is_final:
        yield f"it is {run.status}"
    if [event.seq for event in life.events] != list(range(1, len(kinds) + 1)) or run.seq != len(kinds):
        yield f"its events have gaps, or not all are there: {run.seq} by the run"
    if [kind for kind in kinds if kind in ENDS] != [run.status] or kinds[-1] != run.status:
        yield f"{run.status} is not its one recorded outcome"
    if kinds.count("started") != run.attempt:
        yield f"{run.attempt} attempts by the run"
    if run.attempt > run.max_attempts:
        yield f"{run.attempt} attempts of {run.max_attempts}"
    if run.owner is not None or run.lease_until is not None:
        yield "it is over and still leased"
    state = "none"
    for kind in kinds:
        if kind in LIFE[state]:
            state = LIFE[state][kind]
        elif kind != "cancel requested":
            yield f"{kind} of a run that is {state}"
    yield from _of_outcome(life, ended)


def _of_outcome(life: Life, ended: Ended) -> Iterator[str]:
    run = life.run
    failures = life.kinds.count("retry") + (run.status == RunStatus.FAILED)
    match run.status:
        case RunStatus.LOST if run.attempt < run.max_attempts:
            yield f"lost with {run.attempt} attempts of {run.max_attempts}"
        case RunStatus.FAILED if not json.loads(run.inputs).get("failures"):
            yield f"failed, though its job does not: {run.error}"
        case RunStatus.FAILED if run.failures <= run.retries and run.attempt < run.max_attempts:
            yield f"failed with {run.failures} failures, {run.retries} retries"
        case RunStatus.CANCELLED if run.id not in ended.cancelled:
            yield "cancelled, and nobody wanted it"
        case RunStatus.SUCCEEDED:
            if run.metrics != f'{{"attempt": {run.attempt}}}' or run.output != f"runs/{run.id}/{run.attempt}":
                yield f"what it gave is not its last attempt's: {run.metrics} {run.output}"
            elif dict(read_manifest(ended.ground.stage.blobs, run).metrics) != {"attempt": run.attempt}:
                yield "its manifest is another attempt's"
        case _:
            pass
    if run.failures != failures:
        yield f"{run.failures} failures by the run, {failures} by its events"


# What workers were told


def _of_journals(ended: Ended, lives: Mapping[str, Life]) -> Iterator[str]:
    """What was accepted is recorded as that attempt's, by its owner; what was refused is not."""
    for line in _told(ended, SAYS | {"claim"}):
        kind = "started" if line["what"] == "claim" else line["what"]
        recorded = _recorded(lives[line["run"]], line["attempt"], kind, line["owner"])
        words = f"run {line['run']}, attempt {line['attempt']}, {kind} by {line['owner']}"
        if line.get("told", "accepted") == "accepted" and not recorded:
            yield f"{words}: accepted and not recorded"
        if line.get("told") == "refused" and recorded and not _in_outage(ended, line):
            yield f"{words}: refused and recorded"
    claims = Counter((line["run"], line["attempt"]) for line in _told(ended, {"claim"}))
    yield from (f"run {run}, attempt {attempt}: claimed {n} times" for (run, attempt), n in claims.items() if n > 1)


def _recorded(life: Life, attempt: int, kind: str, owner: str) -> bool:
    """Whether the store has an event of this kind, in this attempt, by this owner."""
    if attempt > len(life.attempts):
        return False
    return any((event.kind, event.actor) == (kind, owner) for event in life.attempts[attempt - 1])


def _in_outage(ended: Ended, line: Mapping[str, Any]) -> bool:
    """Whether its answer may have been lost, and what was refused was the same thing asked again."""
    return any(line["asked_at"] < end and line["at"] > begin for begin, end in ended.outages)


def _told(ended: Ended, kinds: frozenset[str] | set[str]) -> Iterator[dict[str, Any]]:
    for journal in ended.crew.journals():
        yield from (line for line in journal if line["what"] in kinds)


# Leases


def _of_leases(ended: Ended, lives: Mapping[str, Life]) -> Iterator[str]:
    """Who takes a run that was neither given back nor ended does so after its lease: by the clock that the store goes
    by, and by the real one."""
    house, lease = ended.ground.house, ended.ground.trial.lease
    until: dict[tuple[str, int], float] = defaultdict(float)
    renewed: dict[tuple[str, int], float] = defaultdict(float)
    taken: dict[tuple[str, int], float] = {}
    for line in _told(ended, {"claim", "renew"}):
        if line.get("told", "accepted") == "accepted":
            key = line["run"], line["attempt"]
            until[key] = max(until[key], line["lease_until"])
            renewed[key] = max(renewed[key], line["asked_at"])
            if line["what"] == "claim":
                taken[key] = line["at"]
    for life in lives.values():
        for number, (before, after) in enumerate(zip(life.attempts, life.attempts[1:], strict=False), 1):
            if any(event.kind in GIVES_BACK for event in before):
                continue
            key, following = (life.run.id, number), (life.run.id, number + 1)
            early = until[key] + house.skew - after[0].at
            if early > CLEAN_SECONDS:
                yield f"run {life.run.id}: attempt {number + 1} began {early:.3f} s before the lease of the one before"
            if house.true_leases and key in renewed and following in taken:
                early = renewed[key] + lease - taken[following]
                if early > CLEAN_SECONDS:
                    yield f"run {life.run.id}: attempts {number} and {number + 1} overlap by {early:.3f} s"


# Notices and processes


def _of_notices(ended: Ended, lives: Mapping[str, Life]) -> Iterator[str]:
    """Whoever was to hear of an end did, and of no other."""
    told: dict[str, set[str]] = defaultdict(set)
    for line in _told(ended, {"notice"}):
        told[line["run"]].add(line["end"])
    for life in lives.values():
        run = life.run
        info = ended.ground.stage.catalog.job(run.version, run.job)
        wanted = {run.status.value} if outbox_of(run, info, run.status, False) else set[str]()
        if told[run.id] != wanted:
            yield f"run {run.id} is {run.status}; told were {sorted(told[run.id])}"


def _of_crew(ended: Ended) -> Iterator[str]:
    """Nobody ends but when told to, and no thread of theirs does with an error."""
    for member, journal in zip(ended.crew.members, ended.crew.journals(), strict=True):
        if member.how != "kill" and journal[-1:] and journal[-1]["what"] != "goodbye":
            yield f"process {member.serial} ended by itself; see {ended.ground.nursery.output}"
        for line in journal:
            if line["what"] == "thread died":
                yield f"process {member.serial}: thread {line['thread']} died of {line['error']}"


# Schedulers


def problems_of_schedulers(ended: Ended) -> list[str]:
    """Each fire is one run; nothing else is a run."""
    found = [*ended.stuck, *_of_crew(ended)]
    keys = Counter(run.idempotency_key for run in ended.runs)
    found += [f"the fire {key} has {number} runs" for key, number in keys.items() if number != 1]
    for name, fires in ended.fires.items():
        queued = {run.idempotency_key for run in ended.runs if run.schedule == name and run.idempotency_key}
        found += [f"the fire {key} has no run" for key in sorted(fires - queued)]
        newest = max(map(_time, fires))
        found += [f"{key} is no fire" for key in sorted(queued - fires) if _time(key) <= newest]
    total = sum(map(len, ended.fires.values()))
    if total < ended.ground.trial.fires:
        found.append(f"{total} fires of {ended.ground.trial.fires}")
    return found


def _time(key: str) -> float:
    return float(key.rpartition("@")[2])


# For those who look


def summary(ended: Ended) -> str:
    """What happened, in a line."""
    ends = Counter(run.status.value for run in ended.runs)
    how = Counter(member.how for member in ended.crew.members)
    told = Counter(
        line["told"] if line["told"] in ("accepted", "refused") else "unknown" for line in _told(ended, SAYS)
    )
    losses = sum(line["told"] == "refused" for line in _told(ended, {"renew"}))
    return (
        f"{ended.ground.house.name}: {len(ended.runs)} runs in {ended.seconds:.0f} s: {_words(ends)}; "
        f"{sum(run.attempt for run in ended.runs)} attempts; {len(ended.crew.members)} processes: {_words(how)}; "
        f"ends told: {_words(told)}; renewals refused: {losses}; "
        f"outages: {', '.join(f'{end - begin:.1f} s' for begin, end in ended.outages) or 'none'}"
    )


def _words(counts: Counter[Any]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items(), key=str))


def stale_refusals(ended: Ended) -> int:
    """How often a stale attempt was refused: its result, or its heartbeat. Which of the two comes first is chance."""
    return sum(line["told"] == "refused" for line in _told(ended, {*SAYS, "renew"}))
