"""The worker's caretaker: what becomes of runs whose worker died for good, and who hears of it."""

from __future__ import annotations

import pytest

from bursty.changes import EventDraft
from bursty.core import runstate
from bursty.jobs.caretaker import Caretaker
from bursty.jobs.catalog import JobInfo
from bursty.jobs.outbox import Outbox
from bursty.records import RunRecord, RunStatus
from bursty.stores.blobs import MemoryBlobs
from bursty.stores.memory import MemoryState
from bursty.testing import FakeClock


def job(*notify: str) -> JobInfo:
    """One whose ends people want to hear of."""
    return JobInfo(
        app="app", name="job", title="", description="", version="v", target="app.py", reference="app:job",
        form={"fields": [], "custom": False}, env=None, memory=None, timeout=None, retries=0, max_attempts=1,
        priority=0, notify=notify, schedules=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("known", "cancelled", "told"),
    [
        (job("cancelled", "lost"), True, ["cancelled"]),
        (job("cancelled", "lost"), False, ["lost"]),
        (job(), False, []),
        (None, True, []),
        (None, False, ["lost"]),
    ],
)
def test_who_hears_of_a_run_whose_worker_died(known: JobInfo | None, cancelled: bool, told: list[str]) -> None:
    clock, ends = FakeClock(), list[str]()
    state = MemoryState(clock=clock)
    state.submit(RunRecord("run", "app", "job", "v", max_attempts=1), EventDraft("submitted", "ann"))
    [run] = state.claim("dead", 60, 1)
    if cancelled:
        change = runstate.cancel(run, "ann")
        assert change is not None
        state.change(change)
    outbox = Outbox(state, MemoryBlobs(), lambda _run, data: ends.append(data["end"]))
    clock.advance(61)
    caretaker = Caretaker(state, outbox, "w", lambda _run: known, lambda _line: None)
    caretaker.start()
    caretaker.stop()
    after = state.get("run")
    assert after is not None
    assert after.status == (RunStatus.CANCELLED if cancelled else RunStatus.LOST)
    assert ends == told
