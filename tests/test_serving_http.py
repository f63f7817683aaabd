"""HTTP as strangers speak it: raw bytes to the server's protocol, with short limits where tests wait for them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from bursty.serving.http import Limits, limited
from labs import eventually

HOST = b"Host: here\r\n"
SHORT = Limits(head_seconds=0.8, body_seconds=0.8, body_rate=10.0, linger_seconds=0.5, connections=20)
LONG = Limits(head_seconds=60, body_seconds=60, linger_seconds=60)


class App:
    """Tells what it was asked. ``/wait`` answers when ``go`` is set; ``/early`` answers before the body has come."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hung_up: list[str] = []
        self.cut_off: list[str] = []
        self.go = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.asked.append(path)
        scope["bursty.connection"].on_lost = lambda: self.hung_up.append(path)
        body = b""
        while path != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                self.cut_off.append(path)
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if path == "/wait":
            await asyncio.to_thread(self.go.wait)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        told = {"path": path, "method": scope["method"], "headers": headers, "body": body.decode(), "size": len(body)}
        data = json.dumps(told).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(data))]})
        await send({"type": "http.response.body", "body": data})


class Site:
    """A server on a private port, in a thread."""

    def __init__(self, limits: Limits) -> None:
        self.app = App()
        self.refused: list[int] = []
        config = uvicorn.Config(
            self.app,
            http=limited(limits, self.refused.append),
            loop="uvloop",
            lifespan="off",
            log_config=None,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()
        eventually(lambda: self.server.started)

    def close(self) -> None:
        self.app.go.set()
        self.server.should_exit = True
        self._thread.join()
        self._listener.close()

    @property
    def open(self) -> int:
        return len(self.server.server_state.connections)

    @contextmanager
    def connected(self) -> Iterator[Caller]:
        with socket.create_connection(self.address, timeout=30) as connection:
            caller = Caller(connection)
            try:
                yield caller
            finally:
                caller.close()

    def says(self, data: bytes) -> Answer:
        with self.connected() as caller:
            caller.send(data)
            return caller.answer()


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """One connection, spoken to in bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._file = connection.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self.connection.close()

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(self) -> Answer:
        line = self._file.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        headers: dict[str, str] = {}
        while (field := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode().partition(":")
            assert name not in headers, f"{name} twice"
            headers[name] = value.strip()
        return Answer(int(line.split()[1]), headers, self._file.read(int(headers.get("content-length", 0))))

    def is_closed(self) -> bool:
        """The other side sends no more. Waits for it."""
        return self._file.read(1) == b""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    found = Site(LONG)
    yield found
    found.close()


@pytest.fixture
def open_site() -> Iterator[Callable[[Limits], Site]]:
    sites: list[Site] = []

    def build(limits: Limits) -> Site:
        sites.append(Site(limits))
        return sites[-1]

    yield build
    for one in sites:
        one.close()


def check_problem(answer: Answer, status: int, words: str = "") -> None:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert answer.json["status"] == status
    assert words in answer.json["detail"]


# Fine requests


def test_requests_on_one_connection(site: Site) -> None:
    with site.connected() as caller:
        for number in range(3):
            caller.send(b"GET /%d HTTP/1.1\r\n%b\r\n" % (number, HOST))
            assert caller.answer().json["path"] == f"/{number}"
            caller.send(b"POST /p%d HTTP/1.1\r\n%bContent-Length: 3\r\n\r\nabc" % (number, HOST))
            assert caller.answer().json["body"] == "abc"


def test_in_one_piece_and_byte_by_byte_are_the_same(site: Site) -> None:
    data = (
        b"POST /x?a=1 HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    whole = site.says(data)
    with site.connected() as caller:
        for place in range(len(data)):
            caller.send(data[place : place + 1])
        pieces = caller.answer()
    assert whole.json == pieces.json
    assert whole.json["body"] == "abcde"


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    with site.connected() as caller:
        caller.send(b"".join(b"POST /%d HTTP/1.1\r\n%bContent-Length: 1\r\n\r\nx" % (n, HOST) for n in range(20)))
        assert [caller.answer().json["path"] for _ in range(20)] == [f"/{number}" for number in range(20)]


def test_a_large_body_beside_a_small_head(site: Site) -> None:
    body = b"x" * (8 << 20)
    found = site.says(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert found.json["size"] == len(body)


def test_an_answer_before_the_body_has_come_leaves_the_connection_in_step(site: Site) -> None:
    with site.connected() as caller:
        caller.send(b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 200000\r\n\r\n")
        assert caller.answer().json["path"] == "/early"
        caller.send(b"x" * 200000 + b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n")
        assert caller.answer().json["path"] == "/next"


def test_as_many_headers_as_are_allowed(site: Site) -> None:
    fields = b"".join(b"X-%d: y\r\n" % number for number in range(99))
    assert len(site.says(b"GET / HTTP/1.1\r\n" + HOST + fields + b"\r\n").json["headers"]) == 100
    check_problem(site.says(b"GET / HTTP/1.1\r\n" + HOST + fields + b"A: b\r\n\r\n"), 431, "more than 100 headers")


def test_trailers_do_not_become_headers(site: Site) -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    with site.connected() as caller:
        caller.send(head + b"2\r\nab\r\n0\r\nAuthorization: Bearer stolen\r\nX: y\r\n\r\n")
        assert caller.answer().json["headers"] == {"host": "here", "transfer-encoding": "chunked"}
        caller.send(b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n")
        assert caller.answer().json["headers"] == {"host": "here"}


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_an_offer_of_http2_is_passed_over_and_the_body_is_kept(site: Site, piece: int) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings, keep-alive\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
    body = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    data = b"POST /real HTTP/1.1\r\n" + HOST + offer + b"Content-Length: %d\r\n\r\n" % len(body) + body
    data += b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n"
    with site.connected() as caller:
        for place in range(0, len(data), piece):
            caller.send(data[place : place + piece])
        first, second = caller.answer().json, caller.answer().json
    assert (first["path"], first["body"]) == ("/real", body.decode())
    assert first["headers"]["connection"] == "keep-alive"
    assert "upgrade" not in first["headers"]
    assert second["path"] == "/next"


def test_the_app_is_told_when_the_client_hangs_up(site: Site) -> None:
    with site.connected() as caller:
        caller.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        eventually(lambda: "/wait" in site.app.asked)
    eventually(lambda: "/wait" in site.app.hung_up)
    site.app.go.set()


# Requests that can't be read

BAD = {
    "both lengths": b"POST / HTTP/1.1\r\n%bContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, turned": b"POST / HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\n%bContent-Length: 2\r\nContent-Length: 3\r\n\r\nab",
    "a list of lengths": b"POST / HTTP/1.1\r\n%bContent-Length: 2, 3\r\n\r\nab",
    "a signed length": b"POST / HTTP/1.1\r\n%bContent-Length: +2\r\n\r\nab",
    "no length": b"POST / HTTP/1.1\r\n%bContent-Length: \r\n\r\nab",
    "a length beyond all": b"POST / HTTP/1.1\r\n%bContent-Length: 99999999999999999999999\r\n\r\nab",
    "another encoding": b"POST / HTTP/1.1\r\n%bTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\n%bA: b\x00c\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\n%bA\x00: bc\r\n\r\n",
    "NUL in the path": b"GET /\x00 HTTP/1.1\r\n%b\r\n",
    "a byte that is no ASCII in the path": b"GET /\xff HTTP/1.1\r\n%b\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\n%bA : b\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\n%bA: b\r\n c\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\n%b\n",
    "no method": b"/ HTTP/1.1\r\n%b\r\n",
    "a method of nobody's": b"FETCH / HTTP/1.1\r\n%b\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\n%b\r\n",
    "a version of the future": b"GET / HTTP/3.7\r\n%b\r\n",
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a target that is none": b"GET http:// HTTP/1.1\r\n%b\r\n",
    "a proxy's method": b"CONNECT there:443 HTTP/1.1\r\n%b\r\n",
    "a proxy's method with a path": b"CONNECT / HTTP/1.1\r\n%b\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "garbage": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("name", BAD)
def test_what_can_not_be_read_is_a_problem_and_the_end(site: Site, name: str) -> None:
    before = len(site.app.asked)
    with site.connected() as caller:
        caller.send(BAD[name].replace(b"%b", HOST))
        check_problem(caller.answer(), 400)
        assert caller.is_closed()
    assert [path for path in site.app.asked[before:] if path != "/"] == []
    assert site.refused[-1] == 400


@pytest.mark.parametrize(
    "chunks", [b"2\r\nabc\r\n0\r\n\r\n", b"2\nab\n0\n\n", b"-2\r\nab\r\n", b"xyz\r\n", b"ffffffffffffffffff\r\n"]
)
def test_a_broken_chunk_cuts_the_app_off(site: Site, chunks: bytes) -> None:
    before = len(site.app.cut_off)
    with site.connected() as caller:
        caller.send(b"POST /broken HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        eventually(lambda: site.app.asked[-1] == "/broken")
        caller.send(chunks)
        check_problem(caller.answer(), 400)
        assert caller.is_closed()
    eventually(lambda: site.app.cut_off[before:] == ["/broken"])


def test_a_good_request_is_answered_though_the_next_is_broken(open_site: Callable[[Limits], Site]) -> None:
    site = open_site(LONG)
    with site.connected() as caller:
        caller.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\nGARBAGE\r\n\r\nGET /no HTTP/1.1\r\n\r\n")
        eventually(lambda: site.app.asked)
        site.app.go.set()
        found = caller.answer()
        assert (found.status, found.json["path"]) == (200, "/wait")
        assert found.headers["connection"] == "close"
        assert caller.is_closed()
    assert site.app.asked == ["/wait"]


def test_a_broken_body_behind_others_ends_the_connection(open_site: Callable[[Limits], Site]) -> None:
    site = open_site(LONG)
    head = b"POST /second HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    with site.connected() as caller:
        caller.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n" + head + b"xyz\r\n")
        assert caller.is_closed()
    eventually(lambda: site.open == 0)
    assert "/second" not in site.app.asked


# Too large


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"x" * (8 << 20) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"A" * (8 << 20) + b": x\r\n\r\n",
        b"GET /" + b"x" * (8 << 20) + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"A: x\r\n" * 500_000 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"x" * (32 << 10) + b"\r\n\r\n",
    ],
    ids=["a value", "a name", "a path", "a flood of headers", "just above"],
)
def test_heads_that_are_too_large(site: Site, data: bytes) -> None:
    before = len(site.app.asked)
    check_problem(site.says(data), 431)
    assert len(site.app.asked) == before


def test_a_head_just_below_the_limit(site: Site) -> None:
    found = site.says(b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"x" * 32_000 + b"\r\n\r\n")
    assert len(found.json["headers"]["a"]) == 32_000


@pytest.mark.parametrize("flood", [b"X: y\r\n" * 1000, b"x" * 10_000], ids=["fields", "one line"])
@pytest.mark.parametrize(
    "start", [b"2\r\nab\r\n0\r\n", b"2\r\nab\r\n0\r\nX: ", b"2;ext="], ids=["trailers", "a trailer", "a chunk's name"]
)
def test_a_flood_behind_or_inside_a_body(site: Site, start: bytes, flood: bytes) -> None:
    """What is no body is limited like a head."""
    with site.connected() as caller:
        caller.send(b"POST /flood HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + start)
        for _ in range(20):
            caller.send(flood)
        found = caller.answer()
        check_problem(found, found.status)
    assert found.status in (400, 431)


# Too slow


def test_a_connection_that_says_nothing(open_site: Callable[[Limits], Site]) -> None:
    with open_site(SHORT).connected() as caller:
        check_problem(caller.answer(), 408, "headers")
        assert caller.is_closed()


def test_headers_that_trickle(open_site: Callable[[Limits], Site]) -> None:
    site = open_site(SHORT)
    with site.connected() as caller:
        caller.send(b"GET / HTTP/1.1\r\n" + HOST)
        trickling = trickle(caller, b"X: y\r\n")
        check_problem(caller.answer(), 408, "headers")
        assert caller.is_closed()
    trickling.join()
    assert site.app.asked == []


def test_later_headers_that_trickle(open_site: Callable[[Limits], Site]) -> None:
    site = open_site(SHORT)
    with site.connected() as caller:
        caller.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert caller.answer().status == 200
        caller.send(b"G")
        check_problem(caller.answer(), 408, "headers")


def test_a_body_that_trickles(open_site: Callable[[Limits], Site]) -> None:
    site = open_site(SHORT)
    with site.connected() as caller:
        caller.send(b"POST /slow HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n")
        check_problem(caller.answer(), 408, "body")
        assert caller.is_closed()
    eventually(lambda: site.app.cut_off == ["/slow"])


def test_a_body_that_is_slow_but_comes(open_site: Callable[[Limits], Site]) -> None:
    """It takes several spans of the limit, and in each enough comes."""
    site = open_site(SHORT)
    pieces = 25
    with site.connected() as caller:
        caller.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % (100 * pieces))
        for _ in range(pieces):
            caller.send(b"x" * 100)
            threading.Event().wait(0.1)
        assert caller.answer().json["size"] == 100 * pieces


def test_a_slow_answer_is_not_the_clients_fault(open_site: Callable[[Limits], Site]) -> None:
    site = open_site(SHORT)
    with site.connected() as caller, site.connected() as other:
        caller.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\nGET /next HTTP/1.1\r\n" + HOST + b"\r\nGET /pa")
        other.send(b"G")
        check_problem(other.answer(), 408)  # the same limit has passed for the first one, too
        site.app.go.set()
        assert caller.answer().json["path"] == "/wait"
        assert caller.answer().json["path"] == "/next"


def test_a_refused_client_that_stays_is_let_go(open_site: Callable[[Limits], Site]) -> None:
    site = open_site(SHORT)
    with site.connected() as caller:
        caller.send(b"GARBAGE\r\n\r\n")
        check_problem(caller.answer(), 400)
        eventually(lambda: site.open == 0)


def test_a_body_that_never_ends_behind_its_answer(open_site: Callable[[Limits], Site]) -> None:
    site = open_site(SHORT)
    with site.connected() as caller:
        caller.send(b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 100000000\r\n\r\n")
        assert caller.answer().status == 200
        caller.send(b"x")
        eventually(lambda: site.open == 0)


def test_too_many_connections(open_site: Callable[[Limits], Site]) -> None:
    site = open_site(Limits(connections=3))
    with site.connected() as one, site.connected() as two, site.connected() as three:
        for caller in (one, two, three):
            caller.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert caller.answer().status == 200
        with site.connected() as caller:
            found = caller.answer()
            check_problem(found, 503, "connections")
            assert found.headers["retry-after"] == "1"
            assert caller.is_closed()
        one.send(b"GET /again HTTP/1.1\r\n" + HOST + b"\r\n")
        assert one.answer().status == 200
    eventually(lambda: site.open == 0)
    assert site.says(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n").status == 200


def trickle(caller: Caller, piece: bytes) -> threading.Thread:
    """Piece after piece, until the other side has closed."""

    def send() -> None:
        try:
            while True:
                caller.send(piece)
                threading.Event().wait(0.05)
        except OSError:
            pass

    thread = threading.Thread(target=send)
    thread.start()
    return thread
