"""Scrape a shop politely: batches of pages a call, one rate limit for all workers, patience with a busy server.

    python examples/scrape/main.py [OUT_DIR]

The shop is a real web server that this program starts on this machine (``shop.py``).
"""

import csv
import random
import re
import sys
import time
from html import unescape
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from shop import open_shop

from bursty import Executor

WORKERS = 2
RATE = 40  # requests a second, all workers together
BATCH = 8  # pages a call
ATTEMPTS = 5


class Book(NamedTuple):
    url: str
    title: str
    price: float


class Failure(NamedTuple):
    url: str
    reason: str


def get(url: str) -> str:
    """One page; the busy server is asked again when it says so, or after longer and longer pauses."""
    for attempt in range(1, ATTEMPTS + 1):
        time.sleep(WORKERS / RATE)  # at most WORKERS calls run at once, so all together keep to RATE
        try:
            with urlopen(Request(url, headers={"User-Agent": "bursty-example"}), timeout=10) as answer:
                return answer.read().decode()
        except HTTPError as error:
            if error.code not in (429, 503) or attempt == ATTEMPTS:
                raise
            pause = float(error.headers.get("Retry-After") or 0.2 * 2**attempt)
        except URLError:
            if attempt == ATTEMPTS:
                raise
            pause = 0.2 * 2**attempt
        time.sleep(pause * random.uniform(1, 1.25))
    raise AssertionError("unreachable")


def scrape(urls: list[str]) -> list[Book | Failure]:
    """Runs on a worker: a page that fails is named, and its neighbours are kept."""
    found: list[Book | Failure] = []
    for url in urls:
        try:
            page = get(url)
            title = re.search(r"<h1>(.*?)</h1>", page)[1]
            price = re.search(r'class="price">\$([\d.]+)', page)[1]
            found.append(Book(url, unescape(title), float(price)))
        except (URLError, TypeError) as error:
            found.append(Failure(url, str(error)))
    return found


def book_links(start: str) -> list[str]:
    """Follow the shop's list from page to page."""
    links, page_url = [], "/list/0"
    while page_url:
        page = get(start + page_url)
        links += re.findall(r'class="book" href="(.*?)"', page)
        page_url = following[1] if (following := re.search(r'class="next" href="(.*?)"', page)) else None
    return [start + link for link in links]


def main(out: Path) -> None:
    with open_shop() as shop, Executor(f"local?workers={WORKERS}", retries=2, timeout="1 min") as executor:
        began = time.perf_counter()
        links = book_links(shop.url)
        batches = [links[first : first + BATCH] for first in range(0, len(links), BATCH)]
        found = [page for batch in executor.map(scrape, batches) for page in batch]
        seconds = time.perf_counter() - began
    books = [page for page in found if isinstance(page, Book)]
    failures = [page for page in found if isinstance(page, Failure)]

    out.mkdir(parents=True, exist_ok=True)
    with (out / "books.csv").open("w", newline="") as file:
        csv.writer(file).writerows([Book._fields, *books])
    with (out / "failures.csv").open("w", newline="") as file:
        csv.writer(file).writerows([Failure._fields, *failures])

    print(f"{len(books)} of {len(links)} books in {len(batches)} calls and {seconds:.1f} s: {out / 'books.csv'}")
    for failure in failures:
        print(f"failed: {failure.url}: {failure.reason}")
    print(
        f"The shop saw {len(shop.diary)} requests, at most {shop.busiest_second()} in a second; "
        f"it was busy {shop.answers(503)} times and found us rude {shop.answers(429)} times."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/scrape"))
