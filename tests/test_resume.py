"""``resume="name"``: what a client that died had, is had again; all that is wrong with a log is said."""

import fcntl
import functools
import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bursty import ConfigError, Executor
from bursty.engine.resume import RECORD, prune
from bursty.engine.session import Session
from bursty.errors import ResumeMismatch, SerializationError, StoreError
from bursty.stores.home import open_home
from bursty.stores.parts import ClientParts
from bursty.testing import FakeBackend
from conformance.backend import hold, negate, touch, wait_until
from processes import client

LARGE = 5 << 20


@pytest.fixture(autouse=True)
def cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, which knows the folders made by this user."""
    monkeypatch.setenv("BURSTY_CACHE", str(folder / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return folder / "cache"


@pytest.fixture
def log(folder: Path) -> Path:
    return folder / ".bursty" / "resume" / "job.log"


@contextmanager
def executor() -> Iterator[Executor]:
    """A session as another run of the program has it, without the cost of processes."""
    home = Path(".bursty").absolute()
    parts = ClientParts(home / "blobs", 1 << 20)
    with Executor(Session(FakeBackend(2, parts=parts), parts, lambda: home, output="hide")) as found:
        yield found


def noted(folder: str, number: int) -> int:
    """Say that the call was made."""
    with open(f"{folder}/made", "a") as file:
        file.write(f"{number}\n")
    return number * number


def made(folder: Path) -> list[int]:
    """The calls that were made since the last look."""
    path = folder / "made"
    numbers = [int(line) for line in path.read_text().split()] if path.exists() else []
    path.unlink(missing_ok=True)
    return sorted(numbers)


def records(path: Path) -> list[tuple[int, int]]:
    """Where records begin, and the size of each with its head."""
    data, at, found = path.read_bytes(), 0, list[tuple[int, int]]()
    while at < len(data):
        size = RECORD.size + RECORD.unpack_from(data, at)[0]
        found.append((at, size))
        at += size
    assert at == len(data)
    return found


# Killed clients

PROGRAM = """
import os, sys
from pathlib import Path
from bursty import Executor
from conformance.backend import await_file

HOW, PHASE = sys.argv[1:]


def work(number, scale=10):
    with open("made", "a") as file:
        file.write(f"{number}\\n")
    if PHASE == "first" and number >= 20:
        Path(f"waits-{number}").touch()
        await_file("never")
    return number * scale, bytes(3 << 20) if number == 3 else b""


if __name__ == "__main__":
    with Executor("local?workers=2", output="hide") as executor:
        numbers = range(40)
        match HOW:
            case "map":
                values = executor.map(work, numbers, resume="job")
            case "generator":
                values = executor.map(work, (n for n in numbers), buffersize=30, resume="job")
            case "starmap":
                values = executor.starmap(work, [(n, 10) for n in numbers], resume="job")
            case "submit_many":
                values = (future.result() for future in executor.submit_many(work, numbers, resume="job"))
        for number, (value, blob) in enumerate(values):
            assert value == 10 * number
            assert len(blob) == (3 << 20 if number == 3 else 0)
            print(number, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
@pytest.mark.parametrize("how", ["map", "generator", "starmap", "submit_many"])
def test_a_client_that_was_killed_makes_only_the_missing_calls_when_it_runs_again(how: str, folder: Path) -> None:
    with client(PROGRAM, how, "first", folder=folder) as (process, _):
        assert process.stdout is not None
        for number in range(20):
            assert process.stdout.readline() == f"{number}\n"
        wait_until(lambda: list(folder.glob("waits-*")))
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert set(range(20)) < set(made(folder))
    with client(PROGRAM, how, "second", folder=folder) as (process, _):
        printed = process.communicate(timeout=120)[0]
    assert process.returncode == 0, (folder / "client.out").read_text()
    assert printed.split() == [str(n) for n in range(40)]
    assert made(folder) == list(range(20, 40))


# What counts as the same map


def test_a_second_run_makes_no_call_and_more_inputs_at_the_end_are_fine(folder: Path) -> None:
    work = functools.partial(noted, str(folder))
    for count, missing in [(30, range(30)), (30, []), (10, []), (35, range(30, 35))]:
        with executor() as one:
            assert list(one.map(work, range(count), resume="job")) == [n * n for n in range(count)]
        assert made(folder) == list(missing)


def test_the_same_name_again_in_the_same_session(folder: Path) -> None:
    work = functools.partial(noted, str(folder))
    with executor() as one:
        for count in (5, 8, 8):
            assert list(one.map(work, iter(range(count)), resume="job")) == [n * n for n in range(count)]
    assert made(folder) == list(range(8))


def test_names_do_not_meet(folder: Path) -> None:
    work = functools.partial(noted, str(folder))
    with executor() as one:
        for name in ("one", "two", "a.b-c_D9"):
            assert list(one.map(work, [3], resume=name)) == [9]
    assert made(folder) == [3, 3, 3]


def program(source: str, folder: Path) -> Any:
    """Function ``f`` of a version of a program."""
    path = folder / f"program{len(list(folder.glob('program*')))}.py"
    path.write_text(textwrap.dedent(source))
    scope: dict[str, Any] = {"__name__": "program"}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    return scope["f"]


@pytest.mark.parametrize(
    "changed",
    [
        "def f(x, by=1):\n    return x - by\n",
        "def f(x, by=2):\n    return x + by\n",
        "def outer(y):\n    def f(x, by=1):\n        return x + by + y\n    return f\nf = outer(3)\n",
    ],
)
def test_a_changed_function_is_named(changed: str, folder: Path) -> None:
    with executor() as one:
        assert list(one.map(program("def f(x, by=1):\n    return x + by\n", folder), [1], resume="job")) == [2]
    with executor() as one:
        other = program(changed, folder)
        for start in (
            lambda: one.map(other, [1], resume="job"),
            lambda: one.submit_many(other, [1], resume="job"),
            lambda: one.starmap(other, [(1,)], resume="job"),
        ):
            with pytest.raises(ResumeMismatch, match=r"'job'.*'(outer\.)?f'.*has changed") as caught:
                start()
            assert "job.log" in str(caught.value.hint)
    with executor() as one:
        again = program("\n\ndef f(x, by=1):\n    return x + by\n", folder)
        assert list(one.map(again, [1, 2], resume="job")) == [2, 3], "the log is as it was"


@pytest.mark.parametrize("values", [[0, 1, 5, 3], [0, 1, 2.0, 3], [0, 1, "2", 3], [0, 1, 3, 2]])
def test_a_changed_argument_is_named_by_its_position(values: list[Any]) -> None:
    with executor() as one:
        list(one.map(repr, range(4), resume="job"))
    with executor() as one, pytest.raises(ResumeMismatch, match=r"argument of call 2 of repr"):
        one.map(repr, values, resume="job")
    with executor() as one, pytest.raises(ResumeMismatch, match=r"argument of call 2 of repr"):
        one.submit_many(repr, values, resume="job")


def test_positions_count_on_in_a_lazy_map() -> None:
    with executor() as one:
        list(one.map(negate, iter(range(500)), resume="job"))
    with executor() as one:
        values = one.map(negate, (n if n != 400 else -1 for n in range(500)), buffersize=16, resume="job")
        with pytest.raises(ResumeMismatch, match="argument of call 400"):
            list(values)


def test_what_has_no_fingerprint() -> None:
    with executor() as one:
        with pytest.raises(SerializationError, match="argument of call 1 of str has no fingerprint"):
            one.map(str, [1, memoryview(b"x")], resume="job")
        lock = threading.Lock()
        with pytest.raises(SerializationError, match=r"no fingerprint|lock"):
            one.map(lambda x: lock.locked(), [1], resume="job")


def test_failures_are_tried_again(folder: Path) -> None:
    def work(number: int) -> int:
        noted(str(folder), number)
        if number % 3 == 0 and not (folder / "mended").exists():
            raise ValueError(number)
        return number

    with executor() as one:
        found = list(one.map(work, range(9), return_exceptions=True, resume="job"))
    assert [type(value) for value in found] == [ValueError, int, int] * 3
    assert made(folder) == list(range(9))
    touch(str(folder / "mended"))
    for missing in ([0, 3, 6], []):
        with executor() as one:
            assert list(one.map(work, range(9), resume="job")) == list(range(9))
        assert made(folder) == missing


def test_values_of_all_kinds_are_kept() -> None:
    inputs = [None, True, 5, 2.5, "text", b"bytes", [1, {2: "x"}], np.arange(5), np.zeros(LARGE, np.uint8)]
    for _ in range(2):
        with executor() as one:
            found = [future.result(60) for future in one.submit_many(echo, inputs, resume="job")]
        assert repr(found) == repr(inputs)
        assert found[-1].nbytes == LARGE


def echo(value: Any) -> Any:
    return value


def test_large_results_are_spilled_and_survive(folder: Path, log: Path) -> None:
    def work(number: int) -> Any:
        noted(str(folder), number)
        return np.full(LARGE, number, np.uint8)

    for calls in ([0, 1, 2], []):
        with Executor("local?workers=1", output="hide") as one:
            for number, value in enumerate(one.map(work, range(3), resume="job")):
                assert value.nbytes == LARGE
                assert (value == number).all()
        assert made(folder) == calls
    assert log.stat().st_size < LARGE // 10, "the log names them, the blobs hold them"


def test_results_are_put_away_while_a_lazy_map_reads_others(folder: Path) -> None:
    """Every second result is known: the caller's thread reads the log while the driver's thread writes it."""
    count = 3000
    work = functools.partial(noted, str(folder))

    def odd(number: int) -> int:
        if number % 2 and not (folder / "mended").exists():
            raise ValueError(number)
        return number

    with executor() as one:
        list(one.map(odd, range(count), return_exceptions=True, resume="job"))
    touch(str(folder / "mended"))
    with executor() as one:
        assert list(one.map(odd, iter(range(count)), buffersize=64, resume="job")) == list(range(count))
    with executor() as one:
        assert list(one.map(odd, range(count), resume="job")) == list(range(count))
    assert work(2) == 4


# Damage


@pytest.fixture
def kept(folder: Path, log: Path) -> Path:
    """A log of ten calls; its calls forgotten."""
    with executor() as one:
        list(one.map(functools.partial(noted, str(folder)), range(10), resume="job"))
    assert made(folder) == list(range(10))
    assert len(records(log)) == 11
    return log


def again(folder: Path) -> list[int]:
    """Run the map again, see that it is right, and tell the calls that were made."""
    with executor() as one:
        assert list(one.map(functools.partial(noted, str(folder)), range(10), resume="job")) == [
            n * n for n in range(10)
        ]
    return made(folder)


@pytest.mark.parametrize("lost", [1, 5, -1])
def test_a_torn_tail_is_cut(lost: int, kept: Path, folder: Path) -> None:
    at, size = records(kept)[-1]
    os.truncate(kept, at + (size - lost if lost > 0 else 3))
    assert len(again(folder)) == 1
    assert len(records(kept)) == 11, "what was torn is gone, what was missing is there"
    assert again(folder) == []


def test_zeros_at_the_end_are_cut(kept: Path, folder: Path) -> None:
    """As some file systems leave them after a loss of power."""
    whole = kept.read_bytes()
    with open(kept, "ab") as file:
        file.write(bytes(4096))
    assert again(folder) == []
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("place", ["size", "check", "body"])
def test_a_damaged_record_and_those_behind_it_are_made_again(place: str, kept: Path, folder: Path) -> None:
    at, size = records(kept)[5]
    data = bytearray(kept.read_bytes())
    data[at + {"size": 3, "check": 5, "body": size - 1}[place]] ^= 0x40
    kept.write_bytes(data)
    assert len(again(folder)) == 6
    assert len(records(kept)) == 11
    assert again(folder) == []


def test_a_damaged_beginning_is_a_new_log(kept: Path, folder: Path) -> None:
    data = bytearray(kept.read_bytes())
    data[RECORD.size] ^= 0xFF
    kept.write_bytes(data)
    assert again(folder) == list(range(10))
    assert again(folder) == []


FILLS = """
import functools, resource, signal, sys
from bursty import Executor
from bursty.errors import StoreError
from test_resume import echo

# A limit on file sizes stands for the disk: it needs no right to mount, and the write fails in the middle.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
inputs = [bytes([n]) * 20_000 for n in range(30)]
with Executor("local?workers=1", output="hide") as executor:
    assert executor.submit(len, b"xy").result(60) == 2
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    found = list(executor.map(echo, inputs, return_exceptions=True, resume="job"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    errors = [value for value in found if isinstance(value, StoreError)]
    assert errors and "job.log" in str(errors[0]) and "File too large" in str(errors[0]) and errors[0].hint
    assert [v for v in found if not isinstance(v, StoreError)] == [
        i for i, v in zip(inputs, found) if not isinstance(v, StoreError)
    ]
    print(len(found) - len(errors))
    assert list(executor.map(echo, inputs, resume="job")) == inputs, "there is room again"
"""


def test_a_full_disk_is_a_clear_error_and_the_log_stays_whole(folder: Path, log: Path) -> None:
    with client(FILLS, folder=folder) as (process, _):
        printed = process.communicate(timeout=120)[0]
    assert process.returncode == 0, (folder / "client.out").read_text()
    assert 0 <= int(printed) < 10
    assert len(records(log)) == 31, "one record for the function and each call; nothing half written between"
    inputs = [bytes([n]) * 20_000 for n in range(30)]
    with executor() as one:
        assert list(one.map(echo, inputs, resume="job")) == inputs
    assert len(records(log)) == 31


# Names and folders


@pytest.mark.parametrize("name", ["", ".", "..", "../job", "a/b", ".hidden", "-x", "a b", "ä", "a\n", "x" * 101, "a\0"])
def test_bad_names(name: str, folder: Path) -> None:
    with executor() as one:
        with pytest.raises(ConfigError, match="can't be a resume name"):
            one.map(negate, [1], resume=name)
        assert list(one.map(negate, [1], resume="x" * 100)) == [-1]
    assert [path.name for path in (folder / ".bursty" / "resume").iterdir()] == ["x" * 100 + ".log"]


HOLDS = """
from bursty import Executor
from conformance.backend import hold
with Executor("local?workers=1", output="hide") as executor:
    print(list(executor.map(hold, ["."], resume="job")))
"""


def test_one_process_at_a_time_uses_a_name(folder: Path) -> None:
    with client(HOLDS, folder=folder) as (process, _):
        wait_until((folder / "hold-begun").exists)
        with executor() as one:
            with pytest.raises(StoreError, match="another process is using resume='job' now") as caught:
                one.map(hold, ["."], resume="job")
            assert caught.value.hint
            assert list(one.map(negate, [1], resume="other")) == [-1]
        touch(str(folder / "hold-go"))
        assert process.communicate(timeout=60)[0] == "['hold']\n"
    with executor() as one:
        assert list(one.map(hold, ["."], resume="job")) == ["hold"]


def real(action: Callable[[Executor], Any]) -> Any:
    """With the folder opened as users have it; no call is made."""
    with Executor("local?workers=1", output="hide") as one:
        return action(one)


def test_a_folder_that_came_with_a_clone_is_not_believed(folder: Path, log: Path, cache: Path) -> None:
    real(lambda one: list(one.map(negate, [1], resume="job")))
    [token] = (cache / "homes").iterdir()
    assert (folder / ".bursty").stat().st_mode & 0o777 == 0o700
    assert (folder / ".bursty" / ".gitignore").read_text() == "*\n"
    real(lambda one: one.map(negate, [1], resume="job").close())
    token.unlink()  # another user, or another machine
    before = log.read_bytes()
    with pytest.raises(StoreError, match="was not made by you on this machine") as caught:
        real(lambda one: one.map(negate, [1], resume="job"))
    assert f"touch {token}" in str(caught.value.hint)
    assert log.read_bytes() == before
    token.touch()
    assert real(lambda one: list(one.map(negate, [1], resume="job"))) == [-1]


@pytest.mark.parametrize("token", [None, "", "../../etc", "token", "a" * 5000])
def test_tokens_that_are_none(token: str | None, folder: Path, cache: Path) -> None:
    home = folder / "clone"
    (home / "resume").mkdir(parents=True)
    (cache / "homes").mkdir(parents=True)
    if token is not None:
        (home / "token").write_text(token)
    with pytest.raises(StoreError):
        open_home(str(home), str(cache))
    assert list((cache / "homes").iterdir()) == []


def test_a_folder_of_another_user(folder: Path, cache: Path) -> None:
    if os.getuid():
        pytest.skip("only root can give a folder to another user")
    home = folder / ".bursty"
    home.mkdir(mode=0o755)
    os.chown(home, 12345, 12345)
    with pytest.raises(StoreError, match="belongs to another user") as caught:
        real(lambda one: one.map(negate, [1], resume="job"))
    assert "BURSTY_HOME" in str(caught.value.hint)
    assert list(home.iterdir()) == []
    assert home.stat().st_mode & 0o777 == 0o755, "it is left as it was"


def test_a_home_that_can_not_be_made(folder: Path) -> None:
    (folder / ".bursty").write_text("a file")
    with pytest.raises(StoreError, match="can't be used") as caught:
        real(lambda one: one.map(negate, [1], resume="job"))
    assert caught.value.hint


def test_resume_inside_a_call_is_refused(folder: Path) -> None:
    def outer(number: int) -> Any:
        with Executor() as inner:
            return list(inner.map(negate, [number], resume="job"))

    with (
        Executor("local?workers=1", output="hide") as one,
        pytest.raises(ConfigError, match="works in the client, not inside a call"),
    ):
        one.submit(outer, 1).result(60)


# Prune


def test_prune_removes_old_logs_that_nobody_uses(folder: Path) -> None:
    home = folder / ".bursty"
    assert prune(home, 0) == (0, 0)
    with executor() as one:
        for name in ("old", "young", "used"):
            list(one.map(negate, [1], resume=name))
    now = time.time()
    for name, age in (("old", 1000), ("young", 10), ("used", 1000)):
        os.utime(home / "resume" / f"{name}.log", (now - age, now - age))
    size = (home / "resume" / "old.log").stat().st_size
    with open(home / "resume" / "used.log", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert prune(home, 100, now=now) == (1, size)
    assert sorted(path.name for path in (home / "resume").iterdir()) == ["used.log", "young.log"]
    assert prune(home, 100, now=now)[0] == 1


def test_a_log_that_is_only_read_is_in_use(kept: Path, folder: Path) -> None:
    os.utime(kept, (0, 0))
    assert again(folder) == []
    assert prune(kept.parent.parent, 3600) == (0, 0)
