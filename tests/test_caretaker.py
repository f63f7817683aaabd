"""The worker's caretaker: what becomes of runs whose worker died for good, and who hears of it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from bursty.changes import EventDraft
from bursty.core import runstate
from bursty.errors import StoreError
from bursty.jobs.artefacts import read_manifest
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
        priority=0, notify=notify, schedules=(), once=False,
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


def ended_runs(state: MemoryState, *ids: str) -> None:
    """Runs that failed, each with a notice to send."""
    for name in ids:
        state.submit(RunRecord(name, "app", "job", "v", max_attempts=1), EventDraft("submitted", "ann"))
        [run] = state.claim("w", 60, 1)
        drafts = Outbox(state, MemoryBlobs(), lambda *_: None).drafts(run, job("failed"), "failed", False)
        state.change(runstate.finish(run, runstate.Ending("failed"), drafts))


def test_a_notice_that_raises_anything_holds_up_no_other() -> None:
    state, told = MemoryState(), list[str]()
    ended_runs(state, "bad", "good")

    def notify(run: RunRecord, _data: Any) -> None:
        if run.id == "bad":
            raise ZeroDivisionError("in a service's library")
        told.append(run.id)

    assert Outbox(state, MemoryBlobs(), notify).deliver() == 2
    assert told == ["good"]
    [left] = state.outbox("bad")
    assert left.error == "ZeroDivisionError: in a service's library"


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_damaged_manifest_is_told_in_words(content: bytes) -> None:
    blobs = MemoryBlobs()
    blobs.put("runs/run/1/manifest.json", content)
    with pytest.raises(StoreError, match=r"runs/run/1/manifest.json' is damaged"):
        read_manifest(blobs, RunRecord("run", "app", "job", "v", output="runs/run/1"))


def test_the_caretaker_survives_anything_and_a_listener_that_fails() -> None:
    troubles: list[Exception] = [ValueError("odd"), StoreError("away")]
    said: list[str] = []
    healed = threading.Event()

    class Moody(MemoryState):
        def expired(self, limit: int) -> Any:
            if troubles:
                raise troubles.pop()
            healed.set()
            return super().expired(limit)

    def say(line: str) -> None:
        said.append(line)
        raise BrokenPipeError

    state = Moody()
    caretaker = Caretaker(state, Outbox(state, MemoryBlobs(), None), "w", lambda _run: None, say)
    caretaker.start()
    assert healed.wait(30)
    caretaker.stop()
    assert ["away" in said[0], "ValueError: odd" in said[1]] == [True, True]
