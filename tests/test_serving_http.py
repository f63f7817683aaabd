"""HTTP as strangers speak it: fine requests, and those that can't be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bursty.serving.http import Limits
from http_site import HOST, LONG, Site, check_problem, run_site, run_sites
from labs import eventually


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    yield from run_site(LONG)


@pytest.fixture
def open_site() -> Iterator[Callable[[Limits], Site]]:
    yield from run_sites()


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
        eventually(lambda: site.app.asked[-1:] == ["/broken"])
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
