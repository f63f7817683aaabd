"""How long things take, and how often something may be done."""

from __future__ import annotations

from collections import deque

WINDOW = 32
ALMOST = 1 - 1e-9
"""One, for numbers that were rounded."""


class Pace:
    """How long something takes, from the latest: the median, so that a few that hang don't shift it. ``most``: what
    seven of eight don't exceed."""

    def __init__(self, seconds: float | None = None) -> None:
        self._latest: deque[float] = deque(maxlen=WINDOW)
        self.seconds = self.most = seconds
        self._count = 0

    def note(self, seconds: float) -> None:
        self._latest.append(seconds)
        self._count += 1
        if self._count <= 8 or self._count % 8 == 0:
            latest = sorted(self._latest)
            self.seconds, self.most = latest[len(latest) // 2], latest[len(latest) * 7 // 8]


class Budget:
    """A token bucket: ``rate`` a second, up to ``burst``. It may hold more that were given to it."""

    def __init__(self, rate: float, burst: float, tokens: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = tokens
        self._at = now

    def set_rate(self, rate: float, now: float) -> None:
        self._fill(now)
        self._rate = rate

    def give(self, tokens: float) -> None:
        self._tokens += tokens

    def take(self, now: float) -> bool:
        """Take one, if there is one."""
        if self.when(now) > now:
            return False
        self._tokens -= 1
        return True

    def when(self, now: float) -> float:
        """The time at which there is one; ``now`` if there is."""
        self._fill(now)
        return now if self._tokens >= ALMOST else now + (1 - self._tokens) / self._rate

    def _fill(self, now: float) -> None:
        if self._tokens < self._burst:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
