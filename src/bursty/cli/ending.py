"""Ctrl-C and its kin in the middle of a map: the workers are killed first, then everything else unwinds."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def heard_by(take: Callable[[int, Any], None], numbers: Iterable[signal.Signals] = SIGNALS) -> Generator[None]:
    """Inside, the signals that ask for an end, or these, call ``take``."""
    before = {number: signal.signal(number, take) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Ending:
    """Set by a signal. A signal must not raise inside the engine, which would go through all calls one by one: it has
    ``kill`` called on another thread, after which results are errors; ``check`` raises then. A second one raises."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._kill: Callable[[], None] | None = None
        self._killing = threading.Lock()
        self._reading = False

    @contextlib.contextmanager
    def killing(self, kill: Callable[[], None]) -> Generator[None]:
        """Inside, ``kill`` is how the work is stopped; whatever is raised there stops it first."""
        self._kill = kill
        try:
            yield
        except BaseException:
            self._stop()
            self.check()
            raise
        finally:
            self._kill = None

    def _stop(self) -> None:
        """Once: the others wait until it is done."""
        with self._killing:
            kill, self._kill = self._kill, None
            if kill is not None:
                kill()

    def check(self) -> None:
        """Raise when it was asked for: ``KeyboardInterrupt``, or ``SystemExit`` as the shell counts signals."""
        if self.number is not None:
            self._raise(self.number)

    def reading(self, rows: Iterable[Any]) -> Iterator[Any]:
        """The same rows; waiting for one can be ended."""
        source = iter(rows)
        while True:
            self._reading = True
            try:
                row = next(source)
            except StopIteration:
                return
            except (KeyboardInterrupt, SystemExit):
                self._stop()
                raise
            finally:
                self._reading = False
            yield row

    def listening(self) -> AbstractContextManager[None]:
        """Inside, signals come here."""
        return heard_by(self._take)

    def _take(self, number: int, _frame: object) -> None:
        again, self.number = self.number is not None, number
        if again or self._reading or self._kill is None:
            self._raise(number)
        threading.Thread(target=self._stop, name="bursty-ending", daemon=True).start()

    @staticmethod
    def _raise(number: int) -> NoReturn:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)
