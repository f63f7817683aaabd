"""What calls print, on the client's terminal: whole lines, each with the label of its call."""

from __future__ import annotations

import contextlib
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Literal, TextIO

from bursty.values import Output

OutputMode = Literal["show", "hide"] | Callable[[str, str, str], None]
"""``show``: lines with their label on the client's stdout and stderr; a function gets (label, stream, text) as it
comes.
"""

LINE_LIMIT = 16 << 10
CALL_LIMIT = 256 << 10
"""Characters of one call that are shown; what comes after is counted."""


_Call = tuple[str, int | None]
"""A label and the call's number on its worker: single calls of one function all have the label of a first call."""


class Printer:
    """Puts pieces of text together to lines, per call and stream."""

    def __init__(self, mode: OutputMode, write: Callable[[str, str], None] | None = None) -> None:
        self._mode = mode
        self._write = write or _write
        self._held: dict[tuple[int, str], tuple[_Call, str]] = {}
        self._shown: dict[tuple[int, str], tuple[_Call, int]] = {}
        self._broken = False
        self._lock = threading.Lock()

    def take(self, label: str, event: Output) -> None:
        """One piece of text of one call."""
        if self._mode == "hide":
            return
        if callable(self._mode):
            self._tell(self._mode, label, event)
            return
        with self._lock:
            self._lines(label, event)

    def _tell(self, function: Callable[[str, str, str], None], label: str, event: Output) -> None:
        """A user's function that raises must not take the calls with it: its first error is shown."""
        try:
            function(label, event.stream, event.text)
        except Exception:
            if not self._broken:
                self._broken = True
                words = traceback.format_exc()
                self._write("stderr", f"bursty: the function given as output= raised (shown once):\n{words}")

    def _lines(self, name: str, event: Output) -> None:
        key = (event.worker, event.stream)
        label = (name, event.seq)
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

    def _line(self, key: tuple[int, str], call: _Call, line: str) -> None:
        label = call[0]
        owner, shown = self._shown.get(key, (None, 0))
        shown = len(line) if owner != call else shown + len(line)
        self._shown[key] = (call, shown)
        if shown <= CALL_LIMIT:
            self._write(key[1], f"[{label}] {line}\n")
        elif shown - len(line) <= CALL_LIMIT:
            self._write(key[1], f"[{label}] … more output of this call is not shown\n")

    def flush(self, worker: int | None = None) -> None:
        """Show what has no line end yet: its call or its worker is over, or the executor closes."""
        if not self._held:
            return
        with self._lock:
            for key in [key for key in self._held if worker in (None, key[0])]:
                label, text = self._held.pop(key)
                self._line(key, label, text)


def show_lines(label: str, stream: str, text: str) -> None:
    """Text of a call that goes on for days, on the terminal or in the server's log, at once and without a limit."""
    for line in text.splitlines():
        _write(stream, f"[{label}] {line}\n")


def _write(stream: str, text: str) -> None:
    """On the driver's thread: a terminal that is gone or knows few characters must not end it."""
    target = sys.stdout if stream == "stdout" else sys.stderr
    if target is None:
        return
    with contextlib.suppress(OSError, ValueError):
        try:
            _put(target, text)
        except UnicodeEncodeError as error:
            _put(target, text.encode(error.encoding, "backslashreplace").decode(error.encoding))


def _put(target: TextIO, text: str) -> None:
    bar = getattr(sys.modules.get("tqdm"), "tqdm", None)  # none while another thread imports it
    if bar is not None:
        bar.write(text, file=target, end="")  # a progress bar steps aside
    else:
        target.write(text)
