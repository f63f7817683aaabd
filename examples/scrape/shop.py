"""A small shop on this machine, to be scraped: it lists, links and prices books, and it has bad days.

It answers 429 to whoever asks too fast and 503 when it feels like it, both with Retry-After, and two of its pages are
broken for good. It keeps a diary of requests, so that the scraper's manners can be checked.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TITLES = ("Emma", "Dracula", "Walden", "Ulysses", "Moby-Dick", "Frankenstein", "Middlemarch", "Jane Eyre")
BOOKS = 96
PER_PAGE = 12
BROKEN = {17, 71}
MOODY = {3, 22, 41, 60, 79}  # pages that answer 503 when they are first asked for
ALLOWED = 50  # requests a second


def title(number: int) -> str:
    return f"{TITLES[number % len(TITLES)]}, volume {number // len(TITLES) + 1}"


def price(number: int) -> float:
    return 5 + (number * 37 % 400) / 20


class Shop(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.diary: list[tuple[float, str, int]] = []
        self.lock = threading.Lock()

    def status_of(self, path: str) -> int:
        """Judge a request and note it."""
        with self.lock:
            now = time.monotonic()
            recent = sum(then > now - 1 for then, _, _ in self.diary)
            seen = any(path == other for _, other, _ in self.diary)
            number = int(path.rpartition("/")[2]) if path.startswith("/book/") else None
            if recent >= ALLOWED:
                status = 429
            elif number in BROKEN:
                status = 500
            elif number in MOODY and not seen:
                status = 503
            else:
                status = 200
            self.diary.append((now, path, status))
            return status

    def answers(self, status: int) -> int:
        """How often the shop answered so."""
        return sum(given == status for _, _, given in self.diary)

    def busiest_second(self) -> int:
        """The most requests that came within one second."""
        times = [then for then, _, _ in self.diary]
        return max(sum(start <= then < start + 1 for then in times) for start in times)


class Page(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        status = self.server.status_of(self.path)
        body = self.page().encode() if status == 200 else b"Sorry."
        self.send_response(status)
        if status in (429, 503):
            self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def page(self) -> str:
        kind, number = self.path.strip("/").split("/")
        if kind == "book":
            return f'<h1>{title(int(number))}</h1><p class="price">${price(int(number)):.2f}</p>'
        first = int(number) * PER_PAGE
        books = "".join(f'<a class="book" href="/book/{n}">{title(n)}</a>' for n in range(first, first + PER_PAGE))
        following = f'<a class="next" href="/list/{int(number) + 1}">Next</a>' if first + PER_PAGE < BOOKS else ""
        return f"<h1>Page {number}</h1>{books}{following}"

    def log_message(self, *args: object) -> None:
        """Silence: the diary has it all."""


@contextmanager
def open_shop() -> Iterator[Shop]:
    shop = Shop()
    thread = threading.Thread(target=shop.serve_forever, daemon=True)
    thread.start()
    try:
        yield shop
    finally:
        shop.shutdown()
        shop.server_close()
        thread.join()
