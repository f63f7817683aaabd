"""``execute``: the only code that calls a user's function."""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn, Protocol, cast

from bursty.core.answers import WARM
from bursty.errors import BurstyError
from bursty.runtime.faults import encode_error, format_traceback
from bursty.runtime.host import importing
from bursty.runtime.journal import (
    COUNT,
    CURRENT,
    FIRST,
    FLOATS,
    FLUSH_SECONDS,
    INTS,
    KIND,
    LARGE,
    LIMIT,
    MAX_TURNS,
    NONES,
    PICKLES,
    RECORDS,
    SHORT_CALL,
    SMALL_VALUE,
    STARTED,
    Journal,
    Lane,
    peak_memory,
)
from bursty.runtime.pickling import Parts, dumps, loads
from bursty.runtime.recent import Recent
from bursty.values import Buffer, Invocation, Layout, Outcome, Payload, Status


class Functions:
    """The functions this worker has, by digest: each is sent and opened once."""

    def __init__(self, parts: Parts | None) -> None:
        self._parts = parts
        self._known: dict[str, Callable[..., Any]] = {}
        self._codes: dict[str, Payload] = {}
        self._recent = Recent()

    def learn(self, invocation: Invocation) -> None:
        """Take in the function that an invocation brings; forget the one not used for longest."""
        forgotten = self._recent.use(invocation.function)
        if forgotten is not None:
            self._known.pop(forgotten, None)
            self._codes.pop(forgotten, None)
        if invocation.code is not None and invocation.function not in self._known:
            parts = tuple(p if not isinstance(p, memoryview) else bytes(p) for p in invocation.code.parts)
            self._codes[invocation.function] = Payload(parts)

    def get(self, digest: str) -> Callable[..., Any]:
        """Raises what opening the function raised: a module that fails to import fails its calls, not the worker."""
        if digest not in self._known:
            with importing("the function's module"):
                self._known[digest] = loads(self._codes[digest], self._parts)
            del self._codes[digest]
        return self._known[digest]


def resolve(reference: str) -> Any:
    """The object that ``module:qualname`` names."""
    module, _, qualname = reference.partition(":")
    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return found


def execute(invocation: Invocation, journal: Journal, functions: Functions, parts: Parts | None = None) -> int:
    """Run the calls of an invocation one after the other; return the number of the first one not started.

    Every call that is started has its outcome recorded. Nothing that a call raises ends the loop.
    """
    functions.learn(invocation)
    runner = _Runner(journal, parts)
    try:
        function = functions.get(invocation.function)
        if invocation.layout is Layout.REQUESTS:
            requests = [bytes(cast("Buffer", call.payload.parts[0])) for call in invocation.calls]
            return runner.run_requests(cast(Any, function), invocation.seq, requests)
        arguments = _arguments(invocation, parts)
    except BaseException as error:
        return runner.fail_all(invocation, error)
    if invocation.layout is Layout.ITEMS:
        return runner.run_items(function, invocation.seq, arguments)
    return runner.run_calls(function, invocation.seq, arguments)


class RequestHandler(Protocol):
    """An endpoint in its worker; see ``runtime.endpoint``. What the user's code raises is an answer, too."""

    batched: bool

    def warm(self) -> bytes: ...

    def answer(self, request: bytes, /) -> bytes: ...

    def answer_together(self, requests: list[bytes], /) -> list[bytes]:
        """One answer for each request, where ``batched``."""
        ...


def _arguments(invocation: Invocation, parts: Parts | None) -> Any:
    if invocation.layout is Layout.ITEMS:
        return pickle.loads(invocation.packed)
    if invocation.layout is Layout.TUPLES:
        tuples: list[tuple[Any, ...]] = pickle.loads(invocation.packed)
        return [functools.partial(_positional, args) for args in tuples]
    return [lambda call=call: loads(call.payload, parts, call.slots) for call in invocation.calls]


_forked: list[bool] = []


def note_fork() -> None:
    """Called in every fork of a worker: should the function return there too, it answers nothing."""
    _forked.append(True)


def _leave_fork(error: BaseException | None = None) -> NoReturn:
    """End a fork as Python would have: the marks and the journal in shared memory are its parent's."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        sys.stderr.write(format_traceback(error))
    os._exit(code & 0xFF)


class _Runner:
    """Runs calls and records what they give."""

    def __init__(self, journal: Journal, parts: Parts | None) -> None:
        self.journal = journal
        self.parts = parts
        self.cpu = time.process_time()

    def fail_all(self, invocation: Invocation, error: BaseException) -> int:
        """The function or the packed arguments can't be opened: so says the outcome of each call."""
        for seq in range(invocation.seq, invocation.seq + invocation.count):
            now = time.monotonic()
            if not self._may_begin(seq, now):
                return seq
            self._error(seq, error, now, 0.0, 0.0)
        return invocation.seq + invocation.count

    def _may_begin(self, seq: int, now: float) -> bool:
        """Note that the call starts, unless the calls from here on were revoked."""
        self.journal.begin(seq, now)
        if seq < self.journal.limit():
            return True
        self.journal.idle()
        return False

    def run_items(self, function: Callable[..., Any], seq: int, items: list[Any]) -> int:
        """One plain argument a call."""
        lane = self.journal.lane
        if lane is None:
            return self.run_calls(function, seq, [functools.partial(_positional, (item,)) for item in items])
        return self._run_lane(lane, function, seq, items)

    def _run_lane(self, lane: Lane, function: Callable[..., Any], seq: int, items: list[Any]) -> int:  # noqa: C901
        """The hot path: every line here runs once a call, so nothing is called that can be written out."""
        words, floats, sizes, reals, write = lane.words, lane.floats, lane.sizes, lane.reals, lane.write
        add_start, add_end = lane.starts.append, lane.ends.append
        clock, kinds, forked, turns = time.monotonic, _KINDS, _forked, 0
        count: int = words[COUNT]
        started = clock()
        flush_at = started + FLUSH_SECONDS
        for item in items:
            floats[STARTED] = started
            words[CURRENT] = seq
            if seq >= words[LIMIT]:
                self.journal.idle()
                return seq
            try:
                value = function(item)
            except BaseException as error:
                if forked:
                    _leave_fork(error)
                self._error(seq, error, started, clock() - started, self._cpu_of(clock() - started))
                count, started, seq = words[COUNT], clock(), seq + 1
                continue
            if forked:
                _leave_fork()
            ended = clock()
            kind = kinds.get(type(value), LARGE)  # pyright: ignore[reportUnknownArgumentType]
            if (kind < FLOATS and (kind != INTS or not -MAX_INT < value < MAX_INT)) or turns > MAX_TURNS:
                kind = _kind_of(value, kind, turns)
            if kind == LARGE:
                self._record(seq, value, started, ended - started)
                count, started, seq = words[COUNT], clock(), seq + 1
                continue
            if not count:
                words[FIRST], words[KIND] = seq, kind
            elif count == RECORDS or ended > flush_at or kind != words[KIND]:
                turns += kind != words[KIND]
                lane.flush()
                count, flush_at = 0, ended + FLUSH_SECONDS
                words[FIRST], words[KIND] = seq, kind
            if kind == INTS:
                sizes[count] = value
            elif kind == FLOATS:
                reals[count] = value
            elif kind == PICKLES:
                data = pickle.dumps(value, 5)
                try:
                    write(data)
                except ValueError:  # no room
                    lane.flush()
                    write(data)
                    count, words[FIRST] = 0, seq
                sizes[count] = len(data)
            add_start(started)
            add_end(ended)
            if ended - started >= SHORT_CALL:
                lane.cpu.append((count, self._cpu_of(ended - started)))
            count += 1
            words[COUNT] = count
            started = ended
            seq += 1
        return seq

    def run_calls(self, function: Callable[..., Any], seq: int, calls: list[Callable[[], Any]]) -> int:
        """Arguments are opened call by call, so that what can't be opened fails its own call."""
        clock = time.monotonic
        for number, load in enumerate(calls):
            started = clock()
            if not self._may_begin(seq, started):
                return seq
            try:
                args, kwargs = load()
                calls[number] = _released
                started = clock()
                value = function(*args, **kwargs)
            except BaseException as error:
                if _forked:
                    _leave_fork(error)
                self._error(seq, error, started, clock() - started, self._cpu_of(clock() - started))
            else:
                if _forked:
                    _leave_fork()
                self._record(seq, value, started, clock() - started)
                del value
            args = kwargs = None
            seq += 1
        return seq

    def run_requests(self, endpoint: RequestHandler, seq: int, requests: list[bytes]) -> int:
        """Requests to an endpoint; all in one where it scores them together."""
        clock, first = time.monotonic, seq
        together = endpoint.batched and len(requests) > 1
        while seq < first + len(requests):
            started = clock()
            if not self._may_begin(seq, started):
                return seq
            try:
                if together:
                    answers = endpoint.answer_together(requests)
                else:
                    request = requests[seq - first]
                    answers = [endpoint.warm() if request == WARM else endpoint.answer(request)]
            except BaseException as error:
                if _forked:
                    _leave_fork(error)
                sys.stderr.write(format_traceback(error))
                count = len(requests) if together else 1
                for number in range(seq, seq + count):
                    self._error(number, error, started, clock() - started, self._cpu_of(clock() - started))
                seq += count
                continue
            if _forked:
                _leave_fork()
            wall = clock() - started
            cpu = self._cpu_of(wall)
            for answer in answers:
                self._answered(seq, answer, started, wall, cpu)
                seq, cpu = seq + 1, 0.0  # what a batch used counts once
        return seq

    def _answered(self, seq: int, answer: bytes, started: float, wall: float, cpu: float) -> None:
        if len(answer) < SMALL_VALUE:
            self.journal.value(seq, answer, started, wall, cpu)
        else:
            self.journal.outcome(Outcome(seq, Status.OK, Payload((answer,)), started, wall, cpu, peak_memory()))

    def _cpu_of(self, wall: float) -> float:
        if wall < SHORT_CALL:
            self.cpu += wall
            return wall
        now = time.process_time()
        used, self.cpu = now - self.cpu, now
        return max(used, 0.0)

    def _record(self, seq: int, value: Any, started: float, wall: float) -> None:
        cpu = self._cpu_of(wall)
        if type(value) in _SMALL_TYPES:
            data = pickle.dumps(value, 5)
            if len(data) < SMALL_VALUE:
                self.journal.value(seq, data, started, wall, cpu)
                return
        try:
            payload = dumps(value, self.parts, by_reference=True, borrow=True, what="the result")
        except BurstyError as error:
            self._error(seq, error, started, wall, cpu)
            return
        except BaseException as error:
            self._error(seq, error, started, wall, cpu, "while storing the result")
            return
        if len(payload.parts) == 1 and isinstance(payload.parts[0], bytes) and payload.size < SMALL_VALUE:
            self.journal.value(seq, payload.parts[0], started, wall, cpu)
            return
        self.journal.outcome(Outcome(seq, Status.OK, payload, started, wall, cpu, peak_memory()))

    def _error(self, seq: int, error: BaseException, started: float, wall: float, cpu: float, note: str = "") -> None:
        outcome = Outcome(seq, Status.ERROR, encode_error(error, note), started, wall, cpu, peak_memory())
        self.journal.outcome(outcome)


def _positional(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, {}


_KINDS: dict[type, int] = {
    int: INTS,
    float: FLOATS,
    type(None): NONES,
    bool: PICKLES,
    complex: PICKLES,
    str: PICKLES,
    bytes: PICKLES,
}
MAX_INT = 1 << 62


def _kind_of(value: Any, kind: int, turns: int) -> int:
    """The kind of a record for what is no plain number, or may not be one any more."""
    if kind == PICKLES and isinstance(value, str | bytes) and len(value) >= SMALL_VALUE:
        return LARGE
    return PICKLES if kind != LARGE and (turns > MAX_TURNS or kind == INTS) else kind


_SMALL_TYPES = frozenset({type(None), bool, int, float, complex, str, bytes})


def _released() -> Any:
    raise AssertionError("a call's arguments were opened twice")
