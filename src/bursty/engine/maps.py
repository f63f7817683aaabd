"""Maps: results in input order, inputs pulled when there is room for them."""

from __future__ import annotations

import itertools
import pickle
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from typing import Any, Protocol

from bursty.engine.block import Block, is_error, open_result
from bursty.engine.progress import Progress

SLAB_SECONDS = 0.02
FIRST_SLAB = 64
MAX_SLAB = 8192
WINDOW_SLABS = 4
MAX_PULL = 256
"""Inputs pulled between two looks at the clock."""
_PLAIN = {bytes}
_NUMBERS = {int, float}


class Submitter(Protocol):
    """What a map needs of its executor."""

    def submit_block(self, block: Block) -> None: ...

    def cancel_block(self, block: Block) -> None: ...


class MapRun:
    """One map: its inputs not pulled yet, its blocks not delivered yet.

    ``make``: (inputs, position of the first) -> block. ``buffersize``: how many inputs may be pulled and not delivered;
    ``None``: all of a sized iterable at once, a window of an iterator.
    """

    def __init__(
        self,
        submitter: Submitter,
        make: Callable[[list[Any], int], Block],
        inputs: Iterable[Any],
        *,
        buffersize: int | None,
        timeout: float | None,
        return_exceptions: bool,
        progress: Progress,
    ) -> None:
        self._submitter = submitter
        self._make = make
        self._inputs: Iterator[Any] | None = iter(inputs)
        self._buffersize = buffersize
        self._until = None if timeout is None else time.monotonic() + timeout
        self._return_exceptions = return_exceptions
        self._progress = progress
        self._blocks: deque[Block] = deque()
        self._pulled = 0
        self._delivered = 0
        self._slab = FIRST_SLAB
        self.closed = False
        if isinstance(inputs, Sized) and buffersize is None:
            self._add(list(self._inputs))
            self._inputs = None
        else:
            self._pull_once()

    def _add(self, items: list[Any]) -> None:
        if items:
            block = self._make(items, self._pulled)
            self._pulled += len(items)
            self._blocks.append(block)
            self._progress.watch(block)
            self._submitter.submit_block(block)

    def _pull_once(self) -> bool:
        """Pull a slab of inputs if there is room, for no longer than a moment; tell whether there may be more room."""
        outstanding = self._pulled - self._delivered
        window = self._buffersize or WINDOW_SLABS * self._slab
        room = min(window - outstanding, self._slab)
        if self._is_dry() or room <= 0 or (self._buffersize is None and outstanding > window - self._slab):
            return False
        items = self._pull_slab(room)
        self._add(items)
        if not self._is_dry() and len(items) == self._slab:
            self._slab = min(2 * self._slab, MAX_SLAB)
        return True

    def _pull_until(self, is_there: Callable[[], bool]) -> None:
        """Keep workers busy; but once the next result is there, it goes first: inputs may come slowly."""
        while self._pull_once() and not is_there():
            pass

    def _is_dry(self) -> bool:
        return self._inputs is None

    def _pull_slab(self, room: int) -> list[Any]:
        inputs = self._inputs or iter(())
        items: list[Any] = []
        until = time.monotonic() + SLAB_SECONDS
        size = 1
        while len(items) < room:
            some = list(itertools.islice(inputs, min(size, room - len(items))))
            items.extend(some)
            size = min(2 * size, MAX_PULL)
            if not some:
                self._inputs = None
                self._progress.total = self._pulled + len(items)
            if not some or time.monotonic() > until:
                break
        return items

    def drain(self) -> None:
        """Pull all that is left: the executor closes, the results stay to be read."""
        while self._inputs is not None and not self.closed:
            self._add(self._pull_slab(MAX_SLAB))

    def stop(self) -> None:
        """Pull no more inputs; what was begun goes on."""
        self._inputs = None

    def results(self) -> Generator[Any, None, None]:
        """Values in input order. Closing it cancels what has no outcome, also when nothing was read."""
        results = self._results()
        next(results)  # only a generator that has begun runs its ``finally`` when it is closed
        return results

    def _results(self) -> Generator[Any, None, None]:
        try:
            yield None
            while self._blocks:
                block = self._blocks[0]
                index, size = 0, len(block)
                while index < size:
                    self._pull_until(lambda block=block, index=index: block.results[index] is not None)
                    taken = block.take(index, self._time_left())
                    index += len(taken)
                    self._delivered += len(taken)
                    self._pull_once()
                    yield from self._opened(taken)
                self._blocks.popleft()
        finally:
            self.close()

    def _opened(self, taken: list[Any]) -> Iterator[Any]:
        """Values of results; large ones are let go of one by one."""
        kinds = set(map(type, taken))
        if kinds <= _NUMBERS:
            return iter(taken)
        if kinds == _PLAIN:
            return map(pickle.loads, taken)
        taken.reverse()
        return (self._open(taken.pop()) for _ in range(len(taken)))

    def _open(self, result: Any) -> Any:
        if not (self._return_exceptions and is_error(result)):
            return open_result(result)
        try:
            return open_result(result)
        except Exception as error:  # Ctrl-C is nobody's result
            return error

    def _time_left(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def close(self) -> None:
        """Let go: pending calls are cancelled, inputs not pulled yet are left alone."""
        self.closed = True
        self._inputs = None
        self._progress.close()  # before: what is cancelled is not done
        for block in self._blocks:
            self._submitter.cancel_block(block)
            block.let_go()
        self._blocks.clear()
