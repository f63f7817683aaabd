"""joblib on bursty's workers: ``with joblib.parallel_config("bursty", n_jobs=4): …``, and scikit-learn runs unchanged.

Options, all optional: ``url`` of the backend (``"local?workers=8"``), or ``executor``, one that exists; without them
the workers are those of the ``with Executor(…)`` around, else the process's own. ``memory`` of a worker, ``env``,
``timeout`` of a task (each is then sent alone), ``retries`` of a task that raised or timed out.

``n_jobs`` is how many tasks run at once, at most as many as there are workers; -1 (the default): as many. Inside a task
joblib runs in threads; with this backend named there again, one after the other. Workers stay warm between calls.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from contextvars import copy_context
from multiprocessing import TimeoutError as JoblibTimeout
from pickle import PicklingError
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from bursty.engine.executor import Executor
from bursty.errors import CallTimeout, ConfigError, MemoryLimit, SerializationError, WorkerLost
from bursty.ports import ambient
from bursty.runtime.host import current_host
from bursty.units import parse_seconds
from bursty.values import Env

_parallel: Any = importlib.import_module("joblib.parallel")
_loky: Any = importlib.import_module("joblib.externals.loky.process_executor")

if TYPE_CHECKING:  # joblib has no types

    class Base:
        nesting_level: int | None
        inner_max_num_threads: int | None

        def __init__(self, **options: Any) -> None: ...
        def compute_batch_size(self) -> int: ...
        def reset_batch_stats(self) -> None: ...

    class Terminated(RuntimeError): ...
else:

    class Base(_parallel.AutoBatchingMixin, _parallel.ParallelBackendBase):
        """joblib's own batching: tasks that take less than MIN_IDEAL_BATCH_DURATION travel together."""

    Terminated = _loky.TerminatedWorkerError


class TaskNotPicklable(SerializationError, PicklingError):
    """A task, its arguments or its result can't travel. What joblib's own backends raise, and bursty's words."""


class TaskLost(WorkerLost, Terminated):
    """The worker of a task died. What joblib's own backends raise, and bursty's words."""


class TaskOverMemory(MemoryLimit, Terminated):
    """The worker of a task went over its memory limit."""


class TaskTimeout(CallTimeout, JoblibTimeout):
    """A task ran longer than its ``timeout``. Also multiprocessing's error, which ``Parallel(timeout=…)`` raises."""


class BurstyBackend(Base):
    """What joblib calls; see the module for the options. Each ``Parallel`` gets a copy of its own."""

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1
    MIN_IDEAL_BATCH_DURATION = 0.1
    MAX_IDEAL_BATCH_DURATION = 1.0

    def __init__(
        self,
        url: str | None = None,
        *,
        executor: Executor | None = None,
        memory: int | str | None = None,
        timeout: float | str | None = None,
        retries: int | None = None,
        env: Env | None = None,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        if url is not None and executor is not None:
            raise ConfigError("url= and executor= exclude each other", "Give one of them.")
        self._place: dict[str, Any] = {"url": url, "executor": executor}
        self._options: dict[str, Any] = {"memory": memory, "timeout": timeout, "retries": retries, "env": env}
        parse_seconds(timeout)  # a mistake shows here, not in the middle of a fit
        self.parallel: Any = None
        self._executor: Executor | None = None
        self._limit: int | None = None
        self._call: _ParallelCall | None = None

    # What joblib asks

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many tasks run at once."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or current_host() is not None:
            return 1
        workers = _count(self._base())
        return min(n_jobs, workers) if n_jobs > 0 else max(workers + 1 + n_jobs, 1)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Get ready for a ``Parallel``. ``options``: of ``Parallel(…)``; those that are not ours mean nothing here."""
        if self.parallel is not parallel:
            raise _parallel.FallbackToBackend(self._copy(parallel, options))
        count = self.effective_n_jobs(n_jobs)
        if count == 1:
            raise _parallel.FallbackToBackend(_parallel.SequentialBackend(nesting_level=self.nesting_level))
        base = self._base()
        given = {name: value for name, value in self._options.items() if value is not None}
        self._executor = base.options(**given) if given else base
        self._limit = count if count < _count(base) else None
        return count

    def _copy(self, parallel: Any, options: dict[str, Any]) -> BurstyBackend:
        known = {**self._place, **self._options}
        changes = {name: value for name, value in options.items() if name in known and value is not None}
        if "url" in changes or "executor" in changes:
            known.update(url=None, executor=None)
        copy = BurstyBackend(**{**known, **changes}, nesting_level=self.nesting_level)
        copy.inner_max_num_threads = self.inner_max_num_threads
        copy.parallel = parallel
        return copy

    def _base(self) -> Executor:
        if self._place["executor"] is not None:
            return self._place["executor"]
        if self._place["url"] is not None:
            return _shared(self._place["url"])
        runner = ambient()
        if not isinstance(runner, Executor):
            raise ConfigError(f"joblib can't use {runner!r}", "Pass executor= or url=.")
        return runner

    def compute_batch_size(self) -> int:
        """Tasks with a time limit travel alone: it is theirs, not their batch's."""
        return 1 if self._options["timeout"] is not None else super().compute_batch_size()

    def start_call(self) -> None:
        """A call of the ``Parallel`` begins."""
        assert self._executor is not None
        self._call = _ParallelCall(self._executor, self._limit, self.inner_max_num_threads)

    def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> Any:
        """Run a batch; ``callback`` gets its future. Never raises: what can't be sent is a failed future."""
        assert self._call is not None
        return self._call.submit(func, callback)

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """What the batch gave, or raise what joblib's users expect."""
        try:
            return out.result()
        except SerializationError as error:
            raise TaskNotPicklable(error.message, error.hint) from error
        except MemoryLimit as error:
            raise TaskOverMemory(error.message, error.hint) from error
        except WorkerLost as error:
            raise TaskLost(error.message, error.hint) from error
        except CallTimeout as error:
            raise TaskTimeout(error.message, error.hint) from error

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """A task failed, or nobody wants the rest: running tasks are killed."""
        if self._call is not None:
            self._call.abort()

    def stop_call(self) -> None:
        """The call of the ``Parallel`` is over."""
        if self._call is not None:
            self._call.abort()
            self._call = None

    def terminate(self) -> None:
        """The ``Parallel`` is over. Workers stay, for the next one."""
        self.stop_call()
        self.reset_batch_stats()


class _Batch:
    """One batch of tasks on its way; ``future`` once it is with the engine."""

    __slots__ = ("callback", "future", "task")

    def __init__(self, task: Any, callback: Callable[[Any], Any] | None) -> None:
        self.task = task
        self.callback = callback
        self.future: Future[Any] | None = None


class _ParallelCall:
    """One call of a ``Parallel``: at most ``limit`` of its batches are with the engine.

    joblib's callbacks pull the user's generator, pickle and open values, so they run in a thread of their own, not in
    the engine's.
    """

    def __init__(self, executor: Executor, limit: int | None, threads: int | None) -> None:
        self._executor = executor
        self._limit = limit
        self._threads = threads
        self._lock = threading.Lock()
        self._waiting: deque[_Batch] = deque()
        self._flying: dict[_Batch, None] = {}
        self._over = False
        self._done: SimpleQueue[_Batch | None] = SimpleQueue()
        run = copy_context().run
        threading.Thread(target=run, args=(self._deliver,), name="bursty-joblib", daemon=True).start()

    def submit(self, task: Any, callback: Callable[[Any], Any] | None) -> _Batch:
        batch = _Batch(task, callback)
        with self._lock:
            self._waiting.append(batch)
        self._fill()
        return batch

    def _fill(self) -> None:
        while (batch := self._next()) is not None:
            future = self._send(batch.task)
            with self._lock:
                batch.future, batch.task = future, None
                over = self._over
            future.add_done_callback(lambda _, batch=batch: self._done.put(batch))
            if over:
                future.cancel()

    def _next(self) -> _Batch | None:
        with self._lock:
            if self._over or not self._waiting or (self._limit is not None and len(self._flying) >= self._limit):
                return None
            batch = self._waiting.popleft()
            self._flying[batch] = None
            return batch

    def _send(self, task: Any) -> Future[Any]:
        try:
            return self._executor.submit(Task(_name_of(task), self._threads), task)
        except Exception as error:
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed

    def _deliver(self) -> None:
        while (batch := self._done.get()) is not None:
            with self._lock:
                self._flying.pop(batch, None)
            self._fill()
            if batch.callback is not None:
                try:
                    batch.callback(batch.future)
                except Exception:
                    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
            del batch

    def abort(self) -> None:
        """Drop what waits, kill what runs, end the thread."""
        with self._lock:
            if self._over:
                return
            self._over = True
            self._waiting.clear()
            flying = [batch.future for batch in self._flying if batch.future is not None]
        for future in reversed(flying):  # the last ones first, so that none of them starts in the place of another
            future.cancel()
        self._done.put(None)


class Task:
    """Runs a batch in a worker. Named for the user's function, in reports, output and errors."""

    def __init__(self, name: str, threads: int | None) -> None:
        self.__qualname__ = name
        self.threads = threads

    def __call__(self, batch: Callable[[], Any]) -> Any:
        with _limited(self.threads):
            return batch()


def _limited(threads: int | None) -> Any:
    """``inner_max_num_threads`` for BLAS and OpenMP; without it workers have the limits that they began with."""
    if threads is None:
        return nullcontext()
    try:
        import threadpoolctl  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            "inner_max_num_threads needs the package 'threadpoolctl'", "pip install threadpoolctl"
        ) from error
    return threadpoolctl.threadpool_limits(limits=threads)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _name_of(batch: Any) -> str:
    """The name of the function of a batch's first task."""
    items = getattr(batch, "items", None)
    function = items[0][0] if items else batch
    return str(getattr(function, "__qualname__", type(function).__qualname__)).replace("<locals>.", "")


_counts: weakref.WeakKeyDictionary[Executor, int] = weakref.WeakKeyDictionary()
_executors: dict[tuple[int, str], Executor] = {}
_guard = threading.Lock()


def _count(executor: Executor) -> int:
    """How many workers it has at most."""
    if executor not in _counts:
        _counts[executor] = executor.report().workers
    return _counts[executor]


def _shared(url: str) -> Executor:
    """The process's executor for this URL: joblib makes a backend for each ``with``, workers outlive it."""
    key = os.getpid(), url
    with _guard:
        if key not in _executors:
            _executors[key] = Executor(url)
        return _executors[key]


_parallel.register_parallel_backend("bursty", BurstyBackend)
