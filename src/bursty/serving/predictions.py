"""The prediction log: answers become rows on a thread, off the way of requests.

Nothing is lost but what the counter ``dropped`` says, and what this process has in its memory when it is killed: the
answers of the last ``WAIT_SECONDS`` or so, more while the store fails. A good end begins with ``flush``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl

import msgspec

from bursty.core.answers import is_brief, is_piece, unpack_request
from bursty.core.matched import matched, without
from bursty.endpoints import AnswerKind, Log, Prediction
from bursty.errors import in_words
from bursty.ports.serving import PredictionStore
from bursty.values import Buffer

WAIT_SECONDS = 0.2
BATCH_ROWS = 1000
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
OVERHEAD = 500
"""Bytes that an answer costs while it waits, beside what it brings."""
UNREADABLE = "bursty could not read what the worker logged of this answer"

LogRow = tuple[float | None, float | None, msgspec.Raw, str | None, str | None, msgspec.Raw]
_log = msgspec.json.Decoder(list[LogRow])
_any = msgspec.json.Decoder()


class Logged(NamedTuple):
    """An answer as ``PredictionWriter.add`` was given it."""

    endpoint: str
    rules: Log
    request_id: str
    ts_ms: int
    version: str
    latency_ms: float
    answer: AnswerKind
    log: Buffer | None
    request: Buffer | None
    items: int | None
    first: int
    error: str | None


def _size(log: Buffer | None, request: Buffer | None) -> int:
    return OVERHEAD + (len(log) if log is not None else 0) + (len(request) if request is not None else 0)


@dataclass(frozen=True, slots=True)
class WriterCounts:
    """Answers since the beginning: ``added``, of these ``written`` and ``dropped``; the others wait. ``rows``: written
    predictions, of which an answer to a list has many. ``failures``: of the store.
    """

    added: int
    written: int
    dropped: int
    rows: int
    failures: int

    @property
    def waiting(self) -> int:
        return self.added - self.written - self.dropped


class PredictionWriter:
    """Writes what was answered to ``store``, in batches, on a thread of its own. Thread-safe.

    ``max_bytes``: the most that may wait; what comes on top of that is dropped, and counted. ``say``: told in words
    when the store begins to fail, when it works again, and what could not be written in the end.
    """

    def __init__(
        self,
        store: PredictionStore,
        *,
        max_bytes: int = 64 << 20,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._store = store
        self._say = say
        self._max = max_bytes
        self._waiting: deque[tuple[Any, ...]] = deque()  # the fields of ``Logged``, which costs more to make
        self._bytes = 0
        self._lock = threading.Lock()
        self._done = threading.Condition(self._lock)
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._added = self._written = self._dropped = self._rows = self._failures = 0
        self.problem = ""
        """Why the store took nothing the last time; empty when all is well."""

    def add(
        self,
        endpoint: str,
        rules: Log,
        request_id: str,
        ts_ms: int,
        version: str,
        latency_ms: float,
        answer: AnswerKind,
        *,
        log: Buffer | None = None,
        request: Buffer | None = None,
        items: int | None = None,
        first: int = 0,
        error: str | None = None,
    ) -> None:
        """Remember an answer, or some items of one. Costs about a microsecond.

        ``log``: the ``log`` of a worker's ``Answer``. Without one: ``request``, as from ``pack_request``, is what was
        asked; what was asked in very many words is not kept then. Neither may change any more. ``items``: how many
        items of a list these are, the first of them at position ``first`` (the request may be for these alone, see
        ``pack_piece``); ``None``: the request has no list. ``error``: why there is no value.
        """
        given = (endpoint, rules, request_id, ts_ms, version, latency_ms, answer, log, request, items, first, error)
        size = _size(log, request)
        with self._lock:
            self._added += 1
            if self._is_closed or self._bytes + size > self._max:
                self._dropped += 1
                return
            self._bytes += size
            self._waiting.append(given)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="bursty-predictions", daemon=True)
                self._thread.start()

    @property
    def counts(self) -> WriterCounts:
        """Until now."""
        with self._lock:
            return WriterCounts(self._added, self._written, self._dropped, self._rows, self._failures)

    def flush(self, timeout: float) -> bool:
        """Write what was added until now, at most so many seconds; tell whether all of it is written."""
        with self._done:
            target = self._added - self._dropped
            self._hurry.set()
            return self._done.wait_for(lambda: self._written >= target, timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """``flush``, and take nothing more: what could not be written is dropped. The store stays open."""
        flushed = self.flush(timeout)
        with self._lock:
            self._is_closed = True
            lost = self._added - self._written - self._dropped
            self._dropped += lost
            self._waiting.clear()
        self._hurry.set()
        if lost:
            self._say(f"{lost:,} answers are not in the prediction log: {self.problem or 'there was no time'}")
        if self._thread is not None and flushed:
            self._thread.join(timeout)
        return flushed

    # The thread

    def _write_all(self) -> None:
        rows = self._rows_of_all()
        pause = SHORTEST_PAUSE
        while not self._is_closed:
            self._hurry.wait(WAIT_SECONDS)
            self._hurry.clear()
            while batch := _next_batch(rows):
                while not self._write(batch):
                    self._hurry.wait(pause)
                    self._hurry.clear()
                    pause = min(2 * pause, LONGEST_PAUSE)
                    if self._is_closed:
                        return
                pause = SHORTEST_PAUSE

    def _rows_of_all(self) -> Iterator[tuple[Prediction, Logged | None] | None]:
        """Rows of what waits, each with the answer that it ends; ``None``: there are no more for now."""
        while True:
            if not self._waiting:
                yield None
                continue
            logged = Logged._make(self._waiting.popleft())
            try:
                made = rows_of(logged)
            except (ValueError, TypeError, LookupError, RecursionError) as error:  # one answer must not end the log
                made = [_row(logged, logged.request_id, error=f"{UNREADABLE}: {type(error).__name__}")]
            for number, row in enumerate(made, 1):
                yield row, logged if number == len(made) else None

    def _write(self, batch: Sequence[tuple[Prediction, Logged | None]]) -> bool:
        try:
            self._store.write([row for row, _ in batch])
        except Exception as error:  # whatever it is: it must not end the log
            self._failed(in_words(error))
            return False
        if self.problem:
            self._say("predictions can be logged again")
        ended = [logged for _, logged in batch if logged is not None]
        with self._done:
            self.problem = ""
            if not self._is_closed:  # else they were said to be dropped
                self._written += len(ended)
            self._rows += len(batch)
            self._bytes -= sum(_size(logged.log, logged.request) for logged in ended)
            self._done.notify_all()
        return True

    def _failed(self, why: str) -> None:
        if not self.problem:
            self._say(f"predictions can't be logged now, and wait: {why}")
        with self._lock:
            self._failures += 1
            self.problem = why


def _next_batch(
    rows: Iterator[tuple[Prediction, Logged | None] | None],
) -> Sequence[tuple[Prediction, Logged | None]]:
    batch: list[tuple[Prediction, Logged | None]] = []
    for row in rows:
        if row is None:
            break
        batch.append(row)
        if len(batch) >= BATCH_ROWS:
            break
    return batch


# From an answer to rows


def rows_of(logged: Logged) -> Sequence[Prediction]:
    """At least one."""
    if logged.log is not None and len(logged.log):
        try:
            return _rows_of_log(logged, _log.decode(logged.log))
        except msgspec.DecodeError:  # of which a ValidationError is one
            return [_row(logged, logged.request_id, error=logged.error or UNREADABLE)]
    asked = _asked(logged.request) if logged.request is not None else None
    if logged.items is None:
        return [_row(logged, logged.request_id, **_input(logged.rules, asked))]
    first = 0 if logged.request is not None and is_piece(bytes(logged.request[:1])) else logged.first
    each = cast("list[Any]", asked)[first : first + logged.items] if isinstance(asked, list) else []
    if len(each) != logged.items:
        each = [None] * logged.items
    return [
        _row(logged, f"{logged.request_id}/{logged.first + number}", **_input(logged.rules, one))
        for number, one in enumerate(each)
    ] or [_row(logged, logged.request_id)]


def _rows_of_log(logged: Logged, found: Sequence[LogRow]) -> Sequence[Prediction]:
    if logged.items is None and len(found) == 1:
        names = [logged.request_id]
    else:
        names = [f"{logged.request_id}/{logged.first + number}" for number in range(len(found))]
    return [
        _row(
            logged,
            name,
            score=score,
            threshold=threshold,
            decision=_text(decision),
            matched=key,
            error=error or logged.error,
            input=_text(given),
        )
        for name, (score, threshold, decision, key, error, given) in zip(names, found, strict=True)
    ] or [_row(logged, logged.request_id)]


def _row(logged: Logged, name: str, **more: Any) -> Prediction:
    more.setdefault("error", logged.error)
    return Prediction(
        name,
        logged.ts_ms,
        logged.endpoint,
        logged.version,
        latency_ms=logged.latency_ms,
        answer=logged.answer,
        **more,
    )


def _text(raw: msgspec.Raw) -> str | None:
    """JSON as it came."""
    text = bytes(raw).decode("utf-8", "replace")
    return None if text == "null" else text


def _asked(request: Buffer) -> Any:
    """What a request asks for, as plain data; ``None`` when it can't be read, or only by holding up the event loop, for
    decoding lets no other thread work."""
    try:
        query, body = unpack_request(bytes(request))
        if not is_brief(body):
            return None
        found = _any.decode(body) if body else None
    except (ValueError, RecursionError):  # a client may send anything
        return None
    fields = dict(parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True))
    if found is None:
        return fields or None
    return {**fields, **cast("dict[str, Any]", found)} if isinstance(found, dict) else found


def _input(rules: Log, asked: Any) -> dict[str, Any]:
    """The columns ``matched`` and ``input`` of what was asked."""
    if asked is None:
        return {}
    found: dict[str, Any] = {}
    if rules.key and isinstance(asked, dict):
        fields = cast("dict[str, Any]", asked)
        found["matched"] = matched({name: fields.get(name) for name in rules.key})
    if rules.inputs:
        found["input"] = msgspec.json.encode(without(asked, frozenset(rules.redact))).decode()
    return found
