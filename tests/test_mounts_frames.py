"""The messages between server and app, and WSGI by the letter: no processes, no sockets."""

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.core.asgiframes import (
    MAX_FRAME,
    PIECE,
    BadFrame,
    Frames,
    bad_header,
    body_pieces,
    end_to_end,
    has_body,
    pack,
    scope_of,
)
from bursty.runtime.wsgi import Answering, Body, environ_of

texts = st.text(max_size=20)
messages = st.builds(
    lambda kind, body, more, headers: {"type": kind, "body": body, "more_body": more, "headers": headers},
    texts,
    st.binary(max_size=300),
    st.booleans(),
    st.lists(st.lists(st.binary(max_size=10), min_size=2, max_size=2), max_size=4),
)


@given(st.lists(messages, max_size=8), st.lists(st.integers(1, 200), min_size=1))
def test_messages_arrive_however_they_are_cut(sent: list[dict[str, Any]], cuts: list[int]) -> None:
    data = b"".join(map(pack, sent))
    frames, came, at, turn = Frames(), [], 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        frames.feed(data[at : at + size])
        at, turn = at + size, turn + 1
        while (message := frames.take()) is not None:
            came.append(message)
    assert came == sent
    assert len(frames) == 0


@given(st.binary(max_size=200))
def test_what_is_no_message_is_refused_or_waits(data: bytes) -> None:
    frames = Frames()
    frames.feed(len(data).to_bytes(4, "big") + data)
    try:
        message = frames.take()
    except BadFrame:
        return
    assert isinstance(message["type"], str)


def test_a_message_may_not_be_endless() -> None:
    frames = Frames()
    frames.feed((MAX_FRAME + 1).to_bytes(4, "big"))
    with pytest.raises(BadFrame, match="limit"):
        frames.take()


@given(st.binary(max_size=3), st.integers(0, 4))
def test_bodies_are_cut_into_pieces(start: bytes, pieces: int) -> None:
    body = start + bytes(PIECE * pieces)
    found = list(body_pieces(body))
    assert b"".join(found) == body
    assert len(found) >= 1
    assert all(0 < len(piece) <= PIECE for piece in found) or body == b""


@given(st.binary(min_size=1, max_size=10), st.binary(max_size=20))
def test_a_header_that_passes_is_one_line(name: bytes, value: bytes) -> None:
    if bad_header([(name, value)]) is None:
        line = name + b": " + value
        assert not set(line) & {0, 10, 13}
        assert line.count(b":") == value.count(b":") + 1
        assert not set(name) & set(b" \t:")


def test_headers_of_one_connection_are_left_out() -> None:
    given = [(b"Connection", b"close, x-mine"), (b"X-Mine", b"1"), (b"upgrade", b"h2c"), (b"X-Other", b"2")]
    assert end_to_end(given) == [(b"x-other", b"2")]
    assert end_to_end([(b"connection", b"keep-alive"), (b"content-length", b"3")]) == [(b"content-length", b"3")]


def test_which_requests_have_a_body() -> None:
    assert has_body([(b"content-length", b"5")])
    assert has_body([(b"transfer-encoding", b"chunked")])
    assert not has_body([(b"content-length", b"0"), (b"host", b"a")])


def test_only_what_can_travel_of_a_scope_does() -> None:
    scope = {"type": "http", "path": "/a/b", "root_path": "", "headers": [], "state": {"x": object()}, "app": object()}
    assert scope_of(scope, "/a") == {
        "type": "http",
        "path": "/a/b",
        "root_path": "/a",
        "headers": [],
        "extensions": {},
    }


# WSGI


class Collected:
    """A ``Sink``."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.is_over = False
        self.starts = 0

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.starts += 1
        self.status, self.headers = status, headers

    def body(self, data: Any, more: bool) -> None:
        assert self.starts == 1
        assert not self.is_over
        self.pieces.append(bytes(data))
        self.is_over = not more


def scope(path: str = "/", method: str = "GET", **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 5000),
        "headers": [(b"host", b"example.test")],
        **more,
    }


def answer(app: Callable[..., Any], method: str = "GET", body: bytes = b"") -> Collected:
    found = Collected()
    length = [(b"content-length", b"%d" % len(body))]
    asked = scope(method=method, headers=length)
    Answering(found, method).run(app, environ_of(asked, io.BytesIO(body)))
    assert found.is_over
    return found


def simple(status: str = "200 OK", headers: Any = (), body: Any = (b"body",)) -> Callable[..., Any]:
    def app(_environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers))
        return body() if callable(body) else body

    return app


def test_the_standard_librarys_validator_is_content() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        size = len(environ["wsgi.input"].read(100))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%d" % size]

    assert b"".join(answer(validator(app), "POST", b"x" * 50).pieces) == b"50"


def test_the_length_of_a_single_piece_is_told() -> None:
    assert answer(simple(body=[b"four"])).headers == [(b"content-length", b"4")]
    assert answer(simple(body=[b"a", b"b"])).headers == []
    assert answer(simple(body=[])).headers == [(b"content-length", b"0")]
    assert answer(simple("204 No Content", body=[])).headers == []
    assert answer(simple("304 Not Modified", body=[])).headers == []
    assert answer(simple(headers=[("content-Length", "9")], body=[b"ninebytes"])).headers == [(b"content-Length", b"9")]


@pytest.mark.parametrize(
    "body", [[b"body"], [b"bo", b"dy"], [], lambda: (piece for piece in (b"", b"bo", b"", b"dy")), lambda: iter(())]
)
def test_a_body_in_any_shape(body: Any) -> None:
    assert b"".join(answer(simple(body=body)).pieces) in (b"body", b"")
    head = answer(simple(body=body), "HEAD")
    assert (head.status, b"".join(head.pieces)) == (200, b"")


def test_nothing_is_sent_before_there_is_a_body() -> None:
    found = Collected()

    def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b""
        assert found.starts == 0
        yield b"now"
        assert found.starts == 1

    Answering(found, "GET").run(app, environ_of(scope(), io.BytesIO()))
    assert found.pieces == [b"now", b""]


def test_the_old_way_to_write() -> None:
    def app(_environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        write(b"first ")
        write(b"")
        write(b"second ")
        return [b"last"]

    assert b"".join(answer(app).pieces) == b"first second last"

    def only_writes(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])(b"all")
        return [b""]

    assert b"".join(answer(only_writes).pieces) == b"all"


def test_an_error_page_in_time_replaces_the_answer() -> None:
    def app(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("X-Old", "1")])
        try:
            raise ValueError("changed its mind")
        except ValueError:
            start_response("500 Oops", [], sys.exc_info())
        return [b"sorry"]

    assert (answer(app).status, answer(app).headers) == (500, [(b"content-length", b"5")])


def test_an_error_page_that_comes_too_late_is_raised() -> None:
    def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"half"
        try:
            raise ValueError("in the middle")
        except ValueError:
            start_response("500 Oops", [], sys.exc_info())

    with pytest.raises(ValueError, match="in the middle"):
        answer(app)


class Closing:
    def __init__(self, pieces: list[bytes], fail: bool = False) -> None:
        self.pieces, self.fail, self.closed = pieces, fail, 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.fail:
            raise ValueError("in the body")

    def close(self) -> None:
        self.closed += 1


class Hanging(Collected):
    def body(self, data: Any, more: bool) -> None:
        raise ConnectionResetError("the client hung up")


@pytest.mark.parametrize(
    ("body", "sink", "error"),
    [
        (Closing([b"a", b"b"]), Collected(), None),
        (Closing([b"a", b"b"], fail=True), Collected(), ValueError),
        (Closing([b"a", b"b"]), Hanging(), ConnectionResetError),
    ],
)
def test_what_the_app_gave_is_always_closed_once(body: Closing, sink: Collected, error: Any) -> None:
    def run() -> None:
        Answering(sink, "GET").run(simple(body=body), environ_of(scope(), io.BytesIO()))

    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()
    assert body.closed == 1


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        ("200 OK", [("X-A", "1\r\nX-B: 2")], ValueError),
        ("200 OK", [("X-A\n", "1")], ValueError),
        ("200 OK", [("X A", "1")], ValueError),
        ("200 OK", [("X-A", "1\x00")], ValueError),
        ("200 OK", [("X-A", "\u20ac")], UnicodeEncodeError),
        ("OK", [], ValueError),
        ("200OK", [], ValueError),
        (200, [], TypeError),
    ],
)
def test_headers_that_can_not_be(status: Any, headers: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        answer(simple(status, headers))


def test_calls_out_of_turn() -> None:
    def twice(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        start_response("200 OK", [])
        return []

    with pytest.raises(RuntimeError, match="twice"):
        answer(twice)
    with pytest.raises(RuntimeError, match="before"):
        answer(lambda _environ, _start: [b"body"])
    with pytest.raises(RuntimeError, match="before"):
        answer(lambda _environ, _start: [])


@pytest.mark.parametrize(
    ("raw", "root", "info"),
    [
        (b"/", "", "/"),
        (b"/a%20b", "", "/a b"),
        (b"/m/%C3%BC", "/m", "/\xc3\xbc"),
        (b"/m", "/m", ""),
        (b"/%6d/x", "/m", "/x"),
        (b"/m/%2F/%00", "/m", "///\x00"),
        (b"/m/%zz", "/m", "/%zz"),
    ],
)
def test_the_path_as_rfc_3875_has_it(raw: bytes, root: str, info: str) -> None:
    environ = environ_of(scope(raw_path=raw, root_path=root), io.BytesIO())
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (root, info)


def test_the_environment_holds_what_it_must() -> None:
    headers = [
        (b"host", b"a.test"),
        (b"content-type", b"text/plain"),
        (b"content-length", b"3"),
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"accept", b"x"),
        (b"accept", b"y"),
        (b"x_accept", b"forged"),
        (b"proxy", b"http://evil.test"),
        (b"x-latin", b"\xfc"),
    ]
    found = environ_of(
        scope("/p", "PUT", query_string=b"q=%C3%BC", headers=headers, server=None, client=None), io.BytesIO()
    )
    assert {name: value for name, value in found.items() if name.isupper() and isinstance(value, str)} == {
        "REQUEST_METHOD": "PUT",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/p",
        "QUERY_STRING": "q=%C3%BC",
        "REQUEST_URI": "/p?q=%C3%BC",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "a.test",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "3",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_ACCEPT": "x,y",
        "HTTP_X_LATIN": "\xfc",
    }


@given(st.lists(st.binary(max_size=50), max_size=10), st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_a_body_is_read_as_a_file(pieces: list[bytes], sizes: list[int]) -> None:
    rest: list[Any] = [*pieces, None]
    file = io.BufferedReader(Body(lambda: rest.pop(0)), 64)
    whole, found = b"".join(pieces), b""
    for size in sizes:
        piece = file.read(size)
        assert len(piece) == min(size, len(whole) - len(found))
        found += piece
    assert found + file.read() == whole
    assert file.read() == b""


def test_lines_of_a_body() -> None:
    rest: list[Any] = [b"one\ntw", b"o\n", b"", b"three", None]
    assert list(io.BufferedReader(Body(lambda: rest.pop(0)))) == [b"one\n", b"two\n", b"three"]


def test_a_body_that_breaks_off_is_an_error() -> None:
    def pull() -> bytes:
        raise ConnectionResetError("the client hung up")

    with pytest.raises(OSError, match="hung up"):
        io.BufferedReader(Body(pull)).read()
