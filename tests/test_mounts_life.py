"""Processes of mounted apps that die, don't come up, or are to end; and who waits for them."""

import collections
import os
import signal
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bursty.errors import WorkerLost
from bursty.serving.mounts import mount_at
from bursty.serving.mounts_child import LAST_DELAY, LAST_DELAY_UP, restart_delay
from mounting import Front, eventually, mounted, spec
from processes import is_alive


def held(client: httpx.Client, gate: Path, threads: ThreadPoolExecutor) -> Future[httpx.Response]:
    """A request that the app has begun, and that ends once there is a file ``gate``."""
    waiting = threads.submit(client.get, "/web/hold", params={"gate": str(gate)})
    eventually(lambda: client.get("/web/streams").json()["held"] == 1)
    return waiting


def test_a_killed_process_costs_only_what_it_worked_on(tmp_path: Path) -> None:
    with mounted("flask_app.py", spec("/web", "web"), app="flasky") as front, front.client() as client:
        first = client.get("/web/memory").json()["pid"]
        with ThreadPoolExecutor(1) as thread:
            waiting = held(client, tmp_path / "gate", thread)
            os.kill(first, signal.SIGKILL)
            lost = waiting.result(30)
        assert (lost.status_code, lost.headers["content-type"]) == (502, "application/problem+json")
        assert client.get("/web/").text == "hello"
        assert client.get("/web/memory").json()["pid"] != first
        assert any("killed by SIGKILL" in line or "signal" in line for line in front.said), front.said


def test_half_an_answer_of_a_process_that_died_is_cut() -> None:
    with mounted("flask_app.py", spec("/web", "web"), app="flasky") as front, front.client() as client:
        with pytest.raises(httpx.RemoteProtocolError), client.stream("GET", "/web/die-halfway") as answer:
            assert b"".join(answer.iter_bytes()) == b"half of it"
        assert isinstance(front.failures[0], WorkerLost)
        assert client.get("/web/die").status_code == 502
        assert client.get("/web/").text == "hello"


def test_a_websocket_of_a_process_that_died_is_closed() -> None:
    with mounted("asgi_apps.py", spec("/star", "star", "asgi"), app="asgis") as front:
        with connect(f"ws://127.0.0.1:{front.port}/star/echo") as one:
            one.send("die")
            with pytest.raises(ConnectionClosed) as closed:
                one.recv()
            assert closed.value.rcvd.code == 1011
        with connect(f"ws://127.0.0.1:{front.port}/star/echo") as two:  # waits for the next process
            two.send("again")
            assert two.recv() == "again"


def test_two_processes_share_the_work_and_one_goes_on_alone() -> None:
    with mounted("flask_app.py", spec("/web", "web", processes=2, threads=1), app="flasky", workers=1) as front:
        eventually(lambda: all(child.is_up for child in front.mounts[0].children))
        with front.client() as client, ThreadPoolExecutor(4) as threads:
            pids = {answer.json()["pid"] for answer in threads.map(client.get, ["/web/sleep/0.3"] * 4)}
            assert len(pids) == 2
            os.kill(pids.pop(), signal.SIGKILL)
            eventually(lambda: client.get("/web/").text == "hello")
            assert {client.get("/web/").status_code for _ in range(5)} == {200}


def test_an_import_that_fails_is_said_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = tmp_path / "fault"
    fault.touch()
    monkeypatch.setenv("MOUNT_FAULT", str(fault))
    with mounted("broken_apps.py", spec("/", "plain"), app="broken", wait=False) as front, front.client() as client:
        eventually(lambda: len(front.said) >= 2)
        assert "RuntimeError: the database is not there" in front.said[0]
        assert "broken_apps.py" in front.said[0]
        assert not front.mounts[0].ready
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(client.get, "/")
            fault.unlink()
            assert waiting.result(30).text == "mended, by a first import"


def test_nobody_waits_for_what_comes_much_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = tmp_path / "fault"
    fault.touch()
    monkeypatch.setenv("MOUNT_FAULT", str(fault))
    monkeypatch.setattr("bursty.serving.mounts.START_WAIT", 0.1)
    with mounted("broken_apps.py", spec("/", "plain"), app="broken", wait=False) as front, front.client() as client:
        answer = client.get("/")
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert int(answer.headers["retry-after"]) >= 1


def test_a_startup_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = tmp_path / "fault"
    fault.touch()
    monkeypatch.setenv("MOUNT_FAULT", str(fault))
    mount = spec("/", "root", "asgi")
    with mounted("startup_app.py", mount, app="starting", wait=False) as front, front.client() as client:
        eventually(lambda: len(front.said) >= 1)
        assert "the startup of the mounted app 'root' failed" in front.said[0]
        assert "the model is not there" in front.said[0]
        fault.unlink()
        assert client.get("/").text == "started"


def test_an_app_that_is_not_there_is_named() -> None:
    with mounted("flask_app.py", spec("/", "other"), app="flasky", wait=False) as front:
        eventually(lambda: len(front.said) >= 1)
        assert "has no App 'flasky' that mounts 'other'" in front.said[0]


def cannot_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_what_is_under_way_is_finished_before_the_end(tmp_path: Path) -> None:
    with mounted("flask_app.py", spec("/web", "web"), app="flasky") as front, front.client() as client:
        pid = client.get("/web/memory").json()["pid"]
        with ThreadPoolExecutor(1) as thread:
            waiting = held(client, tmp_path / "gate", thread)
            front.stop()
            eventually(lambda: cannot_connect(front.port))
            (tmp_path / "gate").touch()
            assert waiting.result(30).text == "let go"
    eventually(lambda: not is_alive(pid))
    assert front.said == []  # ended in good order


def test_what_does_not_end_in_time_is_cut() -> None:
    with mounted("flask_app.py", spec("/web", "web"), app="flasky") as front, front.client() as client:
        pid = client.get("/web/memory").json()["pid"]
        with client.stream("GET", "/web/ticks") as answer:
            pieces = answer.iter_bytes()
            next(pieces)
            front.run(front.mounts[0].stop(0.1))
            with pytest.raises(httpx.RemoteProtocolError):
                collections.deque(pieces, 0)
        eventually(lambda: not is_alive(pid))
        late = client.get("/web/")
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")


def test_shutdown_is_run_at_the_end() -> None:
    with mounted("asgi_apps.py", spec("/fast", "fast", "asgi"), app="asgis") as front, front.client() as client:
        pid = client.get("/fast/where") and None
    assert pid is None
    eventually(lambda: ("mount fast 0", "stdout", "shutdown was run\n") in front.printed)


def test_no_socket_is_left_behind() -> None:
    with mounted("flask_app.py", spec("/web", "web"), app="flasky") as front:
        folder = Path(front.mounts[0].folder)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert [path.is_socket() for path in folder.iterdir()] == [True]
    assert not folder.exists()


def test_threads_are_not_more_than_declared() -> None:
    """What waits for a thread waits in the server."""
    with mounted("flask_app.py", spec("/web", "web", threads=2), app="flasky") as front, front.client() as client:
        with ThreadPoolExecutor(10) as threads:
            assert all(answer.is_success for answer in threads.map(client.get, ["/web/sleep/0.05"] * 10))
        assert client.get("/web/streams").json()["threads"] <= 3


@pytest.mark.parametrize(
    ("path", "found"),
    [("/", "/"), ("/a", "/a"), ("/a/", "/a"), ("/a/x", "/a"), ("/ab", "/"), ("/a/b", "/a/b"), ("/a/b/c", "/a/b")],
)
def test_the_longest_path_wins(path: str, found: str) -> None:
    mounts = [Front.plan(spec(place, place.strip("/") or "root")) for place in ("/", "/a", "/a/b")]
    mount = mount_at(path, mounts)
    assert mount is not None
    assert mount.spec.path == found


def test_nothing_is_mounted_there() -> None:
    assert mount_at("/b", [Front.plan(spec("/a", "a"))]) is None


def test_the_pause_before_a_restart_grows_to_a_limit() -> None:
    for was_up, limit in ((True, LAST_DELAY_UP), (False, LAST_DELAY)):
        delays = [restart_delay(failures, was_up=was_up) for failures in range(1, 2000)]
        assert delays[0] == 0
        assert delays == sorted(delays)
        assert delays[-1] == limit


def test_clients_that_leave_make_no_room_for_more_threads(tmp_path: Path) -> None:
    """A view goes on when its client has hung up; one that nobody waits for any more is not begun."""
    gate = tmp_path / "gate"
    request = f"GET /web/hold?gate={gate} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    with mounted("flask_app.py", spec("/web", "web", threads=2), app="flasky") as front, front.client() as client:
        child = front.mounts[0].children[0]
        for _ in range(10):
            with socket.create_connection(("127.0.0.1", front.port)) as connection:
                connection.sendall(request)
                eventually(lambda: child.busy > 0)
            eventually(lambda: child.busy == 0)
        gate.touch()
        assert client.get("/web/streams").json()["held"] == 2


def test_a_process_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bursty.serving.mounts_child.FAREWELL_SECONDS", 0.2)
    with mounted("flask_app.py", spec("/web", "web"), app="flasky") as front, front.client() as client:
        pid = client.get("/web/memory").json()["pid"]
        with ThreadPoolExecutor(1) as thread:
            waiting = held(client, tmp_path / "gate", thread)
            front.run(front.mounts[0].stop(0.1))
            assert waiting.result(30).status_code == 502
        eventually(lambda: not is_alive(pid))
