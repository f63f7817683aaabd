"""What calls print, on the client's terminal: whole lines, each with the label of its call."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Literal

from bursty.values import Output

OutputMode = Literal["show", "hide"] | Callable[[str, str, str], None]
"""``show``: lines with their label on the client's stdout and stderr; a function gets (label, stream, text) as it
comes.
"""

LINE_LIMIT = 16 << 10
CALL_LIMIT = 256 << 10
"""Characters of one call that are shown; what comes after is counted."""


class Printer:
    """Puts pieces of text together to lines, per call and stream."""

    def __init__(self, mode: OutputMode, write: Callable[[str, str], None] | None = None) -> None:
        self._mode = mode
        self._write = write or _write
        self._held: dict[tuple[int, str], tuple[str, str]] = {}
        self._shown: dict[tuple[int, str], tuple[str, int]] = {}
        self._lock = threading.Lock()

    def take(self, label: str, event: Output) -> None:
        """One piece of text of one call."""
        if self._mode == "hide":
            return
        if callable(self._mode):
            self._mode(label, event.stream, event.text)
            return
        with self._lock:
            self._lines(label, event)

    def _lines(self, label: str, event: Output) -> None:
        key = (event.worker, event.stream)
        before, text = self._held.pop(key, (label, ""))
        if before != label and text:
            self._line(key, before, text)
            text = ""
        text += event.text
        *lines, rest = text.split("\n")
        for line in lines:
            self._line(key, label, line)
        while len(rest) > LINE_LIMIT:
            self._line(key, label, rest[:LINE_LIMIT])
            rest = rest[LINE_LIMIT:]
        if rest:
            self._held[key] = (label, rest)

    def _line(self, key: tuple[int, str], label: str, line: str) -> None:
        owner, shown = self._shown.get(key, ("", 0))
        shown = len(line) if owner != label else shown + len(line)
        self._shown[key] = (label, shown)
        if shown <= CALL_LIMIT:
            self._write(key[1], f"[{label}] {line}\n")
        elif shown - len(line) <= CALL_LIMIT:
            self._write(key[1], f"[{label}] … more output of this call is not shown\n")

    def flush(self, worker: int | None = None) -> None:
        """Show what has no line end yet: the worker is gone, or the executor closes."""
        with self._lock:
            for key in [key for key in self._held if worker in (None, key[0])]:
                label, text = self._held.pop(key)
                self._line(key, label, text)


def _write(stream: str, text: str) -> None:
    target = sys.stdout if stream == "stdout" else sys.stderr
    bar = sys.modules.get("tqdm")
    if bar is not None and target is not None:
        bar.tqdm.write(text, file=target, end="")  # a progress bar steps aside
    elif target is not None:
        target.write(text)
