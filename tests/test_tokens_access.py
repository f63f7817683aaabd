"""Who may ask: tokens on the event loop, and when none is needed."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.core.tokens import Token, digest_of
from bursty.errors import StoreError
from bursty.jobs.tokens import Tokens
from bursty.serving.access import FORWARDING, TokenBook, authorization, is_loopback, needs_token
from bursty.stores.memory import MemoryState
from labs import eventually

NOW = 1_000_000.0
TEXT = b"bst_secret"


def token(**more: object) -> Token:
    fields = {"name": "web", "digest": digest_of(TEXT), "scopes": ("predict:/a",), "last": "cret"}
    return Token(**{**fields, "created_at": 0.0, "created_by": "ann", **more})  # pyright: ignore[reportArgumentType]


class Shelf:
    """Where tokens lie; may fail. ``now``: a clock that is set."""

    def __init__(self, *tokens: Token) -> None:
        self.tokens: Sequence[Token] = tokens
        self.error: Exception | None = None
        self.now = 0.0
        self.said: list[str] = []

    def load(self) -> Sequence[Token]:
        if self.error is not None:
            raise self.error
        return self.tokens

    def book(self) -> TokenBook:
        book = TokenBook(self.load, say=self.said.append, clock=lambda: self.now)
        book.refresh()
        return book


def status(book: TokenBook, header: bytes | None, needed: str = "predict:/a", now: float = NOW) -> int:
    verdict = book.check(header, needed, now)
    return verdict.problem.status if verdict.problem else 200


def test_a_known_token_is_let_in_and_named() -> None:
    book = Shelf(token()).book()
    assert book.check(b"Bearer " + TEXT, "predict:/a", NOW) == ("web", None)
    assert status(book, b"bearer   " + TEXT + b" ") == 200


@pytest.mark.parametrize(
    "header", [None, b"", b"Bearer", b"Bearer ", b"Basic " + TEXT, TEXT, b"Bearer bst_other", b"Bearer " + TEXT + b"x"]
)
def test_others_are_asked_for_one(header: bytes | None) -> None:
    problem = Shelf(token()).book().check(header, "predict:/a", NOW).problem
    assert problem is not None
    assert problem.status == 401
    assert dict(problem.headers)[b"www-authenticate"].startswith(b'Bearer realm="bursty"')
    assert TEXT not in problem.body


def test_a_scope_that_lacks_is_named() -> None:
    verdict = Shelf(token()).book().check(b"Bearer " + TEXT, "labels", NOW)
    assert verdict.token == "web"
    assert verdict.problem is not None
    assert verdict.problem.status == 403
    assert b'scope="labels"' in dict(verdict.problem.headers)[b"www-authenticate"]
    assert json.loads(verdict.problem.body)["detail"] == "this token lacks the scope labels"


def test_expired_and_revoked_ones_count_no_more() -> None:
    book = Shelf(token(expires_at=NOW)).book()
    assert status(book, b"Bearer " + TEXT, now=NOW - 0.001) == 200
    assert status(book, b"Bearer " + TEXT) == 401
    assert status(Shelf(token(revoked_at=1.0)).book(), b"Bearer " + TEXT) == 401


def test_a_store_that_fails_keeps_the_known_ones_for_a_while() -> None:
    shelf = Shelf(token())
    book = shelf.book()
    shelf.error = StoreError("no connection")
    shelf.now = 299.0
    assert not book.refresh()
    assert not book.refresh()
    assert status(book, b"Bearer " + TEXT) == 200
    shelf.now = 301.0
    assert status(book, b"Bearer " + TEXT) == 503
    assert status(book, None) == 401
    shelf.error, shelf.tokens = None, ()
    assert book.refresh()
    assert status(book, b"Bearer " + TEXT) == 401
    assert len(shelf.said) == 2
    assert "no connection" in shelf.said[0]
    assert "again" in shelf.said[1]


def test_a_book_that_never_could_read_refuses() -> None:
    shelf = Shelf()
    shelf.error = RuntimeError("a bug")
    assert status(shelf.book(), b"Bearer " + TEXT) == 503
    assert "a bug" in shelf.said[0]


def test_what_is_revoked_and_made_is_seen_without_being_asked() -> None:
    registry = Tokens(MemoryState(), "ann")
    _, first = registry.create("one", ["predict"])
    book = TokenBook(registry.list, every=0.01)
    book.start()
    try:
        assert status(book, b"Bearer " + first.encode(), now=0.0) == 200
        registry.revoke("one")
        eventually(lambda: status(book, b"Bearer " + first.encode(), now=0.0) == 401)
        _, second = registry.create("two", ["predict"])
        eventually(lambda: status(book, b"Bearer " + second.encode(), now=0.0) == 200)
    finally:
        book.close()
    assert not any(thread.name == "bursty-tokens" for thread in threading.enumerate())


def test_of_several_authorizations_none_counts() -> None:
    assert authorization([(b"host", b"x")]) is None
    assert authorization([(b"authorization", b"Bearer a")]) == b"Bearer a"
    assert authorization([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")]) == b""


# When none is needed

LOOPBACK = st.sampled_from(["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "localhost"])
ELSEWHERE = st.sampled_from(["0.0.0.0", "::", "10.0.0.1", "192.168.0.7", "::ffff:10.0.0.1", "fe80::1", "", "box"])
OWN_HOSTS = st.sampled_from([b"localhost", b"LOCALHOST:8000", b"127.0.0.1:80", b"[::1]:8000", b"127.0.0.1"])
OTHER_HOSTS = st.sampled_from(
    [
        b"evil.example",
        b"localhost.evil.example:80",
        b"127.0.0.1.evil.example",
        b"evil@localhost",
        b"localhost/x",
        b"",
        b"localhost:x",
        b"10.0.0.1",
        b"\xff",
        b"[::1",
        b"2130706433",
        b"localhost?x",
        b"127.0.0.1:99999999",
    ]
)
HARMLESS = st.lists(st.sampled_from([(b"accept", b"*/*"), (b"user-agent", b"x"), (b"cookie", b"a=b")]))
PROXIED = st.sampled_from(
    [*sorted(FORWARDING), b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded"]
)
METHODS = st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "CONNECT"])


@given(ELSEWHERE | LOOPBACK, ELSEWHERE | LOOPBACK | st.none(), HARMLESS, METHODS)
def test_public_endpoints_need_none(
    bound: str, client: str | None, headers: list[tuple[bytes, bytes]], method: str
) -> None:
    assert not needs_token(bound, client, headers, "public", method)


@given(LOOPBACK, LOOPBACK, OWN_HOSTS, HARMLESS, METHODS)
def test_on_this_machine_none_is_needed(
    bound: str, client: str, host: bytes, headers: list[tuple[bytes, bytes]], method: str
) -> None:
    assert not needs_token(bound, client, [*headers, (b"host", host)], "token", method)


@given(LOOPBACK | ELSEWHERE, LOOPBACK | ELSEWHERE | st.none(), OWN_HOSTS | OTHER_HOSTS, HARMLESS, METHODS)
def test_whatever_is_not_of_this_machine_needs_one(
    bound: str, client: str | None, host: bytes, headers: list[tuple[bytes, bytes]], method: str
) -> None:
    own = (
        is_loopback(bound)
        and client is not None
        and is_loopback(client)
        and host.lower()[:4] in (b"loca", b"127.", b"[::1")
    )
    needed = needs_token(bound, client, [*headers, (b"host", host)], "token", method)
    assert needed or own
    if host in (b"localhost", b"127.0.0.1:80", b"[::1]:8000"):
        assert needed != own


@given(OTHER_HOSTS, METHODS)
def test_a_name_that_only_resolves_here_needs_one(host: bytes, method: str) -> None:
    assert needs_token("127.0.0.1", "127.0.0.1", [(b"host", host)], "token", method)


@given(PROXIED, METHODS, st.binary(max_size=20))
def test_what_a_proxy_passed_on_needs_one(name: bytes, method: str, value: bytes) -> None:
    headers = [(b"host", b"localhost"), (name, value)]
    assert needs_token("127.0.0.1", "127.0.0.1", headers, "token", method)
    assert needs_token("127.0.0.1", "127.0.0.1", headers[::-1], "token", method)


@pytest.mark.parametrize("hosts", [[], [b"localhost", b"localhost"], [b"localhost", b"evil.example"]])
def test_there_is_one_host(hosts: list[bytes]) -> None:
    assert needs_token("127.0.0.1", "127.0.0.1", [(b"host", host) for host in hosts], "token", "GET")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "CONNECT"])
@pytest.mark.parametrize(
    "origin", [b"https://evil.example", b"null", b"", b"http://localhost.evil", b"file://localhost", b"localhost"]
)
def test_pages_of_elsewhere_may_not_send(origin: bytes, method: str) -> None:
    headers = [(b"host", b"localhost"), (b"origin", origin)]
    assert needs_token("127.0.0.1", "127.0.0.1", headers, "token", method)
    assert not needs_token("127.0.0.1", "127.0.0.1", headers, "token", "GET")


@pytest.mark.parametrize("origin", [b"http://localhost:3000", b"http://127.0.0.1:8000", b"https://[::1]"])
def test_pages_of_this_machine_may(origin: bytes) -> None:
    headers = [(b"host", b"localhost"), (b"origin", origin)]
    assert not needs_token("127.0.0.1", "127.0.0.1", headers, "token", "POST")


def test_one_origin_that_is_fine_does_not_excuse_another() -> None:
    headers = [(b"host", b"localhost"), (b"origin", b"https://evil.example"), (b"origin", b"http://localhost")]
    assert needs_token("127.0.0.1", "127.0.0.1", headers, "token", "POST")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.0.1", "::1", "localhost", "LocalHost", "::ffff:127.0.0.1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "127.0.0.1.nip.example", "2130706433", "127.1", "/run/s"]
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
