"""What a worker and a scheduler do beside their own work: end those whose worker died for good, deliver the outbox.

A thread of its own, for a service that is slow to take a notice must hold up no run.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from bursty.core import runstate
from bursty.errors import StoreError, in_words
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
                self._tell(f"the state store could not be asked, trying again: {error.message}")
            except Exception as error:
                self._tell(f"lost runs and notices could not be looked after, trying again: {in_words(error)}")

    def _tell(self, words: str) -> None:
        with contextlib.suppress(Exception):  # a terminal that is gone, say, must not end the care
            self._say(words)

    def _reap(self) -> None:
        for run in self._state.expired(BATCH):
            end = "cancelled" if run.cancel_requested else "lost"
            drafts = self._outbox.drafts(run, self._known(run), end, False)
            change = runstate.reap(run, self._owner, self._state.skew, drafts)
            if change is not None and self._state.change(change)[0] is not None:
                self._tell(f"{run.job} {run.id}: {change.then['status']}")
