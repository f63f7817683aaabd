"""When to leave something alone that fails. A rule: the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Breaker:
    """After ``failures`` in a row nobody asks for ``pause`` seconds; then one asks, and the others when that went well.
    Each further failure doubles the pause, up to ``longest``.
    """

    failures: int = 2
    pause: float = 0.5
    longest: float = 10.0
    failed_in_row: int = 0
    closed_until: float = 0.0
    """Nobody asks before."""

    @property
    def is_open(self) -> bool:
        return self.failed_in_row >= self.failures

    def may_ask(self, now: float) -> bool:
        """Whether to ask now. Who is told so while it is open is the one that tries: others wait for another pause."""
        if not self.is_open:
            return True
        if now < self.closed_until:
            return False
        self.closed_until = now + self._pause()
        return True

    def worked(self) -> None:
        self.failed_in_row = 0

    def failed(self, now: float) -> None:
        self.failed_in_row += 1
        if self.is_open:
            self.closed_until = now + self._pause()

    def _pause(self) -> float:
        return min(self.pause * 2.0 ** min(self.failed_in_row - self.failures, 30), self.longest)
