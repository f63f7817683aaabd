"""Lines on standard error from what goes on for long: written by a thread, for a pager that nobody scrolls, or a pipe
that nobody reads, must hold up no request and no lease."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Generator
from typing import TextIO

CAPACITY = 10_000
"""Lines that may wait to be written."""


class Teller:
    """``capacity``: lines beyond so many that wait are dropped, and counted in a line of their own."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._waiting: deque[str] = deque()
        self._dropped = 0
        self._is_writing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def say(self, line: str, *, dated: bool = True) -> None:
        """A line, with its time in front. That nobody reads there any more ends nothing."""
        with self._changed:
            if len(self._waiting) >= self._capacity:
                self._dropped += 1
                return
            self._waiting.append(_dated(line) if dated else f"{line}\n")
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_writing, name="bursty-teller", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, patience: float = 2.0) -> bool:
        """Wait until all is written, at most so many seconds; tell whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_writing, patience)

    def _keep_writing(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                lines = [*self._waiting]
                self._waiting.clear()
                if self._dropped:
                    lines.append(_dated(f"{self._dropped:,} lines were dropped here: nobody read them in time"))
                    self._dropped = 0
                self._is_writing = True
            with contextlib.suppress(OSError, ValueError):  # nobody reads there any more
                _write("".join(lines), sys.stderr)


def _dated(line: str) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n"


def _write(text: str, file: TextIO) -> None:
    """Past the file's own buffer where that is possible: a thread that hangs in it would hang Python's end, too."""
    try:
        number = file.fileno()
    except (AttributeError, OSError, ValueError):
        file.write(text)
        file.flush()
        return
    file.flush()
    data = memoryview(text.encode("utf-8", "backslashreplace"))
    while data:
        data = data[os.write(number, data) :]


_teller = Teller()
say = _teller.say


@contextlib.contextmanager
def told() -> Generator[None]:
    """What was said inside is written when this ends, if somebody reads."""
    try:
        yield
    finally:
        _teller.flush()
