"""What calls took, kept within bounds, for ``executor.report()``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from bursty.engine.block import Block
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
    """The latest blocks, at most ``MAX_CALLS`` calls of them, without arguments and values."""

    def __init__(self, limit: int = MAX_CALLS) -> None:
        self._limit = limit
        self._blocks: deque[Block] = deque()
        self._calls = 0
        self.dropped = 0

    def note(self, block: Block) -> None:
        """Remember a block; forget the oldest ones beyond the limit."""
        self._blocks.append(block)
        self._calls += len(block)
        while self._calls > self._limit and len(self._blocks) > 1:
            gone = self._blocks.popleft()
            self._calls -= len(gone)
            self.dropped += len(gone)

    def grew(self) -> None:
        """A remembered block has one call more."""
        self._calls += 1

    def calls(self) -> list[CallRecord]:
        """Every remembered call that has an outcome, in the order of submission."""
        return [record for block in list(self._blocks) for record in _records(block)]


def _records(block: Block) -> Iterator[CallRecord]:
    for run in list(block.runs):
        for index in range(run.low, run.high):
            failed = index in block.failed
            yield CallRecord(block.code.label, block.first + index, run.stats(index, block.submitted), failed)
