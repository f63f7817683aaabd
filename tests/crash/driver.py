"""The crash test: users ask for runs while workers are killed, stalled and replaced, and the store goes away twice.

``hit_workers`` and ``hit_schedulers`` do it, and give what is to be checked when it is over (``checks``). Everything
that is drawn comes from the trial's seed (``plan``); where processes are when a blow falls is up to the machine.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from bursty.errors import StoreError
from bursty.jobs.catalog import timetable_of
from bursty.jobs.scheduler import KIND, ScheduleInfo, Schedules
from bursty.records import Event, RunQuery, RunRecord
from crash import plan
from crash.crew import Crew
from crash.ground import Ground
from crash.plan import Blow, Order, Outage

USERS = 16
PAGE = 500


class Storm:
    """Does things at their times (seconds from the start), those ``aside`` in threads of their own."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Callable[[], Any], bool]] = []
        self._threads = ThreadPoolExecutor(USERS, "crash-user")
        self._asked: list[Future[Any]] = []
        self._began = time.monotonic()

    def at(self, seconds: float, do: Callable[[], Any], *, aside: bool = False) -> None:
        heapq.heappush(self._due, (seconds, next(self._numbers), do, aside))

    def now(self) -> float:
        return time.monotonic() - self._began

    def rage(self) -> None:
        """Until everything is done. Raises what went wrong."""
        with self._threads:
            self._began = time.monotonic()
            while self._due:
                seconds, _, do, aside = heapq.heappop(self._due)
                time.sleep(max(0.0, seconds - self.now()))
                if aside:
                    self._asked.append(self._threads.submit(do))
                else:
                    do()
        for asked in self._asked:
            asked.result()


@dataclass
class Ended:
    """What is left of a trial. ``ids``: of runs by the numbers of their orders. ``cancelled``: those that somebody
    wanted cancelled. ``outages``: when the store was away, by the monotonic clock. ``stuck``: open when nobody waited
    any longer."""

    ground: Ground
    crew: Crew
    ids: dict[int, str] = field(default_factory=dict[int, str])
    cancelled: set[str] = field(default_factory=set[str])
    outages: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    stuck: list[str] = field(default_factory=list[str])
    runs: Sequence[RunRecord] = ()
    events: dict[str, Sequence[Event]] = field(default_factory=dict[str, Sequence[Event]])
    fires: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    seconds: float = 0.0


def hit_workers(ground: Ground) -> Ended:
    """Ask for runs; hit workers and the store meanwhile; wait until everything is over and delivered."""
    trial, house = ground.trial, ground.house
    began = time.monotonic()
    ended = Ended(ground, ground.crew("worker", trial.workers))
    storm = Storm()
    for order in plan.orders(trial):
        storm.at(order.at, lambda order=order: _ask(ended, storm, order), aside=True)
    for blow in plan.blows(trial, house.skew):
        storm.at(blow.at, lambda blow=blow: ended.crew.hit(blow))
    for outage in plan.outages(trial):
        storm.at(outage.at, lambda outage=outage: _take_away(ended, storm, outage))
    storm.rage()
    if not _comes_true(lambda: _is_over(ground), trial.patience):
        ended.stuck = [f"{run.id} {run.status}" for run in ground.state.find(RunQuery(open_only=True, limit=PAGE))]
        ended.stuck += [f"outbox rows: {ground.state.pending().outbox}"]
    ended.crew.end()
    ended.runs = _all_runs(ended)
    ended.events = {run.id: ground.state.events(run.id) for run in ended.runs}
    ended.seconds = time.monotonic() - began
    return ended


def hit_schedulers(ground: Ground) -> Ended:
    """A thousand fires: most have been missed, the rest comes while schedulers work. All of these are killed and
    replaced, one after the other."""
    trial, state = ground.trial, ground.state
    began = time.monotonic()
    schedules = _miss(ground)
    since = {info.key: state.document(KIND, info.key).data["cursor"] for info in schedules}  # type: ignore[union-attr]
    ended = Ended(ground, ground.crew("scheduler", trial.schedulers))
    for share, place in plan.scheduler_kills(trial):
        _comes_true(lambda share=share: state.pending().due >= share * trial.fires, trial.patience)
        ended.crew.hit(Blow(0.0, "kill", place))
    now = time.time()

    def cursors() -> dict[str, float]:
        return {item.key: item.data["cursor"] for item in state.documents(KIND)}

    if not _comes_true(lambda: min(cursors().values()) > now, trial.patience):
        ended.stuck = [f"the schedules stand at {cursors()}, at {now} all should be past it"]
    ended.crew.end()
    for info in schedules:
        until = cursors()[info.key]
        fires = timetable_of(info.spec).fires_between(since[info.key], until, 100_000)
        ended.fires[info.key] = {f"bursty:schedule {info.key}@{fire:.3f}" for fire in fires}
    ended.runs = _all_runs(ended)
    ended.seconds = time.monotonic() - began
    return ended


def _miss(ground: Ground) -> Sequence[ScheduleInfo]:
    """Set schedules back, as if no scheduler had lived for some time."""
    stage, state = ground.stage, ground.state
    scheduler = stage.scheduler()
    scheduler.tick()
    schedules = Schedules(stage.runs, scheduler).list()
    for info in schedules:
        document = state.document(KIND, info.key)
        assert document is not None
        missed = ground.trial.fires / len(schedules) * (info.spec.every or 0.0)
        data = {**document.data, "cursor": document.data["cursor"] - missed}
        assert state.put_document(KIND, info.key, data, rev=document.rev) is not None
    return schedules


def _ask(ended: Ended, storm: Storm, order: Order) -> None:
    """As a user: again when the store is away, with the same key."""
    ground = ended.ground

    def ask() -> RunRecord:
        return ground.stage.runs.submit("crash", order.job, order.inputs, key=f"order {order.number}")

    run = _patiently(ask)
    ended.ids[order.number] = run.id
    if order.cancel_at is not None:
        ended.cancelled.add(run.id)
        time.sleep(max(0.0, order.cancel_at - storm.now()))
        _patiently(lambda: ground.stage.runs.cancel(run.id))


def _patiently(ask: Callable[[], RunRecord]) -> RunRecord:
    until = time.monotonic() + 120
    while True:
        try:
            return ask()
        except StoreError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _take_away(ended: Ended, storm: Storm, outage: Outage) -> None:
    """Not aside, for PostgreSQL ends with the thread that started it."""
    away = ExitStack()
    began = time.monotonic()
    away.enter_context(ended.ground.house.away(outage.hard))

    def give_back() -> None:
        away.close()
        ended.outages.append((began, time.monotonic()))

    storm.at(storm.now() + outage.seconds, give_back)


def _comes_true(what: Callable[[], bool], seconds: float) -> bool:
    """Whether it does within this time. Asked gently, for some stores take their time to answer."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        if what():
            return True
        time.sleep(0.1 + 3 * (time.monotonic() - began))
    return False


def _is_over(ground: Ground) -> bool:
    try:
        pending = ground.state.pending()
    except StoreError:
        return False
    return pending.idle and pending.outbox == 0


def _all_runs(ended: Ended) -> list[RunRecord]:
    """Those there are in the store."""
    state = ended.ground.state
    before: str | None = None
    found: list[RunRecord] = []
    while page := state.find(RunQuery(before=before, limit=PAGE)):
        found += page
        before = page[-1].id
    return found
