"""How many requests go in a batch, and whether it pays to wait for more. Pure; see ``core.deadline``."""

from __future__ import annotations

MEMORY = 0.95
"""How much of what was seen counts after one more batch."""
LEVEL_MEMORY = 0.9
HALF_LIFE = 0.5
"""Seconds in which half of a crowd is forgotten that doesn't come back."""
WAIT_PART = 0.5
"""Waiting never takes longer than this part of what a batch usually takes."""
OUTLIER = 8.0
LEAST_SPREAD = 0.05
"""Sizes that differ less (their variance, as a part of the squared mean) don't tell what one more costs."""


class Batches:
    """What batches of an endpoint cost, ``fixed + each * size`` seconds, and how many requests there are at a time."""

    def __init__(self, size: int, wait: float) -> None:
        self.size = size
        self.wait = wait
        self.level = 1.0
        """How many requests there usually are, waiting and being scored; forgotten by time, and batch by batch."""
        self._sent_at = 0.0
        self._weight = self._sizes = self._seconds = self._squares = self._products = 0.0

    def note(self, size: int, seconds: float) -> None:
        """A batch of so many took so long. One that hung counts as one that took long."""
        if self._weight:
            usual = max(self._seconds / self._weight, size * self._seconds / self._sizes)
            seconds = min(seconds, OUTLIER * usual)
        self._weight = MEMORY * self._weight + 1
        self._sizes = MEMORY * self._sizes + size
        self._seconds = MEMORY * self._seconds + seconds
        self._squares = MEMORY * self._squares + size * size
        self._products = MEMORY * self._products + size * seconds

    def costs(self) -> tuple[float, float] | None:
        """``fixed`` and ``each``, by least squares; ``None`` while sizes are too much alike to tell."""
        if not self._weight:
            return None
        mean = self._sizes / self._weight
        variance = self._squares / self._weight - mean * mean
        if variance < LEAST_SPREAD * mean * mean:
            return None
        usual = self._seconds / self._weight
        each = max((self._products / self._weight - mean * usual) / variance, 0.0)
        return max(usual - each * mean, 0.0), each

    def share(self, waiting: int, free: int) -> int:
        """How many to give to the next of ``free`` workers: all, unless the work of each one outweighs what every
        batch costs: then the workers share it."""
        costs = self.costs()
        if costs is None or free < 2:
            return min(waiting, self.size)
        fixed, each = costs
        workers = free if not fixed else max(1, min(free, int(each * waiting / fixed)))
        return min(-(-waiting // workers), self.size)

    def is_sent(self, present: int, now: float) -> None:
        """A batch goes; so many requests are there, with those that wait and those of other workers."""
        self.level = max(float(present), LEVEL_MEMORY * self._level_at(now))
        self._sent_at = now

    def _level_at(self, now: float) -> float:
        return self.level * 0.5 ** (max(now - self._sent_at, 0.0) / HALF_LIFE)

    def until(self, first: float, waiting: int, present: int) -> float:
        """Until when to wait for more, if nobody comes. ``first``: when the first of those that wait arrived."""
        if not self.wait or waiting >= self.size or present >= self._level_at(first) or not self._weight:
            return first
        return first + min(self.wait, WAIT_PART * self._seconds / self._weight)
