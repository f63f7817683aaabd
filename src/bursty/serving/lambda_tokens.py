"""Tokens on AWS Lambda: read when somebody gives one, for between two events no thread keeps anything up to date."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from bursty.core.tokens import Token
from bursty.serving.access import TokenBook, Verdict

EVERY_SECONDS = 30.0
"""A token that is revoked, or made, counts so after that time at the latest, and the time that reading takes."""
WAIT_SECONDS = 0.02
"""So long a request waits for that, while those known before still count."""
FIRST_WAIT_SECONDS = 5.0


class LambdaTokens(TokenBook):
    """``at_once``: some path needs a token, so they are read from the start. ``clock``: one that goes on while the
    instance is frozen.
    """

    def __init__(
        self,
        load: Callable[[], Sequence[Token]],
        *,
        at_once: bool = False,
        say: Callable[[str], None] = lambda _line: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(load, say=say, clock=clock)
        self._at_once = at_once
        self._now = clock
        self._read_at = 0.0
        self._reading: threading.Thread | None = None

    def start(self) -> None:
        """Wait for nothing."""
        if self._at_once:
            self._read()

    def check(self, header: bytes | None, needed: str, now: float) -> Verdict:
        """As for any book. What is old is read anew on a thread, and waited for a little."""
        if header is not None and self._now() - self._read_at >= EVERY_SECONDS:
            self._read().join(WAIT_SECONDS if self._read_at else FIRST_WAIT_SECONDS)
        return super().check(header, needed, now)

    def _read(self) -> threading.Thread:
        if self._reading is None or not self._reading.is_alive():
            self._reading = threading.Thread(target=self._read_once, name="bursty-tokens", daemon=True)
            self._reading.start()
        return self._reading

    def _read_once(self) -> None:
        begun = self._now()
        if self.refresh():
            self._read_at = begun
