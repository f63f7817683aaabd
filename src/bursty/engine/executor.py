"""``Executor``: calls on workers that come and go."""

from __future__ import annotations

import concurrent.futures
import inspect
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Sized
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from bursty.engine.block import Block, Failed, Options
from bursty.engine.code import Code, encode_function, is_constant, label_of, spec_of
from bursty.engine.encode import block_of_calls, block_of_items, block_of_tuples, columns_to_tuples, encode_with_futures
from bursty.engine.ending import end_at_exit, has_ended
from bursty.engine.futures import CallFuture, FutureBlock
from bursty.engine.maps import MapRun
from bursty.engine.output import OutputMode
from bursty.engine.progress import Progress
from bursty.engine.session import Session
from bursty.errors import BackendError, ConfigError
from bursty.ports import open_session, use_runner
from bursty.runtime.pickling import all_atoms
from bursty.runtime.totals import note_total
from bursty.units import parse_bytes, parse_seconds
from bursty.values import Call, Env, Layout, WorkerSpec

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")


class Executor(concurrent.futures.Executor):
    """A ``concurrent.futures.Executor`` whose workers are supervised processes, here or elsewhere.

    ``backend``: ``"local"``, ``"local?workers=8"``; ``None``: as the settings say. Inside a call: the client's workers.
    ``retries``: how often a call that raised or timed out is tried again. ``timeout``: seconds (or ``"10 min"``) that a
    call may take. ``memory``: bytes (or ``"2 GiB"``) that a worker may use. ``env``: the Env of its workers.
    ``version``: digest of the version whose code they run.
    ``idempotent``: see FunctionSpec. ``progress``: ``True``, ``False``; ``None``: in terminals and notebooks.
    ``output``: what becomes of text that calls print: ``"show"`` (with the call's label), ``"hide"``, or a function of
    (label, stream, text).

    What ``@app.function`` says of a function holds where the executor says nothing.
    """

    def __init__(
        self,
        backend: str | Session | None = None,
        *,
        retries: int | None = None,
        timeout: float | str | None = None,
        memory: int | str | None = None,
        env: Env | None = None,
        version: str | None = None,
        idempotent: bool | None = None,
        progress: bool | None = None,
        output: OutputMode = "show",
    ) -> None:
        self._session: Session = backend if isinstance(backend, Session) else open_session(backend, output=output)
        if retries is not None and retries < 0:
            raise ConfigError(f"retries must be 0 or more, not {retries}")
        self._retries = retries
        self._timeout = parse_seconds(timeout)
        self._memory = parse_bytes(memory)
        self._env = env
        self._version = version
        self._idempotent = idempotent
        self._progress = progress
        self._prepared: weakref.WeakKeyDictionary[Any, tuple[Code, Options]] = weakref.WeakKeyDictionary()
        self._growing: dict[str, FutureBlock] = {}
        self._later: set[CallFuture[Any]] = set()
        self._maps: weakref.WeakSet[MapRun] = weakref.WeakSet()
        self._stack = ExitStack()
        self._pid = os.getpid()
        self._is_derived = False
        self._session.hold()
        weakref.finalize(self, self._session.release).atexit = False
        end_at_exit(self)

    # concurrent.futures

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> CallFuture[T]:
        """One call. Futures of bursty among the arguments, at any depth, stand for their values."""
        code, options = self._prepare(fn)
        if not kwargs and all_atoms(args) and _is_small(args):
            return self._submit_plain(code, args, options)
        call, waits = encode_with_futures(code, args, kwargs, self._session.parts)
        if waits:
            return self._submit_later(code, call, waits, options)
        return self._futures_of(block_of_calls(code, [call], options))[0]

    def map(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        return_exceptions: bool = False,
        resume: str | None = None,
        progress: bool | None = None,
    ) -> Generator[T, None, None]:
        """``fn`` over inputs; results in input order.

        Sized inputs are submitted now; an iterator is pulled as results are read, at most ``buffersize`` inputs ahead.
        ``timeout``: seconds from now until ``TimeoutError`` (a call's own limit is the executor's ``timeout=``).
        ``chunksize`` is accepted and not needed. ``return_exceptions``: give what calls raised in their places.
        ``resume``: keep results under this name, so that a later run only makes the calls that are missing.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if not iterables:
            raise ConfigError("map needs at least one iterable of inputs")
        if len(iterables) == 1:
            return self._map(fn, iterables[0], block_of_items, timeout, buffersize, return_exceptions, resume, progress)
        inputs: Iterable[Any] = columns_to_tuples(iterables)
        if all(isinstance(iterable, Sized) for iterable in iterables):
            inputs = list(inputs)
        return self._map(fn, inputs, block_of_tuples, timeout, buffersize, return_exceptions, resume, progress)

    def starmap(
        self,
        fn: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        /,
        *,
        timeout: float | None = None,
        buffersize: int | None = None,
        return_exceptions: bool = False,
        resume: str | None = None,
        progress: bool | None = None,
    ) -> Generator[T, None, None]:
        """``fn(*args)`` for each ``args``; otherwise as ``map``."""
        inputs: Iterable[Any] = map(tuple, iterable)
        if isinstance(iterable, Sized):
            inputs = list(inputs)
        return self._map(fn, inputs, block_of_tuples, timeout, buffersize, return_exceptions, resume, progress)

    def submit_many(
        self, fn: Callable[[S], T], iterable: Iterable[S], /, *, resume: str | None = None
    ) -> list[CallFuture[T]]:
        """A future for each item: ``submit(fn, item)`` for all, at the cost of one."""
        code, options = self._prepare(fn)
        items = list(iterable)
        block = block_of_items(code, items, options, self._session.parts)
        if resume is not None:
            self._session.resume_log(resume, fn).prepare(block, items)
        return self._futures_of(block)

    def map_reduce(
        self,
        map_fn: Callable[[Any], Any],
        inputs: Iterable[Any],
        reduce_fn: Callable[..., Any],
        *,
        key: Callable[[Any], Any] | None = None,
        partitions: int | None = None,
    ) -> Any:
        """Map, then reduce on workers; large intermediate results don't pass through here.

        Without ``key``: ``reduce_fn([map_fn(x) for x in inputs])``.
        With it: ``map_fn`` gives items for each input; they are grouped by ``key(item)`` and the answer is the dict
        ``{k: reduce_fn(k, items of k)}``, reduced in ``partitions`` calls (default: two a worker).
        """
        from bursty.engine.shuffle import map_reduce

        workers = partitions or 2 * self._session.workers
        return map_reduce(self, map_fn, inputs, reduce_fn, key, workers)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End. ``wait``: first let all calls finish; ``cancel_futures``: cancel what has not begun, instead.

        One that ``options()`` gave only waits: the workers are those of the executor that it came from.
        """
        if cancel_futures:
            for future in list(self._later):
                future.cancel()
            self._session.cancel_pending()
        if wait:
            for run in list(self._maps) if not cancel_futures else ():
                run.drain()
            concurrent.futures.wait(list(self._later))
            self._session.engine.join()
        if self._is_derived:
            return
        if wait:
            self._session.close()
        else:
            self._session.close_when_done()
        has_ended(self)

    def kill(self) -> None:
        """End now: running calls are killed, their futures fail."""
        self._session.close()
        has_ended(self)

    def __enter__(self) -> Executor:
        self._stack.enter_context(use_runner(self))
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        self._stack.close()
        if kind is not None and not issubclass(kind, Exception):
            self.kill()  # Ctrl-C and the like: nobody waits
            return
        if kind is not None:
            for run in list(self._maps):
                run.stop()
        self.shutdown()

    # Beyond

    @property
    def workers(self) -> int:
        """How many calls run at once."""
        return self._session.workers

    def options(self, **changes: Any) -> Executor:
        """The same workers with other options: ``executor.options(retries=3).map(…)``."""
        options: dict[str, Any] = {
            "retries": self._retries,
            "timeout": self._timeout,
            "memory": self._memory,
            "env": self._env,
            "version": self._version,
            "idempotent": self._idempotent,
            "progress": self._progress,
        }
        unknown = set(changes) - set(options)
        if unknown:
            raise ConfigError(f"there is no option {', '.join(sorted(unknown))}", f"Known: {', '.join(options)}.")
        derived = Executor(self._session, **{**options, **changes})
        derived._is_derived = True
        return derived

    def report(self) -> Any:
        """What the calls so far took: a table, and the timeline as a picture. See ``bursty.engine.report.Report``."""
        from bursty.engine.report import Report

        return Report(self._session.history.calls(), self._session.workers)

    # Inside

    def _prepare(self, fn: Callable[..., Any]) -> tuple[Code, Options]:
        if os.getpid() != self._pid:
            raise BackendError("this executor belongs to the process that forked this one", "Make one here.")
        prepared = self._prepared.get(fn) if inspect.isfunction(fn) or inspect.isbuiltin(fn) else None
        if prepared is not None:
            return prepared
        options = self._options_for(fn)
        if options.worker.env is not None or options.worker.version is not None:
            self._session.build(options.worker)
        python = options.worker.env.python if options.worker.env else None
        code = encode_function(fn, self._session.parts, python)
        if code.module is not None and self._session.preloads:
            options = replace(options, worker=replace(options.worker, preload=(code.module,)))
        if is_constant(fn):
            self._prepared[fn] = code, options
        return code, options

    def _options_for(self, fn: Callable[..., Any]) -> Options:
        spec = spec_of(fn)
        worker = WorkerSpec(
            self._env if self._env is not None or spec is None else spec.env,
            self._memory if self._memory is not None or spec is None else spec.memory,
            self._session.depth,
            version=self._version,
        )
        retries = self._retries if self._retries is not None or spec is None else spec.retries
        timeout = self._timeout if self._timeout is not None or spec is None else spec.timeout
        idempotent = self._idempotent if self._idempotent is not None or spec is None else spec.idempotent
        return Options(retries or 0, timeout, idempotent, worker)

    def _futures_of(self, block: Block) -> list[CallFuture[Any]]:
        """Submit a block with a future for each call."""
        futures = FutureBlock(block, self._session.engine).futures()
        self.submit_block(block)
        return futures

    def _submit_plain(self, code: Code, args: tuple[Any, ...], options: Options) -> CallFuture[Any]:
        """A call with plain arguments; behind others of its function that still wait it joins their block."""
        growing = self._growing.get(code.digest)
        if growing is not None and growing.block.options == options:
            future = growing.grow(args)
            if future is not None:
                self._session.history.grew()
                return future
        growing = FutureBlock(Block(code, Layout.TUPLES, [args], options, time.time()), self._session.engine)
        [future] = growing.futures()
        self.submit_block(growing.block)
        self._growing[code.digest] = growing
        return future

    def _submit_later(self, code: Code, call: Call, waits: list[CallFuture[Any]], options: Options) -> CallFuture[Any]:
        """Make the call when the futures among its arguments are done."""
        engine = self._session.engine
        future: CallFuture[Any] = CallFuture(None, 0, engine)
        self._later.add(future)
        future.add_done_callback(lambda _: self._later.discard(future))
        missing = len(waits)
        guard = threading.Lock()

        def one_done(done: CallFuture[Any]) -> None:
            nonlocal missing
            with guard:
                missing -= 1
                if missing:
                    return
            try:
                self._submit_ready(code, call, waits, options, future)
            except BaseException as error:
                future.deliver(Failed(error))

        for wait in waits:
            wait.add_done_callback(one_done)  # pyright: ignore[reportArgumentType]
        return future

    def _submit_ready(
        self, code: Code, call: Call, waits: list[CallFuture[Any]], options: Options, future: CallFuture[Any]
    ) -> None:
        from bursty.engine.depend import payload_of

        slots = tuple(payload_of(wait) for wait in waits)
        block = block_of_calls(code, [Call(call.payload, slots, call.shown)], options)
        future.bind(block, 0)

        def deliver(low: int, high: int) -> None:
            if (result := block.results[0]) is not None:
                block.results[0] = b""
                future.deliver(result)

        block.on_settled = deliver
        if not future.cancelled():
            self.submit_block(block)
            if future.cancelled():  # in between
                self.cancel_block(block)

    def _map(
        self,
        fn: Callable[..., T],
        inputs: Iterable[Any],
        encode: Callable[..., Block],
        timeout: float | None,
        buffersize: int | None,
        return_exceptions: bool,
        resume: str | None,
        progress: bool | None,
    ) -> Generator[T, None, None]:
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        code, options = self._prepare(fn)
        total = len(inputs) if isinstance(inputs, Sized) else None
        shown = self._progress if progress is None else progress
        bar = Progress(label_of(fn), total, shown)
        log = None if resume is None else self._session.resume_log(resume, fn)

        def make(items: list[Any], first: int) -> Block:
            block = encode(code, items, options, self._session.parts, first)
            if log is not None:
                log.prepare(block, items)
            return block

        self._session.follow(bar)
        run = MapRun(
            self,
            make,
            inputs,
            buffersize=buffersize,
            timeout=timeout,
            return_exceptions=return_exceptions,
            progress=bar,
        )
        self._maps.add(run)
        results = run.results()
        if total is not None:
            note_total(results, total)
        return results

    def submit_block(self, block: Block) -> None:
        """Internal: begin the calls of a block."""
        self._session.history.note(block)
        self._session.engine.submit(block)

    def cancel_block(self, block: Block) -> None:
        """Internal: drop the calls of a block that have no outcome."""
        self._session.engine.cancel_block(block)


def _is_small(args: tuple[Any, ...]) -> bool:
    return all(not isinstance(arg, str | bytes) or len(arg) < 1 << 16 for arg in args)
