"""Tokens on AWS Lambda: read when somebody gives one, for between two events no thread keeps anything up to date."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bursty.serving.access import TokenBook

EVERY_SECONDS = 30.0
"""A token that is revoked, or made, counts so after that time at the latest, and the time that reading takes."""
WAIT_SECONDS = 0.02
"""So long a request waits for that, while those known before still count."""
FIRST_WAIT_SECONDS = 5.0


class TokenReader:
    """Reads ``book`` anew, on a thread, when what it knows is old. ``clock``: one that goes on while the instance is
    frozen; the book should have the same."""

    def __init__(self, book: TokenBook, clock: Callable[[], float] = time.time) -> None:
        self._book = book
        self._clock = clock
        self._read_at = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._read, name="bursty-tokens", daemon=True)
            self._thread.start()

    def freshen(self, authorization: bytes | None) -> None:
        """Before a request with this header is looked at."""
        if not authorization or self._clock() - self._read_at < EVERY_SECONDS:
            return
        self.start()
        assert self._thread is not None
        self._thread.join(WAIT_SECONDS if self._read_at else FIRST_WAIT_SECONDS)

    def _read(self) -> None:
        begun = self._clock()
        if self._book.refresh():
            self._read_at = begun
