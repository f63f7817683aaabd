"""FastAPI, Starlette, Django and bare ASGI apps behind the server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from socket import SHUT_RDWR
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from mounting import Front, eventually, mounted, spec


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    mounts = [spec(f"/{name}", name, "asgi") for name in ("fast", "star", "bare")]
    with mounted("asgi_apps.py", *mounts, app="asgis") as front:
        yield front


@pytest.fixture
def client(front: Front) -> Iterator[httpx.Client]:
    with front.client() as client:
        yield client


def happened(client: httpx.Client, mount: str) -> str:
    return (
        client.get("/star/happened").text if mount == "star" else " ".join(client.get("/fast/where").json()["happened"])
    )


def socket(front: Front, path: str, **options: Any) -> Any:
    return connect(f"ws://127.0.0.1:{front.port}{path}", **options)


def test_fastapi_answers_json_and_checks_it(client: httpx.Client) -> None:
    assert client.post("/fast/items", json={"name": "a", "price": 1.5}).json() == {"name": "a", "price": 3.0}
    assert client.post("/fast/items", json={"name": "a"}).status_code == 422


def test_an_app_knows_where_it_is_mounted_and_what_its_startup_left(client: httpx.Client) -> None:
    seen = client.get("/fast/where").json()
    base = str(client.base_url).rstrip("/")
    assert (seen["root"], seen["url"], seen["item"]) == ("/fast", f"{base}/fast/where", f"{base}/fast/items")
    assert seen["model"] == "loaded once"
    assert seen["happened"].count("startup") == 1
    assert "/fast/items" in client.get("/fast/openapi.json").text or client.get("/fast/docs").status_code == 200


def test_streams_and_background_tasks(client: httpx.Client) -> None:
    assert client.get("/fast/stream").text == "".join(f"line {number}\n" for number in range(1000))
    assert client.post("/fast/background").json() == "soon"
    eventually(lambda: "background" in happened(client, "fast"))


def test_a_client_that_hangs_up_ends_the_stream(client: httpx.Client) -> None:
    with client.stream("GET", "/fast/endless") as answer:
        next(answer.iter_bytes())
    eventually(lambda: "ended" in happened(client, "fast"))


def test_bodies_of_any_kind(client: httpx.Client) -> None:
    assert client.post("/fast/size", content=b"x" * 20_000_000).json() == 20_000_000
    assert client.post("/fast/size", content=(b"y" * 1000 for _ in range(100))).json() == 100_000
    assert client.post("/fast/size").json() == 0


def test_many_requests_wait_side_by_side(front: Front) -> None:
    with front.client(limits=httpx.Limits(max_connections=100)) as client, ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(lambda _: client.get("/fast/sleep/0.2"), range(100)))
    assert {answer.text for answer in answers} == {'"slept"'}


def test_an_async_view_that_raises(front: Front, client: httpx.Client) -> None:
    assert client.get("/fast/raises").status_code == 500
    eventually(
        lambda: any("an async view that raises" in text for label, _, text in front.printed if label == "mount fast 0")
    )


# WebSockets


def test_websockets_carry_text_and_bytes_both_ways(front: Front) -> None:
    with socket(front, "/star/echo") as one, socket(front, "/fast/echo", subprotocols=["other", "echo"]) as two:
        assert one.response.headers["x-greeting"] == "hello"
        assert two.subprotocol == "echo"
        for number in range(20):
            one.send(f"{number} ünïcode")
            two.send(str(number))
            assert (one.recv(), two.recv()) == (f"{number} ünïcode", str(number))
        one.send(b"\x00\xff" * 300_000)
        assert one.recv() == b"\x00\xff" * 300_000


def test_the_app_closes_with_its_own_code(front: Front) -> None:
    with socket(front, "/star/echo") as connection:
        connection.send("bye")
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you wish")


def test_the_app_hears_that_the_client_left(front: Front, client: httpx.Client) -> None:
    with socket(front, "/star/echo") as connection:
        connection.close(4321)
    eventually(lambda: "closed 4321" in happened(client, "star"))
    with socket(front, "/star/echo") as gone:
        gone.socket.shutdown(SHUT_RDWR)
    eventually(lambda: "closed 1005" in happened(client, "star"))


@pytest.mark.parametrize("pause", ["0", "0.01"])
def test_an_app_that_only_sends_is_told_by_an_error(front: Front, client: httpx.Client, pause: str) -> None:
    name = uuid4().hex
    with socket(front, f"/star/chatter?pause={pause}&name={name}") as connection:
        for _ in range(5):
            connection.recv()
            assert client.get("/star/happened").status_code == 200  # it does not hold up the others
    eventually(lambda: f"nobody listens {name}" in happened(client, "star"))


def test_websockets_that_the_app_does_not_want(front: Front) -> None:
    with pytest.raises(InvalidStatus) as refused:
        socket(front, "/star/refused")
    assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus) as denied:
        socket(front, "/star/denied")
    assert (denied.value.response.status_code, denied.value.response.body) == (402, b"members only")


def test_a_websocket_whose_app_raises_is_closed(front: Front) -> None:
    with socket(front, "/star/echo") as connection:
        connection.send("raise")
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv()
    assert closed.value.rcvd.code == 1011


def test_connections_serve_one_thing_after_the_other(front: Front, client: httpx.Client) -> None:
    """What a request leaves unread is not taken for a part of the next one."""
    for number in range(20):
        assert client.post("/bare/unread", content=b"x" * 500_000).text == "bare"
        with socket(front, "/star/echo") as connection:
            connection.send("never answered: the client has left")
        assert client.post("/fast/items", json={"name": str(number), "price": 1}).json()["name"] == str(number)


def test_a_task_left_behind_takes_nothing_of_the_next_request(front: Front, client: httpx.Client) -> None:
    for _ in range(5):
        with socket(front, "/star/leaky") as connection, pytest.raises(ConnectionClosed):
            connection.recv()
        assert client.get("/star/happened").status_code == 200


# Apps that misbehave


@pytest.mark.parametrize("path", ["split", "name", "status"])
def test_headers_that_would_split_the_answer_are_not_sent(front: Front, client: httpx.Client, path: str) -> None:
    answer = client.get(f"/bare/{path}")
    assert answer.status_code == 502
    assert "x-injected" not in answer.headers
    assert any("can't be sent" in line for line in front.said)
    assert client.get("/bare/fine").text == "bare"


def test_headers_of_the_connection_stay_here(client: httpx.Client) -> None:
    answer = client.get("/bare/hop")
    assert (answer.status_code, answer.text) == (200, "bare")
    assert not {"connection", "x-own"} & set(answer.headers)


@pytest.mark.parametrize("path", ["nothing", "body-first"])
def test_answers_out_of_turn_are_errors_of_the_app(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/bare/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")


def test_an_answer_shorter_than_it_says_is_cut(client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/bare/late")
    assert client.get("/bare/fine").text == "bare"


def test_what_an_app_receives(client: httpx.Client) -> None:
    assert client.get("/bare/receive").headers["x-seen"] == "http.request"
    assert client.get("/bare/after").text == "done"


# Django


@pytest.fixture(scope="module")
def django() -> Iterator[Front]:
    mounts = [spec("/dj", "dj"), spec("/adj", "adj", "asgi")]
    with mounted("django_app.py", *mounts, app="djangoish") as front:
        yield front


@pytest.mark.parametrize("root", ["/dj", "/adj"])
def test_django_by_both_ways(django: Front, root: str) -> None:
    with django.client() as client:
        seen = client.get(f"{root}/where").json()
        assert seen == {"path": f"{root}/where", "info": "/where", "item": f"{root}/items/a%20b"}
        assert client.get(f"{root}/items/%C3%BC").text == "ü"
        form = client.post(f"{root}/form", data={"a": "1"}, files={"file": b"x" * 3_000_000}).json()
        assert form == {"form": {"a": ["1"]}, "files": {"file": 3_000_000}}
        assert client.get(f"{root}/stream").text.endswith("line 999\n")
        assert client.get(f"{root}/raises").status_code == 500
        assert client.get(f"{root}/nowhere").status_code == 404
