"""Progress of long work: a tqdm bar in terminals and notebooks, nothing where nobody looks."""

from __future__ import annotations

import sys
import threading
from typing import Any

from bursty.engine.block import Block

DELAY_SECONDS = 0.5
STILL_LOOKS = 5
"""What has not changed is drawn anew at every fifth look: its rate and times have."""


class Progress:
    """Follows blocks. ``shown``: ``True``, ``False``, or ``None`` for: when stderr is a terminal or in a notebook."""

    def __init__(self, label: str, total: int | None, shown: bool | None) -> None:
        self.total = total
        self._label = label
        self._blocks: list[Block] = []
        self._past_done = 0
        self._past_failed = 0
        self._past_retries = 0
        self._seen: tuple[int, int, int, int | None] | None = None
        self._still = 0
        self._lock = threading.Lock()
        self._bar: Any = None
        self.shown = _is_watched() if shown is None else shown

    def watch(self, block: Block) -> None:
        if self.shown:
            self._blocks.append(block)

    def look(self) -> None:
        """Draw what is done now; called ten times a second, on the driver's thread."""
        with self._lock:
            if self.shown:
                self._draw()

    def _draw(self, *, last: bool = False) -> None:
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                total=self.total, desc=self._label, unit="call", delay=DELAY_SECONDS, smoothing=0.1, miniters=0
            )
        done, failed, retries = self._past_done, self._past_failed, self._past_retries
        for block in self._blocks:
            done += block.settled
            failed += block.errors
            retries += block.retries
        self._forget_finished()
        seen = done, failed, retries, self.total
        self._still = self._still + 1 if seen == self._seen else 0
        self._seen = seen
        if self._still % STILL_LOOKS and not last:
            return
        bar = self._bar
        if self.total is not None:
            bar.total = self.total
        notes = {name: count for name, count in (("failed", failed), ("retries", retries)) if count}
        if notes:
            bar.set_postfix(notes, refresh=False)
        bar.update(done - bar.n)

    def _forget_finished(self) -> None:
        while self._blocks and self._blocks[0].settled == len(self._blocks[0]):
            block = self._blocks.pop(0)
            self._past_done += block.settled
            self._past_failed += block.errors
            self._past_retries += block.retries

    def close(self) -> None:
        """Draw it a last time, and never again."""
        with self._lock:
            if self.shown and self._bar is not None:
                self._draw(last=True)
                self._bar.close()
            self.shown = False


def _is_watched() -> bool:
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None
