"""``bursty serve``: endpoints over HTTP, with worker processes that misbehave in every way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from bursty import Settings, Stage
from servers import free_port, stop, wait_until
from serving_process import BURSTY, Serving, serving

APP = """
import ctypes, os, sys, time
from pathlib import Path
from msgspec import Struct
from bursty import App, Batching, Default, Log

app = App("shop")

class Row(Struct):
    x: float
    fault: str = ""

class Score(Struct):
    score: float

def misbehave(fault):
    match fault:
        case "burn":
            end = time.monotonic() + 0.6
            while time.monotonic() < end:
                pass
        case "gil":  # C code that holds the interpreter's lock
            ctypes.PyDLL(None).usleep(600_000)
        case "sleep":
            time.sleep(0.6)
        case "loop":
            while True:
                pass
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "sysexit":
            sys.exit(4)
        case "raise":
            raise ValueError("no such thing")
        case "memory":
            bytearray(1 << 30)

def score(rows):
    for row in rows:
        misbehave(row.fault)
    return [Score(2 * row.x) for row in rows]

@app.endpoint("/predict", deadline="200 ms", fallback=Default({"score": -1.0}, each=True), memory="600 MiB")
def predict(rows: list[Row]) -> list[Score]:
    return score(rows)

@app.endpoint("/bare", deadline="200 ms")
def bare(rows: list[Row]) -> list[Score]:
    return score(rows)

@app.endpoint("/together", deadline="5 s", batch=Batching(16, "20 ms"), log=False)
def together(rows: list[Row]) -> list[Score]:
    return score(rows)

@app.endpoint("/remembered", deadline="200 ms", fallback=["last_good", Default("nothing")])
def remembered(key: str) -> dict[str, str]:
    if Path(os.environ["SHOP"], "slow").exists():
        time.sleep(0.5)
    return {"key": key, "pid": str(os.getpid())}

@app.endpoint("/narrow", deadline="300 ms", concurrency=1, spares=0)
def narrow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds

@app.endpoint("/patient", deadline="30 s", timeout="60 s", concurrency=1, spares=0)
def patient(seconds: float) -> float:
    time.sleep(seconds)
    return seconds

@app.endpoint("/many", deadline="60 s", chunk=1_000)
def many(values: list[float]) -> list[float]:
    return [2 * value for value in values]

@app.endpoint("/users/{user}/rank", deadline="5 s", auth="public")
def rank(user: str, top: int = 3) -> list[str]:
    return [f"{user}-{number}" for number in range(top)]
"""
FAULTS = ("burn", "gil", "sleep", "loop", "segfault", "exit", "sysexit", "memory")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("shop")
    with serving(APP, folder, "--access-log", SHOP=str(folder)) as server:
        yield server


def fresh(server: Serving, path: str = "/predict") -> httpx.Response:
    """An answer of a worker; on a machine with much to do the first may be late."""
    found: list[httpx.Response] = []

    def asked() -> bool:
        found.append(server.ask(path, [{"x": 4}]))
        return found[-1].headers.get("bursty-answer") == "fresh"

    assert wait_until(asked), found[-1].text
    return found[-1]


def test_an_answer_says_where_it_comes_from(shop: Serving) -> None:
    answer = fresh(shop)
    assert answer.json() == [{"score": 8.0}]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["bursty-prediction"] == answer.headers["x-request-id"]


def test_a_bad_item_spoils_none_of_its_neighbours(shop: Serving) -> None:
    answer = shop.ask("/many", [1, "two", None, 4])
    assert [item if isinstance(item, float) else "error" in item for item in answer.json()] == [2.0, True, True, 8.0]


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_a_request_does_the_answer_is_in_time_and_the_next_is_fresh(shop: Serving, fault: str) -> None:
    answer = shop.ask("/predict", [{"x": 1}, {"x": 2, "fault": fault}])
    assert answer.status_code == 200
    assert answer.headers["bursty-answer"] == "default"
    assert answer.json() == [{"score": -1.0}] * 2
    assert fresh(shop).json() == [{"score": 8.0}]


@pytest.mark.parametrize(("fault", "status"), [("sleep", 504), ("segfault", 500), ("exit", 500)])
def test_without_a_fallback_the_problem_is_told(shop: Serving, fault: str, status: int) -> None:
    answer = shop.ask("/bare", [{"x": 1, "fault": fault}])
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert "bursty-answer" not in answer.headers
    assert "Traceback" not in answer.text
    assert "app.py" not in answer.text
    fresh(shop, "/bare")


def test_what_raises_fails_its_item_alone(shop: Serving) -> None:
    fresh(shop)
    answers = [shop.ask("/together", [{"x": 1}, {"x": 2, "fault": "raise"}, {"x": 3}]) for _ in range(2)]
    for answer in answers:
        assert [item.get("score") for item in answer.json()] == [2.0, None, 6.0]
        assert "no such thing" in answer.json()[1]["error"]["message"]


def test_a_request_that_kills_its_worker_fails_alone_among_those_scored_together(shop: Serving) -> None:
    bodies = [[{"x": number, "fault": "segfault" if number == 5 else ""}] for number in range(12)]
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda body: shop.ask("/together", body), bodies))
    assert [answer.status_code for answer in answers] == [200] * 5 + [500] + [200] * 6
    assert [answer.json()[0]["score"] for answer in answers if answer.status_code == 200] == [
        2.0 * number for number in range(12) if number != 5
    ]


def test_requests_that_wait_are_scored_together(shop: Serving) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda number: shop.ask("/together", [{"x": number}]), range(64)))
    assert [answer.json() for answer in answers] == [[{"score": 2.0 * number}] for number in range(64)]
    invocations = shop.metric("batch_items_count", endpoint="together")
    assert 0 < invocations < shop.metric("batch_items_sum", endpoint="together")


def test_the_last_good_answer_to_the_same_input_is_a_fallback(shop: Serving) -> None:
    slow = shop.folder / "slow"

    def ask(key: str) -> httpx.Response:
        return shop.ask("/remembered", {"key": key})

    assert wait_until(lambda: ask("a").headers["bursty-answer"] == "fresh")
    known = ask("a").json()["key"]
    slow.touch()
    try:
        again, never = ask("a"), ask("never")
        assert (again.headers["bursty-answer"], again.json()["key"]) == ("cached", known)
        assert never.headers["bursty-answer"] == "default"
        # The result that came too late is kept: the next one who asks gets it.
        assert wait_until(lambda: ask("never").headers["bursty-answer"] == "cached")
        assert ask("never").json()["key"] == "never"
    finally:
        slow.unlink()


def test_a_client_may_shorten_its_deadline_but_not_lengthen_it(shop: Serving) -> None:
    fresh(shop, "/bare")
    short = shop.ask("/patient", {"seconds": 0.5}, headers={"Bursty-Deadline-Ms": "50"})
    assert short.status_code == 504
    assert short.json()["detail"] == "no answer within 50 ms"
    long = shop.ask("/bare", [{"x": 1, "fault": "sleep"}], headers={"Bursty-Deadline-Ms": "5000"})
    assert long.status_code == 504


def test_what_is_too_much_is_turned_away_early(shop: Serving) -> None:
    assert wait_until(lambda: shop.ask("/narrow", {"seconds": 0.05}).status_code == 200)
    with ThreadPoolExecutor(40) as threads:
        answers = list(threads.map(lambda _: shop.ask("/narrow", {"seconds": 0.05}), range(40)))
    assert {answer.status_code for answer in answers} <= {200, 503, 504}
    shed = [answer for answer in answers if answer.status_code == 503]
    assert shed
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in shed)
    assert shop.metric("sheds", endpoint="narrow") >= len(shed)


def test_nobody_works_on_for_a_client_that_has_gone(shop: Serving) -> None:
    before = shop.metric("hangups", endpoint="patient")
    body = json.dumps({"seconds": 20.0}).encode()
    with socket.create_connection(("127.0.0.1", shop.port)) as client:
        client.sendall(raw("/patient", body))
        assert wait_until(lambda: shop.metric("workers", endpoint="patient", state="busy") == 1)
    assert wait_until(lambda: shop.metric("hangups", endpoint="patient") == before + 1)
    assert shop.ask("/patient", {"seconds": 0.01}).json() == 0.01  # its only worker is replaced


def raw(path: str, body: bytes, *lines: str) -> bytes:
    head = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, *lines, "", ""]).encode() + body


def responses(client: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Status and body of so many responses, read off one connection."""
    stream = client.makefile("rb")
    found: list[tuple[int, bytes]] = []
    for _ in range(count):
        status = int(stream.readline().split()[1])
        headers = dict[bytes, bytes]()
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.partition(b": ")
            headers[name.lower()] = value
        found.append((status, stream.read(int(headers[b"content-length"]))))
    return found


def test_pipelined_requests_are_answered_in_their_order(shop: Serving) -> None:
    fresh(shop, "/bare")
    with socket.create_connection(("127.0.0.1", shop.port)) as client:
        client.settimeout(30)
        client.sendall(
            raw("/many", b"[1]")
            + b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            + raw("/many", b"[2]")
            + raw("/nowhere", b"{}")
            + raw("/many", b"[3]", "Connection: close")
        )
        found = responses(client, 5)
        assert [status for status, _ in found] == [200, 200, 200, 404, 200]
        assert [body for _, body in found if body[:1] == b"["] == [b"[2.0]", b"[4.0]", b"[6.0]"]
        assert client.recv(1) == b""


@pytest.mark.parametrize(
    "target", ["/many", "/m%61ny", "/many?", "/many?x=%5B1%5D", "/many#part", "http://127.0.0.1/many"]
)
def test_the_same_path_however_it_is_spelt(shop: Serving, target: str) -> None:
    with socket.create_connection(("127.0.0.1", shop.port)) as client:
        client.settimeout(30)
        client.sendall(raw(target, b"[1]") + raw(target, b"[2]"))
        assert responses(client, 2) == [(200, b"[2.0]"), (200, b"[4.0]")]


def test_a_body_in_pieces_and_one_that_is_announced(shop: Serving) -> None:
    with socket.create_connection(("127.0.0.1", shop.port)) as client:
        client.settimeout(30)
        for piece in (raw("/many", b"[1,2]")[:-3], b",2", b"]"):
            client.sendall(piece)
        assert responses(client, 1) == [(200, b"[2.0,4.0]")]
    sent = shop.client.post("/many", content=iter([b"[1", b",2]"]), headers={"content-type": "application/json"})
    assert sent.json() == [2.0, 4.0]


def test_a_hundred_thousand_items_keep_their_order(shop: Serving) -> None:
    values: list[Any] = [float(number) for number in range(100_000)]
    values[70_000] = None
    answer = shop.ask("/many", values)
    assert answer.status_code == 200
    found = answer.json()
    assert len(found) == 100_000
    assert "error" in found.pop(70_000)
    values.pop(70_000)
    assert found == [2 * value for value in values]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(shop: Serving) -> None:
    with socket.create_connection(("127.0.0.1", shop.port)) as client:
        client.settimeout(30)
        client.sendall(raw("/many", b"")[:-2].replace(b"Content-Length: 0", b"Content-Length: 100000000") + b"\r\n[")
        assert responses(client, 1)[0][0] == 413
    endless = shop.client.post("/many", content=(b"[" + b" " * (1 << 20) for _ in range(20)))
    assert endless.status_code in (413, 415)


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("DELETE", "/predict", {}, 405),
        ("POST", "/predict", {"content": b"a=b", "headers": {"content-type": "text/plain"}}, 415),
        ("POST", "/many", {"content": b"[1,", "headers": {"content-type": "application/json"}}, 400),
        ("POST", "/many", {"content": b'["\xff"]', "headers": {"content-type": "application/json"}}, 400),
        ("POST", "/many", {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, 400),
        ("POST", "/many", {"json": {"value": 1}}, 422),
        ("POST", "/many", {"json": [1], "headers": {"bursty-deadline-ms": "soon"}}, 400),
        ("POST", "/many", {"json": [1], "headers": {"bursty-deadline-ms": "-1"}}, 400),
        ("GET", "/users/ann/rank?top=many", {}, 422),
    ],
)
def test_bad_requests_are_told_why(shop: Serving, method: str, path: str, options: Any, status: int) -> None:
    answer = shop.client.request(method, path, **options)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"]


def test_parameters_come_from_path_and_query(shop: Serving) -> None:
    assert shop.client.get("/users/ann%20lee/rank?top=2").json() == ["ann lee-0", "ann lee-1"]
    assert shop.client.get("/users/a/b/rank").status_code == 404


def test_off_this_machine_a_token_is_needed(shop: Serving) -> None:
    afar = {"X-Forwarded-For": "203.0.113.7"}
    assert shop.ask("/many", [1], headers=afar).status_code == 401
    assert shop.client.get("/metrics", headers=afar).status_code == 401
    assert shop.client.post("/labels", json=[], headers=afar).status_code == 401
    assert shop.client.get("/users/a/rank", headers=afar).status_code == 200  # it is declared public
    token = shop.run("tokens", "create", "partner", "--scope", "predict:/many").strip()
    bearer = {**afar, "Authorization": f"Bearer {token}"}
    assert wait_until(lambda: shop.ask("/many", [1], headers=bearer).status_code == 200)
    assert shop.ask("/bare", [{"x": 1}], headers=bearer).status_code == 403
    shop.run("tokens", "revoke", "partner")
    assert wait_until(lambda: shop.ask("/many", [1], headers=bearer).status_code == 401)


def test_every_answer_is_remembered_with_its_kind(shop: Serving) -> None:
    good = fresh(shop).headers["bursty-prediction"]
    default = shop.ask("/predict", [{"x": 3, "fault": "sleep"}, {"x": 4}]).headers["bursty-prediction"]
    with Stage(Settings(home=str(shop.folder / ".bursty"))) as stage:
        wanted = [f"{good}/0", f"{default}/0", f"{default}/1"]
        assert wait_until(lambda: len(stage.predictions.find(wanted)) == 3)
        rows = {row.prediction.id: row.prediction for row in stage.predictions.find(wanted)}
    assert (rows[wanted[0]].score, str(rows[wanted[0]].answer)) == (8.0, "fresh")
    assert {str(rows[name].answer) for name in wanted[1:]} == {"default"}
    assert {rows[name].error for name in wanted[1:]} == {"no answer within 200 ms"}
    assert json.loads(rows[wanted[2]].input or "") == {"x": 4}


def test_each_request_has_a_line_in_the_access_log(shop: Serving) -> None:
    asked = shop.client.get("/users/ann/rank?top=1&secret=hush").headers["x-request-id"]
    short = fresh(shop).headers["x-request-id"]
    assert wait_until(lambda: asked in shop.said and short in shop.said)
    found = [json.loads(line) for line in shop.said.splitlines() if line.startswith("{")]
    lines = {line["id"]: line for line in found if "id" in line}
    assert (lines[asked]["path"], lines[asked]["status"], lines[asked]["answer"]) == (
        "/users/ann/rank?top&secret",
        200,
        "fresh",
    )
    assert (lines[short]["path"], lines[short]["answer"], lines[short]["method"]) == ("/predict", "fresh", "POST")


def test_a_signal_lets_requests_end_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with serving(APP, tmp_path, SHOP=str(tmp_path)) as server, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(server.ask, "/patient", {"seconds": 1.5})
        assert wait_until(lambda: server.metric("workers", endpoint="patient", state="busy") == 1)
        children = set(descendants(server.process.pid))
        assert children
        server.process.send_signal(signal.SIGTERM)
        assert asked.result().json() == 1.5
        assert server.process.wait(60) in (0, -signal.SIGTERM)
        assert wait_until(lambda: not any(is_alive(pid) for pid in children))


def test_a_second_signal_cuts_requests_off_but_loses_no_prediction(tmp_path: Path) -> None:
    with serving(APP, tmp_path, SHOP=str(tmp_path)) as server, ThreadPoolExecutor(1) as threads:
        fresh(server, "/predict")
        asked = threads.submit(server.ask, "/patient", {"seconds": 60})
        assert wait_until(lambda: server.metric("workers", endpoint="patient", state="busy") == 1)
        children = set(descendants(server.process.pid))
        answered = sum(server.ask("/predict", [{"x": 1.0}]).status_code == 200 for _ in range(100))
        for _ in range(2):
            server.process.send_signal(signal.SIGINT)
            assert wait_until(lambda: not is_open(server.port))
        assert server.process.wait(30) == 0
        with pytest.raises(httpx.TransportError):
            asked.result()
        assert wait_until(lambda: not any(is_alive(pid) for pid in children))
        assert "ended at once" in server.said
        assert "Traceback" not in server.said
    with Stage(Settings(home=str(tmp_path / ".bursty"))) as stage:
        assert stage.predictions.count("predict").predictions >= answered == 100


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


def test_an_endpoint_that_cannot_start_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    source = (
        APP
        + """
@app.endpoint("/broken", deadline="5 s")
class Broken:
    def __init__(self):
        raise OSError("the model is not here")
    def __call__(self, value: float) -> float:
        return value
"""
    )
    with serving(source, tmp_path, ready=False, SHOP=str(tmp_path)) as server:
        assert wait_until(lambda: server.ask("/broken", {"value": 1}).status_code == 503)
        assert "the model is not here" in server.client.get("/ready").text
        assert "the model is not here" in server.said
        fresh(server)


def descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from descendants(int(child))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"


def test_who_hangs_up_with_several_requests_under_way_leaves_nothing_behind(shop: Serving) -> None:
    fresh(shop, "/bare")
    before = shop.metric("hangups", endpoint="rank")
    request = b"GET /users/ann/rank HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", shop.port)) as connection:
            connection.sendall(4 * request)
    assert wait_until(lambda: shop.metric("hangups", endpoint="rank") > before)
    assert wait_until(lambda: shop.metric("in_flight") == 0)
    assert "unable to perform operation" not in shop.said


def test_answers_go_on_when_nobody_reads_what_is_printed_any_more(tmp_path: Path) -> None:
    source = 'from bursty import App\napp = App("chat")\n@app.endpoint("/say", deadline="1 s", concurrency=1)\n'
    (tmp_path / "app.py").write_text(f"{source}def say(x: int) -> int:\n    print(x)\n    return x\n", encoding="utf-8")
    port = free_port()
    command = [BURSTY, "serve", "app.py", "--port", str(port)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if b"ready after" in line:
                break
        process.stdout.close()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            assert [client.post("/say", json={"x": number}).status_code for number in range(10)] == [200] * 10
    finally:
        stop(process)
