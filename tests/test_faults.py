"""Faults in a large map, and a store that fails: exactly what is broken fails, and says why."""

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bursty import CallTimeout, Executor, MemoryLimit, WorkerLost
from bursty.errors import DigestMismatch, StoreError
from bursty.testing import die, fake_session
from bursty.values import Loss
from conformance.backend import hold, negate, wait_until

CALLS = 1200
MIB = 1 << 20


def faulty(number: int) -> int:
    """One call in a hundred ends its worker, in one of six ways by turns."""
    if number % 100 == 37:
        match number // 100 % 6:
            case 0:
                os.kill(os.getpid(), signal.SIGKILL)
            case 1:
                os._exit(5)
            case 2:
                ctypes.string_at(0)
            case 3:
                return len(b"x" * (600 * MIB))
            case 4:
                while True:
                    pass
            case _:
                ctypes.PyDLL(None).sleep(1000)
    return number * number


EXPECTED: list[tuple[type[BaseException], str]] = [
    (WorkerLost, "SIGKILL"),
    (WorkerLost, "exited with code 5"),
    (WorkerLost, "SIGSEGV"),
    (MemoryLimit, "memory limit of 200 MiB"),
    (CallTimeout, "time limit of 1 s"),
    (CallTimeout, "time limit of 1 s"),
]


@pytest.mark.skipif(sys.platform != "linux", reason="kills by Linux's means")
def test_of_a_thousand_calls_exactly_the_faulty_ones_fail(folder: Path) -> None:
    with Executor("local?workers=2", output="hide", memory="200 MiB", timeout=1.0) as executor:
        found: list[Any] = list(executor.map(faulty, range(CALLS), return_exceptions=True))
    for number, value in enumerate(found):
        if number % 100 != 37:
            assert value == number * number
            continue
        kind, words = EXPECTED[number // 100 % 6]
        assert type(value) is kind
        assert words in str(value)
        assert f"faulty({number})" in str(value), "it names the input"
        assert value.hint


@pytest.mark.parametrize("names_culprit", [True, False])
def test_the_same_without_a_process(names_culprit: bool) -> None:
    def work(number: int) -> int:
        if number % 100 == 37:
            die("exit", 5)
        return number * number

    with Executor(fake_session(3, names_culprit=names_culprit)) as executor:
        found: list[Any] = list(executor.map(work, range(CALLS), return_exceptions=True))
    for number, value in enumerate(found):
        assert isinstance(value, WorkerLost) if number % 100 == 37 else value == number * number


def test_workers_that_are_lost_by_chance_are_replaced() -> None:
    def fate(ordinal: int) -> Loss | None:
        return Loss("machine", detail="spot instance reclaimed") if ordinal % 50 == 49 else None

    with Executor(fake_session(3, fate=fate)) as executor:
        assert list(executor.map(negate, range(2000))) == [-number for number in range(2000)]


def test_a_killed_worker_is_seen_while_others_work(folder: Path) -> None:
    with Executor("local?workers=2", output="hide") as executor:
        held = executor.submit(hold, str(folder))
        wait_until((folder / "hold-begun").exists)
        lost = executor.options(idempotent=False).submit(os._exit, 3)
        assert isinstance(lost.exception(60), WorkerLost)
        assert not held.done()
        (folder / "hold-go").touch()
        assert held.result(60) == "hold"


# Spills

LARGE = 6 * MIB


def blobs(folder: Path) -> Path:
    return folder / ".bursty" / "blobs"


def files(folder: Path) -> list[Path]:
    return sorted(path for path in blobs(folder).rglob("*") if path.is_file() and path.stat().st_size)


def test_a_large_argument_of_many_calls_is_stored_once(folder: Path) -> None:
    array = np.arange(LARGE, dtype=np.uint8)
    with Executor("local?workers=2", output="hide") as executor:
        found = list(executor.starmap(lambda a, n: int(a[n]), [(array, n) for n in range(50)]))
    assert found == list(range(50))
    assert len(files(folder)) == 1


def test_a_tampered_spill_of_a_result_is_refused(folder: Path) -> None:
    with Executor("local?workers=1", output="hide") as executor:
        future = executor.submit(bytes, LARGE)
        wait_until(future.done)
        [spill] = files(folder)
        os.chmod(spill, 0o600)
        with open(spill, "r+b") as file:
            file.seek(LARGE // 2)
            file.write(b"tampered")
        os.utime(spill, ns=(1, 1))
        with pytest.raises(DigestMismatch, match="tampered with"):
            future.result()


def test_a_tampered_spill_of_an_argument_is_refused_by_the_worker(folder: Path) -> None:
    array = np.zeros(LARGE, dtype=np.uint8)
    with Executor("local?workers=1", output="hide") as executor:
        held = executor.submit(hold, str(folder))
        wait_until((folder / "hold-begun").exists)
        future = executor.submit(np.sum, array)
        [spill] = files(folder)
        os.chmod(spill, 0o600)
        spill.write_bytes(b"\1" * spill.stat().st_size)
        (folder / "hold-go").touch()
        assert held.result(60) == "hold"
        with pytest.raises(DigestMismatch, match="tampered with"):
            future.result(60)
        assert executor.submit(negate, 1).result(60) == -1


def test_blobs_that_can_not_be_written_are_a_clear_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "in-the-way").write_text("a file where the folder should be")
    monkeypatch.setenv("BURSTY_BLOBS", str(folder / "in-the-way" / "blobs"))
    with Executor("local?workers=1", output="hide") as executor:
        with pytest.raises(StoreError) as caught:
            executor.submit(len, np.zeros(LARGE, dtype=np.uint8))
        assert "in-the-way" in str(caught.value)
        assert caught.value.hint
        with pytest.raises(StoreError):
            executor.submit(bytes, LARGE).result(60)
        assert executor.submit(negate, 1).result(60) == -1


def test_a_full_disk_is_a_clear_error_with_nothing_half_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on file sizes stands for the disk: it needs no right to mount, and the write fails in the middle."""
    import resource

    with Executor("local?workers=1", output="hide") as executor:
        assert executor.submit(negate, 1).result(60) == -1
        before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGE // 2, hard))
        try:
            with pytest.raises(StoreError) as caught:
                executor.submit(len, np.zeros(LARGE, dtype=np.uint8))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
            signal.signal(signal.SIGXFSZ, handler)
        assert caught.value.hint
        assert files(folder) == []
        assert executor.submit(len, np.zeros(LARGE, dtype=np.uint8)).result(60) == LARGE
