"""How waiting for due runs is woken inside a process."""

from __future__ import annotations

import threading


class Wakes:
    """Counts what may have made a run due. A thread that looked for runs and then waits is woken by what happened
    since it looked, so that nothing slips between the two; one that never looked is woken at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._here = threading.local()

    def wake(self) -> None:
        """End every ``wait``, and the next one of a thread that looked before this."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def looking(self) -> None:
        """This thread is about to look for runs."""
        self._here.count = self._count

    def wait(self, timeout: float) -> bool:
        """Wait at most so many seconds for a ``wake`` since this thread last looked or waited; tell if one came."""
        seen: int = getattr(self._here, "count", -1)
        with self._changed:
            woken = self._changed.wait_for(lambda: self._count != seen, timeout)
            self._here.count = self._count
        return woken
