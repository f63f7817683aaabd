"""What calls took, kept within bounds, for ``executor.report()``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from bursty.engine.block import Block, CallLog
from bursty.values import CallStats

MAX_CALLS = 50_000


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call in a report: the function's name, the call's position, its times, whether it failed."""

    label: str
    index: int
    stats: CallStats
    failed: bool


class History:
    """The latest blocks, at most ``MAX_CALLS`` calls of them, without functions, arguments and values.

    ``dropped``: calls that were forgotten for later ones.
    """

    def __init__(self, limit: int = MAX_CALLS) -> None:
        self._limit = limit
        self._logs: deque[CallLog] = deque()
        self._calls = 0
        self.dropped = 0

    def note(self, block: Block) -> None:
        """Remember a block; forget the oldest ones beyond the limit."""
        self._logs.append(block.log)
        self._calls += block.log.size
        while self._calls > self._limit and len(self._logs) > 1:
            gone = self._logs.popleft()
            self._calls -= gone.size
            self.dropped += gone.size

    def grew(self) -> None:
        """A remembered block has one call more."""
        self._calls += 1

    def calls(self) -> list[CallRecord]:
        """Every remembered call that has an outcome, in the order of submission."""
        return [record for log in list(self._logs) for record in _records(log)]


def _records(log: CallLog) -> Iterator[CallRecord]:
    for run in list(log.runs):
        for index in range(run.low, run.high):
            yield CallRecord(log.label, log.first + index, run.stats(index, log.submitted), index in log.failed)
