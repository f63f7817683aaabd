"""Flask behind the server: a real process, real HTTP."""

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil
import pytest

from bursty.errors import RemoteError
from mounting import Front, eventually, mounted, spec


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with mounted("flask_app.py", spec("/web", "web", threads=4), app="flasky") as front:
        yield front


@pytest.fixture
def client(front: Front) -> Iterator[httpx.Client]:
    with front.client() as client:
        yield client


def test_a_flask_view_answers(client: httpx.Client) -> None:
    answer = client.get("/web/")
    assert (answer.status_code, answer.text) == (200, "hello")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_the_app_sees_its_own_place(client: httpx.Client) -> None:
    seen = client.get("/web/where", params=[("a", "1"), ("a", "2"), ("b", "ü")]).json()
    assert seen["script_root"] == "/web"
    assert seen["path"] == "/where"
    assert seen["url"] == "/web/items/a%20b?page=2"
    assert seen["outside"] == f"{client.base_url}/web/".replace("//web", "/web")
    assert seen["query"] == {"a": ["1", "2"], "b": ["ü"]}
    assert (seen["method"], seen["remote"], seen["scheme"]) == ("GET", "127.0.0.1", "http")
    assert client.get("/web/back").headers["location"] == "/web/"


@pytest.mark.parametrize("name", ["a b", "ünïcode", "50%", "a+b", "日本"])
def test_paths_arrive_as_they_were_sent(client: httpx.Client, name: str) -> None:
    assert client.get("/web/items/" + quote(name)).text == name


def test_bytes_in_a_path_that_are_no_text_harm_nobody(client: httpx.Client) -> None:
    assert client.get("/web/items/%FF%FE").status_code in (200, 404)
    assert client.get("/web/items/fine").text == "fine"


def test_a_path_without_the_slash_is_the_apps_root(client: httpx.Client) -> None:
    assert client.get("/web").headers["location"] == f"{str(client.base_url).rstrip('/')}/web/"  # as Flask has it


def test_forms_and_cookies(client: httpx.Client) -> None:
    answer = client.post("/web/form", data={"a": ["1", "2"], "b": "ü"}, headers={"Cookie": "taste=sweet; other=1"})
    assert answer.json() == {"form": {"a": ["1", "2"], "b": ["ü"]}, "cookie": "sweet"}


def test_headers_arrive_once_and_only_true_ones(front: Front) -> None:
    lines = [
        "GET /web/where HTTP/1.1",
        "Host: example.test",
        "X-Plain: 1",
        "X_Plain: forged",
        "X-Twice: a",
        "X-Twice: b",
        "Proxy: http://evil.test",
        "Connection: keep-alive, X-Mine",
        "X-Mine: for this connection only",
        "Keep-Alive: 300",
    ]
    answer = raw(front.port, "\r\n".join([*lines, "", ""]))
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])
    given = {name.lower(): value for name, value in seen["headers"].items()}
    assert given == {"host": "example.test", "x-plain": "1", "x-twice": "a,b"}


def test_nothing_that_is_forwarded_is_made_up(client: httpx.Client) -> None:
    assert not [name for name in client.get("/web/where").json()["headers"] if "forward" in name.lower()]


def test_head_has_the_headers_and_no_body(client: httpx.Client) -> None:
    answer = client.head("/web/")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "5")
    assert client.get("/web/").text == "hello"  # the connection is still in step


def test_a_body_whose_length_nobody_tells(client: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for number in range(50):
            yield b"%05d" % number * 1000

    assert client.post("/web/echo", content=pieces()).content == b"".join(pieces())


def test_what_is_streamed_arrives_while_it_is_made(client: httpx.Client) -> None:
    with client.stream("GET", "/web/ticks") as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        assert next(answer.iter_bytes()).startswith(b"tick\n")


def test_a_client_that_hangs_up_frees_the_thread(client: httpx.Client) -> None:
    for _ in range(6):  # more than there are threads
        with client.stream("GET", "/web/ticks") as answer:
            next(answer.iter_bytes())
    eventually(lambda: client.get("/web/streams").json()["open"] == 0)


def test_a_client_that_hangs_up_in_the_middle_of_its_body(front: Front, client: httpx.Client) -> None:
    head = "POST /web/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    for _ in range(6):
        with socket.create_connection(("127.0.0.1", front.port), 30) as connection:
            connection.sendall(head.encode() + b"x" * 1000)
    assert client.get("/web/").text == "hello"
    eventually(lambda: all(child.busy == 0 for mount in front.mounts for child in mount.children))


def test_fifty_megabytes_up_and_down_in_little_memory(front: Front, client: httpx.Client, tmp_path: Path) -> None:
    before = client.get("/web/memory").json()["peak"]
    own = resident()
    file = tmp_path / "large.bin"
    file.write_bytes(b"z" * 50_000_000)
    with file.open("rb") as stream:
        assert client.post("/web/upload", files={"file": ("large.bin", stream)}).json() == {
            "size": 50_000_000,
            "name": "large.bin",
        }
    with client.stream("GET", "/web/download/50") as answer:
        assert sum(len(piece) for piece in answer.iter_bytes()) == 50_000_000
    assert client.get("/web/memory").json()["peak"] - before < 20_000_000
    assert resident() - own < 20_000_000


def test_a_large_body_in_one_piece(front: Front, client: httpx.Client) -> None:
    own = resident()
    with client.stream("GET", "/web/one/50") as answer:
        assert answer.headers["content-length"] == "50000000"
        seen = [(len(piece), resident()) for piece in answer.iter_bytes(1_000_000)]
    assert sum(size for size, _ in seen) == 50_000_000
    assert max(memory for _, memory in seen) - own < 20_000_000


def resident() -> int:
    """Bytes of memory of this process, which is server and client."""
    return psutil.Process().memory_info().rss


def test_a_slow_client_makes_the_app_wait(front: Front, client: httpx.Client) -> None:
    before = client.get("/web/memory").json()["now"]
    own = resident()
    with client.stream("GET", "/web/download/200") as answer:
        pieces = answer.iter_bytes()
        next(pieces)
        seen = [front_and_app(client) for _ in range(20)]
        assert max(app for app, _ in seen) - before < 20_000_000
        assert max(server for _, server in seen) - own < 20_000_000
        assert sum(map(len, pieces)) > 190_000_000


def front_and_app(client: httpx.Client) -> tuple[int, int]:
    return client.get("/web/memory").json()["now"], resident()


def test_a_body_that_the_app_does_not_read(client: httpx.Client) -> None:
    for _ in range(5):
        answer = client.post("/web/ignore", content=b"x" * 3_000_000)
        assert (answer.status_code, answer.text) == (413, "not read")
        assert client.get("/web/items/next").text == "next"


def test_fifty_at_once_on_few_threads(front: Front) -> None:
    with front.client(limits=httpx.Limits(max_connections=50)) as client, ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: client.get("/web/sleep/0.05"), range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["thread"] for answer in answers}) <= 4


def test_a_view_that_raises_is_logged_with_the_mounts_name(front: Front, client: httpx.Client) -> None:
    assert client.get("/web/bad").status_code == 500
    eventually(lambda: "a view that raises" in text_of(front, "stderr"))
    assert {label for label, _, _ in front.printed} == {"mount web 0"}


def test_what_the_app_prints_is_in_the_log(front: Front, client: httpx.Client) -> None:
    assert client.get("/web/say/loud").text == "said"
    eventually(lambda: "loud\n" in text_of(front, "stdout") and "LOUD\n" in text_of(front, "stderr"))
    eventually(lambda: "logged loud" in text_of(front, "stderr"))


def text_of(front: Front, stream: str) -> str:
    return "".join(text for _, kind, text in front.printed if kind == stream)


def test_the_apps_env_needs_nothing_of_the_servers(client: httpx.Client) -> None:
    loaded = set(client.get("/web/modules").json())
    assert {"flask", "msgspec"} <= loaded
    assert not loaded & {"anyio", "httptools", "pydantic", "starlette", "uvicorn", "uvloop", "websockets"}


def test_half_an_answer_never_looks_whole(front: Front, client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError), client.stream("GET", "/web/raise-halfway") as answer:
        assert b"".join(answer.iter_bytes()) == b"half of it"
    assert isinstance(front.failures[-1], RemoteError)
    assert client.get("/web/").text == "hello"


def raw(port: int, request: str) -> bytes:
    """What is answered to these very bytes."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        match = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        while match and len(body) < int(match[1]):
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body
