"""A run's log: what it prints, as lines with their times, in numbered chunks in the blob store, secrets left out.

runs/ID/ATTEMPT/log/000001.jsonl      {"at": 1763690000.123, "stream": "stdout", "text": "…"} a line
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from bursty.core.redact import Redactor
from bursty.jobs.artefacts import prefix_of
from bursty.ports import BlobStore

CHUNK_BYTES = 256 << 10
LINE_BYTES = 16 << 10
LIMIT_BYTES = 64 << 20
"""Text of one attempt that is kept; of what comes after only the end is."""
TAIL_CHARS = 16 << 10


class LogLine(msgspec.Struct, frozen=True):
    """``at``: seconds since the epoch. ``stream``: stdout, stderr, or log; ``level`` of what ``run.log`` wrote."""

    at: float
    stream: str
    text: str
    level: str = ""


@dataclass(slots=True)
class _Stream:
    """``held``: a line without its end. ``tail``: the newest text since the log is full, of ``beyond`` characters."""

    redactor: Redactor
    held: str = ""
    tail: str = ""
    beyond: int = 0


class LogWriter:
    """Takes text as it comes, writes chunks when told to ``flush``. Thread-safe."""

    def __init__(
        self,
        blobs: BlobStore,
        prefix: str,
        secrets: tuple[str, ...],
        *,
        clock: Callable[[], float] = time.time,
        limit: int = LIMIT_BYTES,
    ) -> None:
        self._blobs = blobs
        self._prefix = prefix
        self._secrets = secrets
        self._redactor = Redactor(secrets)
        self._clock = clock
        self._limit = limit
        self._streams: dict[str, _Stream] = {}
        self._lines: list[LogLine] = []
        self._held = 0
        self._kept = 0
        self._is_full = False
        self._chunks = 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    @property
    def waiting(self) -> bool:
        """Whether there are lines that no chunk holds yet."""
        return bool(self._lines)

    @property
    def full(self) -> bool:
        """Whether a chunk is due without waiting for its time."""
        return self._held >= CHUNK_BYTES

    def write(self, stream: str, text: str) -> None:
        """Text that was printed, in pieces of any size."""
        with self._lock:
            source = self._stream(stream)
            if self._is_full:
                self._beyond(source, text)
            else:
                self._split(stream, source, source.redactor.feed(text))

    def line(self, text: str, level: str) -> None:
        """What ``run.log`` says: a line of its own."""
        clean = self._redactor.redact(text)[:LINE_BYTES]
        with self._lock:
            if self._is_full:
                self._beyond(self._stream("log"), clean + "\n")
            else:
                self._add(LogLine(self._clock(), "log", clean, level))

    def _stream(self, name: str) -> _Stream:
        if name not in self._streams:
            self._streams[name] = _Stream(Redactor(self._secrets))
        return self._streams[name]

    def _beyond(self, source: _Stream, text: str) -> None:
        source.beyond += len(text)
        source.tail = (source.tail + text)[-TAIL_CHARS:]

    def _split(self, stream: str, source: _Stream, text: str) -> None:
        *lines, rest = (source.held + text).split("\n")
        for line in lines:
            for start in range(0, max(len(line), 1), LINE_BYTES):
                self._add(LogLine(self._clock(), stream, line[start : start + LINE_BYTES]))
        while len(rest) > LINE_BYTES:
            self._add(LogLine(self._clock(), stream, rest[:LINE_BYTES]))
            rest = rest[LINE_BYTES:]
        source.held = rest

    def _add(self, line: LogLine) -> None:
        size = len(line.text) + 64
        self._is_full = self._is_full or self._kept + size > self._limit
        self._kept += size
        self._held += size
        self._lines.append(line)

    def flush(self) -> None:
        """Write what is held, in chunks. Raises ``StoreError``; the lines are kept then and written next time."""
        with self._writing:
            while self._write_chunk():
                pass

    def _write_chunk(self) -> bool:
        with self._lock:
            lines, size = list[LogLine](), 0
            for line in self._lines:
                if size > CHUNK_BYTES:
                    break
                lines.append(line)
                size += len(line.text) + 64
        if lines:
            body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
            self._blobs.put(f"{self._prefix}/{self._chunks + 1:06d}.jsonl", body)
            with self._lock:
                self._chunks += 1
                del self._lines[: len(lines)]
                self._held -= size
        return bool(lines)

    def close(self) -> None:
        """The attempt is over: write everything. Raises ``StoreError``."""
        with self._lock:
            for name, source in self._streams.items():
                self._split(name, source, source.redactor.flush() + ("\n" if source.beyond else ""))
                if source.beyond:
                    words = f"[… {source.beyond} characters more, of which these are the last: a log holds "
                    words += f"{self._limit >> 20} MiB …]"
                    self._split(name, source, f"{words}\n{self._redactor.redact(_whole_lines(source.tail))}")
                if source.held:
                    self._add(LogLine(self._clock(), name, source.held))
                source.held, source.tail, source.beyond = "", "", 0
        self.flush()

    def last_lines(self, count: int = 20) -> list[str]:
        """The newest lines that no chunk holds yet: for errors."""
        with self._lock:
            return [line.text for line in self._lines[-count:]]


def _whole_lines(tail: str) -> str:
    """Without its beginning, which may be the end of a secret."""
    _, end, rest = tail.partition("\n")
    return rest if end else tail[TAIL_CHARS // 4 :]


def read_log(blobs: BlobStore, prefix: str, after: int = 0) -> Iterator[list[LogLine]]:
    """An attempt's lines, chunk by chunk, from the chunk behind number ``after`` on."""
    decoder = msgspec.json.Decoder(LogLine)
    number = after + 1
    while blobs.head(key := f"{prefix}/{number:06d}.jsonl") is not None:
        yield [decoder.decode(raw) for raw in blobs.get(key).splitlines()]
        number += 1


class Tail:
    """What is new in a run's log since the last look, through all its attempts from ``attempt`` on."""

    def __init__(self, blobs: BlobStore, run: str, attempt: int = 1) -> None:
        self._blobs = blobs
        self._run = run
        self._attempt = attempt
        self._chunk = 0

    def read(self, newest: int) -> Iterator[LogLine]:
        """``newest``: the number of the run's newest attempt."""
        while self._attempt <= newest:
            for lines in read_log(self._blobs, f"{prefix_of(self._run, self._attempt)}/log", self._chunk):
                self._chunk += 1
                yield from lines
            if self._attempt == newest:
                return
            self._attempt, self._chunk = self._attempt + 1, 0
