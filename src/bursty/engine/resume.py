"""``resume="name"``: values of calls are put away as they come, so that a later run makes only the calls that are
missing.

A log per name: records, each ``size u32 | CRC-32 u32 | frame``, appended and never changed. The first one names the
function. A record that a crash cut off, or that was damaged, is dropped with all behind it when the log is opened. One
process writes a log at a time (flock). Failures are not put away: they are tried again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bursty.core.codec import FrameError, decode, encode, pack_payload, unpack_payload
from bursty.engine.block import Block, Failed, Result, Sealed, is_error, payload_of
from bursty.engine.code import label_of
from bursty.engine.fingerprint import fingerprint, fingerprint_function
from bursty.errors import BlobNotFound, ConfigError, ResumeMismatch, SerializationError, StoreError
from bursty.runtime.pickling import Parts
from bursty.values import Frame, Payload, Ref, Status

RECORD = struct.Struct("<II")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class ResumeLog:
    """The log of one name in the folder ``home``. Raises ``StoreError`` when it is in use or can't be written."""

    def __init__(self, home: Path, name: str, parts: Parts) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} can't be a resume name", "Use letters, digits, '.', '-' and '_'.")
        self.path = home / "resume" / f"{name}.log"
        self._name = name
        self._parts = parts
        self._known: dict[int, tuple[str, int, int]] = {}
        self._function: str | None = None
        self._lock = threading.Lock()  # results are put away by the driver's thread while another prepares a block
        self._file = self._open()
        try:
            self._end = self._load()
        except BaseException as error:
            os.close(self._file)
            if isinstance(error, OSError):
                raise self._store_error(error) from error
            raise

    def _open(self) -> int:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if self.path.exists() and os.path.samestat(os.fstat(file), self.path.stat()):
                        return file
                    os.close(file)  # pruned between opening and locking
                except BaseException:
                    os.close(file)
                    raise
        except BlockingIOError:
            raise StoreError(
                f"another process is using resume={self._name!r} now", "Wait for it, end it, or use another name."
            ) from None
        except OSError as error:
            raise self._store_error(error) from error

    def _store_error(self, error: OSError) -> StoreError:
        return StoreError(
            f"results of resume={self._name!r} can't be kept in {self.path}: {error.strerror or error}",
            "Make room or rights there, or set BURSTY_HOME to another folder.",
        )

    def _load(self) -> int:
        """Read what is there, cut off what a crash left half written, and give where the log ends."""
        good = 0
        while len(head := os.pread(self._file, RECORD.size, good)) == RECORD.size:
            size, check = RECORD.unpack(head)
            body = os.pread(self._file, size, good + RECORD.size)
            if len(body) < size or zlib.crc32(body) != check or not self._note(body, good + RECORD.size):
                break
            good += RECORD.size + size
        os.ftruncate(self._file, good)
        return good

    def _note(self, body: bytes, offset: int) -> bool:
        try:
            meta = decode(body).meta
        except FrameError:
            return False
        if "function" in meta:
            self._function = meta["function"]
        else:
            self._known[meta["index"]] = (meta["argument"], offset, len(body))
        return True

    def check(self, fn: Callable[..., Any]) -> None:
        """Raise ``ResumeMismatch`` when the log was begun with another function, or another source of it."""
        digest = self._digest_of_function(fn)
        if self._function is None:
            self._append([Frame({"function": digest, "label": label_of(fn)})])
            self._function = digest
        elif self._function != digest:
            raise ResumeMismatch(
                f"resume={self._name!r}: the source of {label_of(fn)!r} (or its defaults or closure) has changed",
                f"Its kept results may be wrong for it: use another name, or delete {self.path}.",
            )

    def prepare(self, block: Block, arguments: Sequence[Any]) -> None:
        """Give a block the results that are known, and have the others put away.

        Raises ``ResumeMismatch`` when an argument is not what it was at that position.
        """
        digests = [self._digest_of(block, index, argument) for index, argument in enumerate(arguments)]
        for index, digest in enumerate(digests):
            position = block.first + index
            if position not in self._known:
                continue
            argument, offset, size = self._known[position]
            if argument != digest:
                raise ResumeMismatch(
                    f"resume={self._name!r}: the argument of call {position} of {block.code.label} is not what it was",
                    f"Give the inputs in the same order, use another name, or delete {self.path}.",
                )
            result = self._read(offset, size)
            if result is not None:
                block.know(index, result)
        block.keep = lambda low, results: self._keep(block, digests, low, results)

    def _digest_of_function(self, fn: Callable[..., Any]) -> str:
        try:
            return fingerprint_function(fn)
        except Exception as error:
            raise SerializationError(
                f"function {label_of(fn)!r} has no fingerprint: {error}",
                "resume= needs functions whose defaults and closure are plain data or can be pickled.",
            ) from error

    def _digest_of(self, block: Block, index: int, argument: Any) -> str:
        try:
            return fingerprint(argument)
        except Exception as error:
            raise SerializationError(
                f"the argument of call {block.first + index} of {block.code.label} has no fingerprint: {error}",
                "resume= needs arguments that are plain data or can be pickled.",
            ) from error

    def _read(self, offset: int, size: int) -> Result | None:
        """The kept value; ``None`` when a large part of it was pruned since: the call is made again."""
        frame = decode(os.pread(self._file, size, offset))
        payload = unpack_payload(frame.meta["shape"], frame.parts)
        try:
            for part in payload.parts:
                if isinstance(part, Ref):
                    self._parts.get_part(part.digest, part.size)
        except BlobNotFound:
            return None
        return Sealed(Status.OK, payload, "", self._parts)

    def _keep(self, block: Block, digests: list[str], low: int, results: Sequence[Result]) -> Sequence[Result]:
        frames: list[Frame] = []
        for index, result in enumerate(results, low):
            if not is_error(result):
                payload = result.payload if isinstance(result, Sealed) else _plain(result)
                shape, parts = pack_payload(payload)
                position = block.first + index
                frames.append(Frame({"index": position, "argument": digests[index], "shape": shape}, parts))
        try:
            self._append(frames)
        except StoreError as error:
            return [Failed(error)] * len(results)
        return results

    def _append(self, frames: Sequence[Frame]) -> None:
        """All of them or, when that fails, none."""
        records, known = bytearray(), dict[int, tuple[str, int, int]]()
        with self._lock:
            for frame in frames:
                body = encode(frame)
                if "index" in frame.meta:
                    at = self._end + len(records) + RECORD.size
                    known[frame.meta["index"]] = (frame.meta["argument"], at, len(body))
                records += RECORD.pack(len(body), zlib.crc32(body))
                records += body
            try:
                self._write(records)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self._end)
                raise self._store_error(error) from error
            self._end += len(records)
            self._known.update(known)

    def _write(self, records: bytearray) -> None:
        done = 0
        with memoryview(records) as view:
            while done < len(records):
                done += os.pwrite(self._file, view[done:], self._end + done)

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1


def _plain(result: Result) -> Payload:
    assert not isinstance(result, Sealed | Failed)
    return payload_of(result)


def prune(home: str | os.PathLike[str], older_than: float, *, now: float | None = None) -> tuple[int, int]:
    """Remove logs that nobody wrote for ``older_than`` seconds and nobody uses; how many, and their bytes."""
    now = time.time() if now is None else now
    removed = size = 0
    folder = Path(home) / "resume"
    for path in sorted(folder.glob("*.log")) if folder.is_dir() else []:
        with open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            found = os.fstat(file.fileno())
            if now - found.st_mtime > older_than:
                path.unlink()
                removed += 1
                size += found.st_size
    return removed, size
