"""The supervisor with real children: every way a child can die or hang, and every way a client can."""

import atexit
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bursty.backends.local import LocalBackend
from bursty.core import codec
from bursty.core.codec import FrameError
from bursty.supervise.limits import MemoryGroup, MemoryGroups
from bursty.supervise.linux import children_of, descendants_of
from bursty.supervise.wire import FrameReader, Outbox, send_blocking
from bursty.values import Frame, Layout, Output, WorkerSpec
from conformance.backend import Desk, hold, negate, touch, wait_until
from processes import client, is_alive, marked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

MIB = 1 << 20


class NoGroups(MemoryGroups):
    """A machine where no cgroup can be made."""

    def base(self) -> None:
        return None


@pytest.fixture
def backend(folder: Path) -> Iterator[LocalBackend]:
    elsewhere.update(all_wardens())
    backend = LocalBackend(2, blobs=str(folder / "blobs"))
    yield backend
    backend.close()
    assert not wardens(), "closing left a process behind"


@pytest.fixture
def desk(backend: LocalBackend) -> Desk:
    return Desk(backend)


elsewhere: set[int] = set()
"""Wardens of executors that other tests of this process keep, as scikit-learn's do."""


def wardens() -> list[int]:
    return [pid for pid in all_wardens() if pid not in elsewhere]


def all_wardens() -> list[int]:
    found: list[int] = []
    for pid in children_of(os.getpid()):
        try:
            if b"bursty.supervise.warden" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def getpid(_: object) -> int:
    return os.getpid()


# Dying


def die_by_signal(number: int) -> None:
    os.kill(os.getpid(), number)


def die_by_segfault(_: int) -> None:
    ctypes.string_at(0)


def die_by_abort(_: int) -> None:
    os.abort()


def die_with_its_group(_: int) -> None:
    os.killpg(0, signal.SIGKILL)


def die_by_a_thread(code: int) -> None:
    threading.Thread(target=os._exit, args=(code,)).start()
    threading.Event().wait()


def close_all_descriptors(_: int) -> None:
    os.closerange(0, 256)


@pytest.mark.parametrize(
    ("die", "argument", "kind", "code"),
    [
        (die_by_signal, 9, "signal", 9),
        (die_by_signal, 15, "signal", 15),
        (die_by_signal, 2, "signal", 2),
        (die_by_segfault, 0, "signal", 11),
        (die_by_abort, 0, "signal", 6),
        (die_with_its_group, 0, "signal", 9),
        (os._exit, 3, "exit", 3),
        (os._exit, 0, "exit", 0),
        (die_by_a_thread, 4, "exit", 4),
    ],
)
def test_a_death_is_named_and_hits_nobody_else(
    desk: Desk, die: Callable[[int], Any], argument: int, kind: str, code: int
) -> None:
    worker, other = desk.open(), desk.open()
    assert desk.run(worker, negate, [1]) == [-1]
    desk.send(worker, die, [argument])
    lost = desk.lost(worker)
    assert (lost.loss.kind, lost.loss.code, lost.running) == (kind, code, 1)
    assert desk.run(other, negate, [2]) == [-2]
    assert desk.run(desk.open(), negate, [3]) == [-3]


def test_the_last_words_on_stderr_come_with_the_loss(desk: Desk) -> None:
    def work(_: object) -> None:
        print("a" * 100_000, file=sys.stderr)
        print("about to fail", file=sys.stderr, flush=True)
        os.write(2, b"by C\n")
        os._exit(1)

    worker = desk.open()
    desk.send(worker, work, [0])
    output = desk.lost(worker).loss.output
    assert "about to fail" in output
    assert "by C" in output
    assert len(output) < 10_000


def test_a_crash_in_c_prints_where_it_was(desk: Desk) -> None:
    worker = desk.open()
    desk.send(worker, die_by_segfault, [0])
    assert "die_by_segfault" in desk.lost(worker).loss.output


# Hanging


def hang_in_python(path: str) -> None:
    touch(path)
    while True:
        pass


def hang_in_c(path: str) -> None:
    """Sleeps in C and keeps the GIL."""
    touch(path)
    ctypes.PyDLL(None).sleep(1000)


def hang_in_a_regex(path: str) -> None:
    touch(path)
    re.match(r"(a+)+$", "a" * 60 + "b")


def hang_without_signals(path: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    touch(path)
    while True:
        threading.Event().wait(10)


def hang_stopped(path: str) -> None:
    touch(path)
    os.kill(os.getpid(), signal.SIGSTOP)


@pytest.mark.parametrize("hang", [hang_in_python, hang_in_c, hang_in_a_regex, hang_without_signals, hang_stopped])
def test_a_hung_call_is_seen_and_killed_and_what_was_finished_stays(
    desk: Desk, tmp_path: Path, hang: Callable[[str], None]
) -> None:
    worker = desk.open()
    [pid] = desk.run(worker, getpid, [None])
    path = str(tmp_path / "begun")

    def work(number: int) -> int:
        if number == 3:
            hang(path)
        return number

    desk.send(worker, work, range(6))
    wait_until(lambda: os.path.exists(path))
    assert desk.backend.mark(worker).seq == 4
    desk.backend.kill(worker, "timeout", 2.0)
    lost = desk.lost(worker)
    assert (lost.loss.kind, lost.loss.limit, lost.running) == ("timeout", 2.0, 4)
    assert {seq: value for seq, value in desk.values(worker).items() if seq} == {1: 0, 2: 1, 3: 2}
    wait_until(lambda: not is_alive(pid), "the worker's end")


def hang_at_the_end(path: str) -> int:
    atexit.register(hang_in_python, path)
    return os.getpid()


def test_a_retired_worker_that_does_not_end_can_be_killed(desk: Desk, tmp_path: Path) -> None:
    worker, path = desk.open(), str(tmp_path / "ending")
    [pid] = desk.run(worker, hang_at_the_end, [path])
    desk.backend.retire(worker)
    wait_until(lambda: os.path.exists(path))
    desk.backend.kill(worker, "timeout", 1.0)
    assert desk.lost(worker).loss.kind == "closed"
    wait_until(lambda: not is_alive(pid), "the worker's end")


@pytest.mark.parametrize("hang", [hang_in_python, hang_in_c, hang_stopped])
def test_close_does_not_wait_for_a_hung_call(desk: Desk, tmp_path: Path, hang: Callable[[str], None]) -> None:
    worker = desk.open()
    desk.send(worker, hang, [str(tmp_path / "begun")])
    wait_until((tmp_path / "begun").exists)
    [warden] = wardens()
    pids = [warden, *descendants_of(warden)]
    desk.backend.close()
    assert [pid for pid in pids if is_alive(pid)] == []


# Memory


def take_memory(size: int) -> int:
    held = [bytearray(b"x" * MIB) for _ in range(size // MIB)]
    return len(held)


def take_memory_until_the_end(size: int) -> None:
    held = [bytearray(b"x" * MIB) for _ in range(size // MIB)]
    while held:
        threading.Event().wait(0.1)


def test_the_memory_limit_of_a_cgroup(desk: Desk) -> None:
    groups = MemoryGroups(f"bursty-test-{os.getpid()}")
    if groups.base() is None:
        pytest.skip("no memory cgroup can be made here")
    groups.remove()
    limited, free = desk.open(WorkerSpec(memory=150 * MIB)), desk.open()
    assert desk.run(limited, take_memory, [20 * MIB]) == [20]
    desk.send(limited, take_memory, [400 * MIB])
    lost = desk.lost(limited)
    assert (lost.loss.kind, lost.loss.limit, lost.running) == ("memory", 150 * MIB, 1)
    assert desk.run(free, take_memory, [200 * MIB]) == [200]


def test_the_memory_limit_of_a_watched_process(folder: Path) -> None:
    backend = LocalBackend(2, blobs=str(folder / "blobs"), groups=NoGroups("none"))
    try:
        desk = Desk(backend)
        limited, free = desk.open(WorkerSpec(memory=150 * MIB)), desk.open()
        assert desk.run(limited, take_memory, [20 * MIB]) == [20]
        desk.send(limited, take_memory_until_the_end, [400 * MIB])
        lost = desk.lost(limited)
        assert (lost.loss.kind, lost.loss.limit, lost.running) == ("memory", 150 * MIB, 1)
        assert desk.run(free, take_memory, [200 * MIB]) == [200]
    finally:
        backend.close()


def test_closing_gives_the_cgroups_back(folder: Path) -> None:
    groups = MemoryGroups(f"bursty-test-{os.getpid()}-{folder.name}")
    base = groups.base()
    if base is None:
        pytest.skip("no memory cgroup can be made here")
    backend = LocalBackend(2, blobs=str(folder / "blobs"), groups=groups)
    desk = Desk(backend)
    assert desk.run(desk.open(WorkerSpec(memory=150 * MIB)), negate, [1]) == [-1]
    assert list(base[0].glob("w*"))
    backend.close()
    assert not base[0].exists()


def test_groups_say_when_the_kernel_killed(tmp_path: Path) -> None:
    """Both kinds of cgroup, from files as the kernel writes them."""
    first, second = tmp_path / "v1", tmp_path / "v2"
    for folder, name, text in (
        (first, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"),
        (second, "memory.events", "low 0\nhigh 0\nmax 31\noom 1\noom_kill {}\noom_group_kill 0\n"),
    ):
        folder.mkdir()
        group = MemoryGroup(folder, v2=folder is second)
        assert not group.killed()
        (folder / name).write_text(text.format(0))
        assert not group.killed()
        (folder / name).write_text(text.format(1))
        assert group.killed()


# Children of children


def leave_a_daemon(path: str) -> int:
    """Double fork and a session of its own, as daemons do."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            Path(path + ".new").write_text(str(os.getpid()))
            os.rename(path + ".new", path)
            while True:
                threading.Event().wait(10)
        os._exit(0)
    os.wait()
    return os.getpid()


def leave_children(path: str) -> int:
    for number in range(5):
        process = subprocess.Popen(["sleep", "1000"])
        Path(f"{path}-{number}").write_text(str(process.pid))
    return os.getpid()


def test_a_daemon_of_a_call_ends_with_the_client(desk: Desk, tmp_path: Path) -> None:
    worker = desk.open()
    desk.run(worker, leave_a_daemon, [str(tmp_path / "pid")])
    pid = int(wait_until((tmp_path / "pid").exists) and (tmp_path / "pid").read_text())
    assert is_alive(pid)
    desk.backend.close()
    assert not is_alive(pid)


def test_children_of_a_worker_end_with_it(desk: Desk, tmp_path: Path) -> None:
    worker = desk.open()
    desk.run(worker, leave_children, [str(tmp_path / "pid")])
    pids = [int((tmp_path / f"pid-{number}").read_text()) for number in range(5)]
    assert all(map(is_alive, pids))
    desk.send(worker, os._exit, [1])
    desk.lost(worker)
    wait_until(lambda: not any(map(is_alive, pids)), "the children's end")


@pytest.mark.parametrize("layout", [Layout.ITEMS, Layout.EACH])
@pytest.mark.parametrize("end", ["return", "raise", "exit"])
def test_a_fork_of_a_call_answers_nothing_and_makes_no_other_call(
    desk: Desk, tmp_path: Path, layout: Layout, end: str
) -> None:
    def work(number: int) -> tuple[int, int]:
        if os.fork() == 0:
            print("from the fork")
            (tmp_path / f"{number}-{os.getpid()}").touch()
            if end == "raise":
                raise LookupError("in the fork")
            if end == "exit":
                sys.exit(3)
            return number, -1
        return number, os.waitstatus_to_exitcode(os.wait()[1])

    worker = desk.open()
    items = range(5) if layout is Layout.ITEMS else [((number,), {}) for number in range(5)]
    code = {"return": 0, "raise": 1, "exit": 3}[end]
    assert desk.run(worker, work, items, layout) == [(number, code) for number in range(5)]
    assert len(list(tmp_path.iterdir())) == 5 + (tmp_path / "blobs").exists()
    assert desk.run(worker, negate, [1]) == [-1]
    assert desk.backend.mark(worker).seq is None
    assert ("LookupError: in the fork" in said(desk, worker, "stderr")) is (end == "raise")


def test_a_process_pool_inside_a_call(desk: Desk) -> None:
    def work(count: int) -> list[int]:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        with ProcessPoolExecutor(2, get_context("fork")) as pool:
            return list(pool.map(abs, range(-count, 0)))

    worker = desk.open()
    assert desk.run(worker, work, [5]) == [[5, 4, 3, 2, 1]]
    assert desk.run(worker, negate, [1]) == [-1]


# Output and descriptors


def said(desk: Desk, worker: int, stream: str = "stdout") -> str:
    return "".join(event.text for event in desk.of(Output, worker) if event.stream == stream)


def test_a_call_that_closes_stdout_and_stderr(desk: Desk) -> None:
    def work(_: object) -> str:
        os.close(1)
        os.close(2)
        print("still heard")
        return "done"

    worker = desk.open()
    assert desk.run(worker, work, [0]) == ["done"]
    assert said(desk, worker) == "still heard\n"
    assert desk.run(worker, negate, [1]) == [-1]


def test_a_hundred_megabytes_without_a_line_end(desk: Desk) -> None:
    def work(_: object) -> str:
        for _ in range(100):
            sys.stdout.write("x" * MIB)
        sys.stdout.write("the end")
        return "done"

    worker = desk.open()
    assert desk.run(worker, work, [0]) == ["done"]
    text = said(desk, worker)
    assert len(text) < 2 * MIB
    assert "characters left out" in text
    assert text.rstrip().endswith("the end")
    assert desk.run(worker, print, ["next"]) == [None]
    assert said(desk, worker).endswith("next\n")


def test_megabytes_past_python(desk: Desk) -> None:
    def work(_: object) -> str:
        left = 10 * MIB
        while left:
            left -= os.write(1, b"y" * min(left, MIB))
        return "done"

    worker = desk.open()
    assert desk.run(worker, work, [0]) == ["done"]
    assert desk.run(worker, negate, [1]) == [-1]
    assert set(said(desk, worker)) == {"y"}


def test_binary_garbage_on_stdout(desk: Desk) -> None:
    def work(_: object) -> str:
        sys.stdout.buffer.write(bytes(range(256)))
        sys.stdout.write("\ud800 and \0\n")
        sys.stdout.flush()
        os.write(1, b"\xff\xfe\x00")
        return "done"

    worker = desk.open()
    assert desk.run(worker, work, [0]) == ["done"]
    desk.until(lambda: "\\xff\\xfe\x00" in said(desk, worker))
    assert "\\ud800 and \0\n" in said(desk, worker)
    assert "\\x80" in said(desk, worker)


def test_input_is_at_its_end(desk: Desk) -> None:
    [error] = desk.run(desk.open(), input, ["? "])
    assert isinstance(error, EOFError)


def own_sockets() -> list[int]:
    found: list[int] = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                found.append(int(name))
        except OSError:
            continue
    return found


def close_its_socket(_: int) -> str:
    for fd in own_sockets():
        os.close(fd)
    return "done"


def send_garbage(_: int) -> str:
    for fd in own_sockets():
        os.write(fd, b"this is no frame at all" * 10)
    return "done"


def send_a_false_frame(_: int) -> str:
    for fd in own_sockets():
        os.write(fd, codec.encode(Frame({"kind": "batch"}, [b"1"])))
    return "done"


def send_a_huge_frame(_: int) -> str:
    for fd in own_sockets():
        os.write(fd, codec.HEADER.pack(codec.MAGIC, 1, 2, 2**47) + (2**47 - 10).to_bytes(8, "little") + b"{}")
    return "done"


@pytest.mark.parametrize(
    "work", [close_its_socket, close_all_descriptors, send_garbage, send_a_false_frame, send_a_huge_frame]
)
def test_a_worker_that_spoils_its_socket_is_lost_and_nobody_else(desk: Desk, work: Callable[[int], str]) -> None:
    worker, other = desk.open(), desk.open()
    desk.run(worker, negate, [1])
    desk.send(worker, work, [0])
    desk.send(worker, negate, [1])
    assert desk.lost(worker).loss.kind in ("exit", "machine")
    assert desk.run(other, negate, [2]) == [-2]


# Zygote and warden


def test_a_killed_zygote_is_a_loss_and_the_next_worker_has_a_new_one(desk: Desk, tmp_path: Path) -> None:
    worker, idle = desk.open(), desk.open()
    desk.run(idle, negate, [1])
    desk.send(worker, hold, [str(tmp_path)])
    wait_until(lambda: desk.backend.mark(worker).seq == 0)
    [warden] = wardens()
    [zygote] = children_of(warden)
    workers = children_of(zygote)
    assert len(workers) == 2
    os.kill(zygote, signal.SIGKILL)
    lost = desk.lost(worker)
    assert lost.running == 0
    assert lost.loss.kind in ("machine", "signal")
    assert desk.lost(idle).running is None
    wait_until(lambda: not any(map(is_alive, workers)), "the workers' end")
    assert desk.run(desk.open(), negate, [3]) == [-3]


def test_a_killed_warden_is_a_loss_and_leaves_nothing(desk: Desk, tmp_path: Path) -> None:
    worker = desk.open()
    desk.send(worker, hold, [str(tmp_path)])
    wait_until(lambda: desk.backend.mark(worker).seq == 0)
    [warden] = wardens()
    below = descendants_of(warden)
    assert len(below) == 2
    os.kill(warden, signal.SIGKILL)
    assert desk.lost(worker).running == 0
    wait_until(lambda: not any(map(is_alive, below)), "the workers' end")
    assert desk.run(desk.open(), negate, [3]) == [-3]


def test_a_preloaded_module_that_fails_to_import(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_preload.py").write_text("raise RuntimeError('broken on purpose')")
    (tmp_path / "exiting_preload.py").write_text("import sys; sys.exit('leaving')")
    monkeypatch.syspath_prepend(tmp_path)
    worker = desk.open(WorkerSpec(preload=("broken_preload", "exiting_preload", "no_such_module_at_all")))
    assert desk.run(worker, negate, [1]) == [-1]


def test_a_preloaded_module_that_ends_the_process(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ending_preload.py").write_text("import os; os.write(2, b'goodbye from import'); os._exit(5)")
    monkeypatch.syspath_prepend(tmp_path)
    worker = desk.open(WorkerSpec(preload=("ending_preload",)))
    desk.send(worker, negate, [1])
    lost = desk.lost(worker)
    assert lost.loss.kind == "start"
    assert lost.running is None
    assert "goodbye from import" in lost.loss.detail


def test_preloaded_modules_are_there_before_the_first_call(desk: Desk) -> None:
    worker = desk.open(WorkerSpec(preload=("colorsys",)))
    assert desk.run(worker, lambda name: name in sys.modules, ["colorsys", "wave"]) == [True, False]


def test_variables_and_folder_of_a_worker(desk: Desk) -> None:
    worker = desk.open(WorkerSpec(variables=(("BURSTY_A", "b=c"),)))
    assert desk.run(worker, lambda _: (os.environ["BURSTY_A"], os.getcwd()), [0]) == [("b=c", os.getcwd())]


# The client's end

CLIENT = """
    import os, signal, subprocess, sys, time
    from bursty import Executor

    def work(path, hang):
        if hang == "daemon":
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    open(path + "-daemon", "w").close()
                    while True:
                        time.sleep(1)
                os._exit(0)
            os.wait()
        open(path, "w").close()
        while True:
            if hang != "c":
                time.sleep(0.1)
            else:
                import ctypes
                ctypes.PyDLL(None).sleep(1000)

    if __name__ == "__main__":
        how, hang, folder = sys.argv[1:]
        executor = Executor("local?workers=2", output="hide")
        if how == "limited":
            executor.submit(abs, 1).result()
            executor = executor.options(memory="1 GiB")
        futures = [executor.submit(work, f"{folder}/begun-{n}", hang) for n in range(2)]
        forked = 0
        if how == "forked":
            forked = os.fork()
            if forked == 0:
                while True:
                    time.sleep(1)
        print("ready", forked, flush=True)
        if how in ("killed", "forked", "limited"):
            time.sleep(1000)
        while not all(os.path.exists(f"{folder}/begun-{n}") for n in range(2)):
            time.sleep(0.01)
        if how == "os._exit":
            os._exit(3)
        if how == "abort":
            os.abort()
        if how == "exception":
            with executor:
                raise KeyboardInterrupt
        if how == "normal":
            executor.kill()
            sys.exit(0)
        if how == "thread":
            import threading
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGKILL)).start()
        time.sleep(1000)
"""


@pytest.mark.parametrize(
    ("how", "hang"),
    [
        ("killed", "python"),
        ("killed", "c"),
        ("killed", "daemon"),
        ("limited", "python"),
        ("terminated", "python"),
        ("interrupted", "c"),
        ("os._exit", "daemon"),
        ("abort", "python"),
        ("exception", "python"),
        ("normal", "c"),
        ("thread", "python"),
        ("forked", "python"),
    ],
)
def test_nothing_outlives_the_client(folder: Path, how: str, hang: str) -> None:
    with client(CLIENT, how, hang, folder, folder=folder) as (process, mark):
        assert process.stdout is not None
        word, forked = process.stdout.readline().split()
        assert word == "ready"
        wait_until(lambda: all((folder / f"begun-{n}").exists() for n in range(2)), "the calls to begin")
        if how == "thread" or how in ("os._exit", "abort", "exception", "normal"):
            pass
        elif how == "terminated":
            process.terminate()
        elif how == "interrupted":
            process.send_signal(signal.SIGINT)
        else:
            process.kill()
        process.wait(60)
        kept = {int(forked)} - {0}
        wait_until(lambda: set(marked(mark)) <= kept, "every process to be gone")
        assert all(map(is_alive, kept))
        left = list(Path("/sys/fs/cgroup").rglob(f"bursty-{process.pid}-*"))
        assert left == [], "a cgroup was left"


def test_a_client_killed_while_workers_start_leaves_nothing(folder: Path) -> None:
    code = """
        import os, sys
        from bursty.backends.local import LocalBackend
        from bursty.values import WorkerSpec
        backend = LocalBackend(2, blobs=sys.argv[1])
        for number in range(4):
            backend.open(WorkerSpec(variables=(("N", str(number)),)))
        print("ready", flush=True)
        os.kill(os.getpid(), 9)
    """
    with client(code, folder / "blobs", folder=folder) as (process, mark):
        process.wait(60)
        wait_until(lambda: not marked(mark), "every process to be gone")


# Frames on a socket


def test_frames_of_any_size_pass_a_socket_in_pieces() -> None:
    ours, theirs = socket.socketpair()
    frames = [
        Frame({"n": n}, [bytes([n]) * size, b"", b"x"]) for n, size in enumerate([0, 1, 5000, 300_000, 3_000_000])
    ]
    frames.append(Frame({"many": True}, [bytes([n % 256]) for n in range(2000)]))
    sender = threading.Thread(target=lambda: [send_blocking(theirs, frame) for frame in frames])
    sender.start()
    reader, found = FrameReader(), []
    while len(found) < len(frames):
        found.extend(reader.receive(ours) or [])
    sender.join()
    assert [frame.meta for frame in found] == [frame.meta for frame in frames]
    assert [list(map(bytes, frame.parts)) for frame in found] == [list(frame.parts) for frame in frames]
    theirs.close()
    assert reader.receive(ours) is None
    ours.close()


def test_an_outbox_keeps_what_the_socket_does_not_take() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    outbox = Outbox()
    assert not outbox.send(ours, Frame({}, [bytes(20_000_000)]))
    reader, found = FrameReader(), []
    while not found:
        outbox.flush(ours)
        found.extend(reader.receive(theirs) or [])
    assert outbox.flush(ours)
    assert len(found[0].parts[0]) == 20_000_000
    theirs.close()
    assert outbox.send(ours, Frame({}, [b"x"])), "a closed peer swallows"
    ours.close()


def test_a_frame_that_no_machine_can_hold_is_a_frame_error() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(codec.HEADER.pack(codec.MAGIC, 1, 2, 2**47) + (2**47 - 10).to_bytes(8, "little") + b"{}")
    with pytest.raises(FrameError, match="can't hold"):
        FrameReader().receive(ours)
    ours.close()
    theirs.close()
