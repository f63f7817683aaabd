"""PyWren's spelling: a program written for PyWren runs after changing one import.

    import bursty.interop.pywren as pywren

    wrenexec = pywren.default_executor()
    futures = wrenexec.map(square, [1, 2, 3, 4, 5, 36])
    pywren.get_all_results(futures)

As in PyWren, ``map`` gives a list of futures at once, each call has one argument, ``wait`` gives two lists, and a call
that exits is an error of its future. Otherwise than there, futures can be cancelled, results may be ``None``, ``wait``
wakes at once (no polling of storage), futures of several maps may be waited for together, and a future belongs to its
process: it can be an argument of another call, but it can't be pickled to a file.
"""

from __future__ import annotations

import concurrent.futures
import enum
import itertools
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from bursty.engine import executor as engine
from bursty.errors import ConfigError, SerializationError
from bursty.ports import ambient
from bursty.values import CallStats

T = TypeVar("T")

ALL_COMPLETED = 1
ANY_COMPLETED = 2
ALWAYS = 3


class JobState(enum.Enum):
    """How far a call is."""

    new = 1
    invoked = 2
    running = 3
    success = 4
    error = 5


class ResponseFuture(Generic[T]):
    """The future of one call. ``callset_id`` names its map, ``call_id`` its place there."""

    def __init__(self, call_id: str, callset_id: str, future: concurrent.futures.Future[T]) -> None:
        self.call_id = call_id
        self.callset_id = callset_id
        self.future = future

    def result(
        self,
        timeout: float | None = None,
        check_only: bool = False,
        throw_except: bool = True,
        storage_handler: object = None,
    ) -> T | None:
        """The call's value; waits for it, at most ``timeout`` seconds (``TimeoutError``).

        ``check_only``: ``None`` when it isn't there yet. ``throw_except=False``: ``None`` when the call failed.
        """
        if check_only and not self.future.done():
            return None
        try:
            return self.future.result(timeout)
        except BaseException:
            if throw_except or not self.future.done():
                raise
            return None

    def done(self) -> bool:
        """Whether the call has its outcome."""
        return self.future.done()

    def succeeded(self) -> bool:
        """Whether it gave a value. Doesn't wait."""
        return self.future.done() and not self._failed()

    def errored(self) -> bool:
        """Whether it raised, was lost, ran out of time or was cancelled. Doesn't wait."""
        return self.future.done() and self._failed()

    def _failed(self) -> bool:
        return self.future.cancelled() or self.future.exception() is not None

    def cancel(self, storage_handler: object = None) -> bool:
        """Drop the call; a running one is killed. Tells whether it has no outcome now."""
        return self.future.cancel()

    def cancelled(self) -> bool:
        return self.future.cancelled()

    def running(self) -> bool:
        return self.future.running()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raised, or ``None``; waits as ``result`` does."""
        return self.future.exception(timeout)

    def add_done_callback(self, fn: Callable[[ResponseFuture[T]], object]) -> None:
        """Call ``fn`` with this future when it is done."""
        self.future.add_done_callback(lambda _: fn(self))

    @property
    def state(self) -> JobState:
        """How far the call is."""
        if self.future.done():
            return JobState.error if self._failed() else JobState.success
        return JobState.running if self.future.running() else JobState.invoked

    _state = state  # so PyWren's own programs ask for it

    @property
    def stats(self) -> CallStats:
        """bursty's times of the call."""
        return getattr(self.future, "stats", CallStats())

    @property
    def run_status(self) -> dict[str, Any] | None:
        """What PyWren tells of the worker's side; ``None`` until done. Times are seconds since the epoch."""
        if not self.done():
            return None
        stats = self.stats
        return {
            "callset_id": self.callset_id,
            "call_id": self.call_id,
            "host_submit_time": stats.submitted,
            "start_time": stats.started,
            "setup_time": 0.0,
            "end_time": stats.finished,
            "exception": str(self.exception()) if self._failed() and not self.cancelled() else None,
            "runtime_cached": True,
        }

    @property
    def invoke_status(self) -> dict[str, Any] | None:
        """What PyWren tells of the client's side; ``None`` until done."""
        if not self.done():
            return None
        stats = self.stats
        return {
            "callset_id": self.callset_id,
            "call_id": self.call_id,
            "host_submit_time": stats.submitted,
            "lambda_invoke_timestamp": stats.queued,
            "status_done_timestamp": stats.done,
            "download_output_timestamp": stats.done,
            "status_query_count": 0,
        }

    def __reduce__(self) -> Any:
        return ResponseFuture, (self.call_id, self.callset_id, _Arrived(self.future))

    def __repr__(self) -> str:
        return f"<ResponseFuture {self.callset_id}/{self.call_id} {self.state.name}>"


class _Arrived:
    """A future that travels as an argument of another call: a slot, that is its value there."""

    def __init__(self, future: concurrent.futures.Future[Any]) -> None:
        self._future = future

    def __reduce__(self) -> Any:
        return _done_future, (self._future,)


def _done_future(value: Any) -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.set_result(value)
    return future


class _WithEnvironment:
    """A function with ``extra_env`` around it: variables that are set while it runs."""

    def __init__(self, function: Callable[..., Any], variables: Mapping[str, str]) -> None:
        self.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)
        self._function = function
        self._variables = {str(name): str(value) for name, value in variables.items()}

    def __call__(self, *args: Any) -> Any:
        before = {name: os.environ.get(name) for name in self._variables}
        os.environ.update(self._variables)
        try:
            return self._function(*args)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


_callsets = itertools.count(1)


def _callset_id() -> str:
    return f"{next(_callsets):05d}-{uuid.uuid4().hex[:12]}"


class Executor:
    """PyWren's executor on a bursty one, which is its ``executor``."""

    def __init__(self, executor: engine.Executor) -> None:
        self.executor = executor

    def call_async(
        self,
        func: Callable[[Any], T],
        data: Any,
        extra_env: Mapping[str, str] | None = None,
        extra_meta: Mapping[str, Any] | None = None,
    ) -> ResponseFuture[T]:
        """``func(data)`` elsewhere."""
        return self.map(func, [data], extra_env, extra_meta)[0]

    def map(
        self,
        func: Callable[[Any], T],
        iterdata: Iterable[Any],
        extra_env: Mapping[str, str] | None = None,
        extra_meta: Mapping[str, Any] | None = None,
        invoke_pool_threads: int = 64,
        data_all_as_one: bool = True,
        use_cached_runtime: bool = True,
        overwrite_invoke_args: Mapping[str, Any] | None = None,
        exclude_modules: Sequence[str] | None = None,
        module_dependencies_key: str | None = None,
    ) -> list[ResponseFuture[T]]:
        """A future of ``func(x)`` for each ``x``, at once. ``extra_env``: variables that calls see.

        The other options steer PyWren's transport; they are accepted and mean nothing here.
        """
        called: Callable[[Any], T] = _WithEnvironment(func, extra_env) if extra_env else func
        callset = _callset_id()
        futures = self._submit(called, list(iterdata))
        return [ResponseFuture(f"{number:05d}", callset, future) for number, future in enumerate(futures)]

    def _submit(self, func: Callable[[Any], T], items: list[Any]) -> Sequence[concurrent.futures.Future[T]]:
        try:
            return self.executor.submit_many(func, items)
        except SerializationError:  # futures among the inputs, perhaps: submit takes them one by one
            return [self.executor.submit(func, item) for item in items]

    def reduce(
        self,
        function: Callable[[list[Any]], T],
        list_of_futures: Iterable[ResponseFuture[Any]],
        extra_env: Mapping[str, str] | None = None,
        extra_meta: Mapping[str, Any] | None = None,
    ) -> ResponseFuture[T]:
        """A future of ``function(list of their results)``. Large results don't pass through here."""
        called: Callable[[list[Any]], T] = _WithEnvironment(function, extra_env) if extra_env else function
        results: list[Any] = [future.future for future in list_of_futures]
        return ResponseFuture("00000", _callset_id(), self.executor.submit(called, results))

    def map_reduce(
        self, map_func: Callable[[Any], Any], iterdata: Iterable[Any], reduce_func: Callable[[list[Any]], T]
    ) -> ResponseFuture[T]:
        """``reduce`` over a ``map``."""
        return self.reduce(reduce_func, self.map(map_func, iterdata))

    def get_logs(self, future: ResponseFuture[Any], verbose: bool = True) -> Any:
        """Calls' output is shown as it comes; there is no log of one call to fetch."""
        raise NotImplementedError(
            "the output of calls is shown as it comes, with their labels; there is no log to fetch"
        )


def default_executor(
    config: object = None,
    job_max_runtime: float | str | None = None,
    *,
    backend: str | engine.Executor | None = None,
    **options: Any,
) -> Executor:
    """An executor on ``backend``: a URL, a bursty Executor, or by default the ``with Executor(…)`` around, else the
    process's own. ``job_max_runtime``: seconds that a call may take. ``options``: see ``bursty.Executor.options``.
    ``config``, PyWren's, is accepted and means nothing here.
    """
    if job_max_runtime is not None:
        options["timeout"] = job_max_runtime
    if isinstance(backend, str):
        return Executor(engine.Executor(backend, **options))
    runner = ambient() if backend is None else backend
    if not isinstance(runner, engine.Executor):
        raise ConfigError(f"PyWren's spelling can't use {runner!r}", "Pass backend=.")
    return Executor(runner.options(**options) if options else runner)


lambda_executor = default_executor
remote_executor = default_executor
standalone_executor = default_executor
dummy_executor = default_executor


def wait(
    fs: Iterable[ResponseFuture[T]],
    return_when: int = ALL_COMPLETED,
    THREADPOOL_SIZE: int = 64,  # noqa: N803
    WAIT_DUR_SEC: float = 5,  # noqa: N803
    timeout: float | None = None,
) -> tuple[list[ResponseFuture[T]], list[ResponseFuture[T]]]:
    """Wait for all, for any or (``ALWAYS``) not at all; the done ones and the others, each in the order given.

    ``THREADPOOL_SIZE`` and ``WAIT_DUR_SEC`` are PyWren's for polling; nothing polls here. ``timeout``: seconds after
    which it returns what is done by then.
    """
    futures = list(fs)
    if return_when not in (ALL_COMPLETED, ANY_COMPLETED, ALWAYS):
        raise ValueError(f"return_when must be ALL_COMPLETED, ANY_COMPLETED or ALWAYS, not {return_when!r}")
    if return_when != ALWAYS:
        how = concurrent.futures.FIRST_COMPLETED if return_when == ANY_COMPLETED else concurrent.futures.ALL_COMPLETED
        concurrent.futures.wait([future.future for future in futures], timeout, how)
    done = [future.done() for future in futures]
    return (
        [future for future, is_done in zip(futures, done, strict=True) if is_done],
        [future for future, is_done in zip(futures, done, strict=True) if not is_done],
    )


def get_all_results(fs: Iterable[ResponseFuture[T]]) -> list[T | None]:
    """The value of each, when all are there; raises what a call raised."""
    futures = list(fs)
    wait(futures)
    return [future.result() for future in futures]
