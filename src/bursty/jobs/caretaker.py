"""What a worker does beside its runs: end those whose worker died for good, deliver the outbox.

A thread of its own, for a service that is slow to take a notice must hold up no run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from bursty.core import runstate
from bursty.errors import StoreError
from bursty.jobs.catalog import JobInfo
from bursty.jobs.outbox import Outbox
from bursty.ports import StateStore
from bursty.records import RunRecord

LOOK_SECONDS = 1.0
END_SECONDS = 60.0
"""How long the end of a worker waits for a delivery under way."""
BATCH = 50


class Caretaker:
    """Looks around every second, sooner when poked. ``known``: the job of a run, if its version can be read."""

    def __init__(
        self,
        state: StateStore,
        outbox: Outbox,
        owner: str,
        known: Callable[[RunRecord], JobInfo | None],
        say: Callable[[str], None],
    ) -> None:
        self._state = state
        self._outbox = outbox
        self._owner = owner
        self._known = known
        self._say = say
        self._ending = False
        self._poked = threading.Event()
        self._thread = threading.Thread(target=self._care, name="bursty-caretaker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def poke(self) -> None:
        """There may be something to deliver."""
        self._poked.set()

    def stop(self) -> None:
        """End, with a last look."""
        self._ending = True
        self._poked.set()
        self._thread.join(END_SECONDS)

    def _care(self) -> None:
        last = False
        while not last:
            self._poked.wait(LOOK_SECONDS)
            self._poked.clear()
            last = self._ending
            try:
                self._reap()
                while self._outbox.deliver():
                    pass
            except StoreError as error:
                self._say(f"the state store could not be asked, trying again: {error.message}")

    def _reap(self) -> None:
        for run in self._state.expired(BATCH):
            end = "cancelled" if run.cancel_requested else "lost"
            drafts = self._outbox.drafts(run, self._known(run), end, False)
            change = runstate.reap(run, self._owner, self._state.skew, drafts)
            if change is not None and self._state.change(change)[0] is not None:
                self._say(f"{run.job} {run.id}: {change.then['status']}")
