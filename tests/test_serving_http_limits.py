"""HTTP as strangers speak it: too much of it, and too slowly; with short limits where tests wait for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from bursty.serving.http import Limits
from http_site import HOST, LONG, SHORT, Caller, Site, check_problem, run_site, run_sites
from labs import eventually


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    yield from run_site(LONG)


@pytest.fixture
def open_site() -> Iterator[Callable[[Limits], Site]]:
    yield from run_sites()


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


def test_a_connection_on_which_nothing_happens_any_more(open_site: Callable[..., Site]) -> None:
    with open_site(LONG, 1).connected() as caller:
        for _ in range(4):  # longer than a second in all
            caller.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert caller.answer().status == 200
            assert caller.is_silent(0.4)
        assert caller.is_closed()


def test_a_connection_is_kept_while_a_request_is_in_work(open_site: Callable[..., Site]) -> None:
    site = open_site(LONG, 1)
    with site.connected() as caller:
        for _ in range(2):
            caller.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert caller.answer().status == 200
        caller.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        assert caller.is_silent(1.6)
        site.app.go.set()
        assert caller.answer().status == 200
        assert caller.is_closed()


def test_a_connection_is_let_go_though_its_answer_came_before_the_body(open_site: Callable[..., Site]) -> None:
    with open_site(LONG, 1).connected() as caller:
        caller.send(b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nab")
        assert caller.answer().status == 200
        assert caller.is_silent(1.6), "the body is awaited"
        caller.send(b"cd")
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
