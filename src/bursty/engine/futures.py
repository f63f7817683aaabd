"""bursty's futures: they are ``concurrent.futures.Future``s that open their value when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from typing import Any, Protocol, TypeVar

from bursty.engine.block import Block, Failed, Result, is_error, open_result
from bursty.engine.ending import note_interrupt
from bursty.errors import BackendError, SerializationError
from bursty.runtime.pickling import active_collector, take_slot
from bursty.values import CallStats

T = TypeVar("T")


class Canceller(Protocol):
    """What a future needs of its engine."""

    def is_driver(self) -> bool: ...

    def grow(self, block: Block, arguments: Any, added: Callable[[], None]) -> int | None: ...

    def cancel(self, block: Block, index: int) -> None: ...

    def is_running(self, block: Block, index: int) -> bool: ...


_UNOPENED = object()


class CallFuture(Future[T]):
    """The future of one call.

    It stays cancellable until its outcome: ``cancel()`` of a running call kills the call. ``stats`` tells its times.
    As an argument of another call it stands for its value, which then doesn't pass through the client when it is large.
    """

    def __init__(self, block: Block | None, index: int, engine: Canceller) -> None:
        super().__init__()
        self._block = block
        self._index = index
        self._engine = engine
        self._opened: Any = _UNOPENED

    def result(self, timeout: float | None = None) -> T:
        """The call's value. Raises what the call raised, ``CancelledError``, or ``TimeoutError`` after ``timeout``
        seconds.
        """
        if self._opened is _UNOPENED:
            self._opened = self._open(timeout)
        if isinstance(self._opened, _Raised):
            try:
                raise self._opened.error
            finally:
                self = None  # a traceback that holds the future would keep its value alive
        return self._opened

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raised, or ``None``. Raises ``CancelledError`` or ``TimeoutError`` as ``result`` does."""
        if self._opened is _UNOPENED:
            self._opened = self._open(timeout)
        return self._opened.error if isinstance(self._opened, _Raised) else None

    def _open(self, timeout: float | None) -> Any:
        if self._engine.is_driver() and not self.done():
            raise BackendError(
                "result() of a call that is not done, inside a done-callback, would wait for itself",
                "Give that call a callback too, or wait on another thread.",
            )
        try:
            sealed = self._sealed(timeout)
        except KeyboardInterrupt:
            note_interrupt()
            raise
        try:
            return open_result(sealed)
        except BaseException as error:
            return _Raised(error)

    def sealed(self) -> Result:
        """The outcome unopened; only when done and not cancelled."""
        return self._sealed(0)

    def _sealed(self, timeout: float | None) -> Result:
        try:
            found: Any = super().result(timeout)
        except _Bad as bad:
            bad.__traceback__ = None
            return bad.sealed
        return found

    def cancel(self) -> bool:
        """Cancel unless there is an outcome; a running call is killed. Waiters wake at once."""
        if self.cancelled():
            return True
        if not super().cancel():
            return False
        self.set_running_or_notify_cancel()
        if self._block is not None:
            self._engine.cancel(self._block, self._index)
        return True

    def running(self) -> bool:
        """Whether a worker is at it right now."""
        return self._block is not None and not self.done() and self._engine.is_running(self._block, self._index)

    def bind(self, block: Block, index: int) -> None:
        """The call could be made at last: what it waited for is there."""
        self._block, self._index = block, index

    def deliver(self, result: Result) -> None:
        """Called by the engine once; a cancelled future stays cancelled."""
        if isinstance(result, Failed) and isinstance(result.error, CancelledError):
            if not self.cancelled() and super().cancel():
                self.set_running_or_notify_cancel()
            return
        try:
            if is_error(result):
                self.set_exception(_Bad(result))  # who waits for the first exception is told by this alone
            else:
                self.set_result(result)  # pyright: ignore[reportArgumentType]
        except InvalidStateError:
            if not self.cancelled():
                raise

    @property
    def stats(self) -> CallStats:
        """Times, CPU seconds, memory, worker and attempt of the call; what isn't known yet is ``None``."""
        return self._block.stats(self._index) if self._block is not None else CallStats()

    def __reduce__(self) -> Any:
        collector = active_collector()
        if collector is None:
            raise SerializationError(
                "a future can't be pickled", "Pass it as an argument of another call, or pass its result()."
            )
        return take_slot, (collector.slot_of(self),)


class _Bad(BaseException):
    """Stands for an error that nobody has opened yet."""

    def __init__(self, sealed: Result) -> None:
        super().__init__()
        self.sealed = sealed


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class FutureBlock:
    """A block with a future for each of its calls."""

    def __init__(self, block: Block, engine: Canceller) -> None:
        self.block = block
        self._engine = engine
        self._waiting: list[CallFuture[Any] | None] = [CallFuture(block, index, engine) for index in range(len(block))]
        block.on_settled = self._deliver

    def futures(self) -> list[CallFuture[Any]]:
        """Those of all calls; before the block is submitted."""
        return [future for future in self._waiting if future is not None]

    def grow(self, arguments: Any) -> CallFuture[Any] | None:
        """One more call, with its future; ``None`` when the block does not wait any more."""
        future: CallFuture[Any] = CallFuture(self.block, len(self._waiting), self._engine)

        def added() -> None:
            future.bind(self.block, len(self._waiting))
            self._waiting.append(future)

        return future if self._engine.grow(self.block, arguments, added) is not None else None

    def _deliver(self, low: int, high: int) -> None:
        for index in range(low, high):
            future, self._waiting[index] = self._waiting[index], None
            result = self.block.results[index]
            if future is not None and result is not None:
                self.block.results[index] = b""  # the future has it, and the history needs none
                future.deliver(result)
