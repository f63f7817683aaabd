"""How long things take, and how often something may be done."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW = 32


class Pace:
    """How long a request takes, from the latest: the median, so that a few that hang don't shift it."""

    def __init__(self, seconds: float | None = None) -> None:
        self._latest: deque[float] = deque(maxlen=WINDOW)
        self.seconds = seconds
        self._count = 0

    def note(self, seconds: float) -> None:
        self._latest.append(seconds)
        self._count += 1
        if self._count <= 8 or self._count % 8 == 0:
            self.seconds = sorted(self._latest)[len(self._latest) // 2]


@dataclass(slots=True)
class Budget:
    """A token bucket: ``rate`` a second, at most ``burst``."""

    rate: float
    burst: float
    tokens: float
    at: float

    def has(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        return self.tokens >= 1

    def take(self) -> None:
        self.tokens -= 1

    def wait(self) -> float:
        """Seconds until there is one."""
        return max(0.0, (1 - self.tokens) / self.rate)
