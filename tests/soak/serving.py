"""Steady load on ``bursty serve`` for a while: memory stays flat, the prediction log misses nothing, Redis is restarted
twice, a newer model is promoted twice, and no request fails. ``make soak`` runs it for 30 minutes.

python tests/soak/serving.py [--seconds 1800] [--rate 100]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from bursty import Model, Settings, Stage, slots
from redis_server import Redis, run_redis
from servers import wait_until
from serving_process import Serving, serving

APP = """
from msgspec import Struct
from bursty import App, Default, Log, Model

app = App("soak")

class Item(Struct):
    id: str
    price: float

class Scored(Struct):
    id: str
    score: float

@app.endpoint("/score", deadline="2 s", fallback=["last_good", Default(None)], log=Log(key=("id",)))
class Score:
    def __init__(self) -> None:
        self.factor = Model("factor").load()

    def __call__(self, items: list[Item]) -> list[Scored]:
        return [Scored(item.id, item.price * self.factor) for item in items]
"""
CLIENTS = 4
ITEMS = 5
FLAT = 0.05
"""How much memory may grow."""
SLACK_BYTES = 6 << 20
"""Of a process that has hardly begun: what a short form may grow beyond that."""


@dataclass(slots=True)
class Tally:
    """What clients saw. ``wrong``: answers that are none; ``factors``: by which model."""

    answers: Counter[str] = field(default_factory=Counter[str])
    factors: Counter[float] = field(default_factory=Counter[float])
    wrong: list[str] = field(default_factory=list[str])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, prices: Sequence[float], answer: httpx.Response) -> None:
        with self.lock:
            self.answers[answer.headers.get("bursty-answer", str(answer.status_code))] += 1
            try:
                scores = [row["score"] for row in answer.json()]
            except (ValueError, TypeError, KeyError):
                self.wrong.append(f"{answer.status_code} {answer.text[:200]}")
                return
            factor = scores[0] / prices[0]
            self.factors[round(factor)] += 1
            if answer.status_code != 200 or any(s != p * round(factor) for s, p in zip(scores, prices, strict=True)):
                self.wrong.append(f"{answer.status_code} {prices} {scores}")

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    @property
    def rows(self) -> int:
        """That the log must have: one for each item, but for what stands for a whole answer."""
        return ITEMS * self.total - (ITEMS - 1) * self.answers["default"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a soak showed. ``growth``: of the server's memory from its first to its last quarter, as a part."""

    tally: Tally
    logged: int
    growth: float
    grown_bytes: float
    problems: list[str]


@contextmanager
def load(server: Serving, tally: Tally, rate: float) -> Generator[None]:
    """Clients that ask ``rate`` times a second, all together, inside the block."""
    stop = threading.Event()

    def client(number: int) -> None:
        at = time.monotonic()
        with httpx.Client(base_url=server.url, timeout=30) as session:
            count = 0
            while not stop.wait(max(0.0, at - time.monotonic())):
                at += CLIENTS / rate
                prices = [float(1 + (count + step) % 50) for step in range(ITEMS)]
                items = [{"id": f"{number}-{count}-{step}", "price": price} for step, price in enumerate(prices)]
                tally.take(prices, session.post("/score", json=items))
                count += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def soak(folder: Path, redis: Redis, seconds: float, rate: float, say: Callable[[str], None] = print) -> Found:
    """Run it, and judge."""
    stage = Stage(Settings(home=str(folder / ".bursty")))
    slots.desk[:] = [stage.desk.answer]
    Model("factor").save(2.0)
    tally = Tally()
    with stage, serving(APP, folder, BURSTY_ANSWERS=redis.url) as server:
        process = psutil.Process(server.process.pid)
        memory: list[int] = []
        events: list[Callable[[], None]] = [
            redis.restart,
            lambda: _promote(3.0),
            redis.restart,
            lambda: _promote(4.0),
        ]
        with load(server, tally, rate):
            begun = time.monotonic()
            for number in range(40):
                _wait(begun + seconds * (number + 1) / 40)
                memory.append(process.memory_info().rss)
                if number in (12, 18, 24, 30):
                    events.pop(0)()
                    say(f"{time.monotonic() - begun:6.0f} s: {tally.total:,} answers, {memory[-1] >> 20} MiB")
            assert wait_until(lambda: tally.factors[4] > 0), "the newest model never answered"
        wait_until(lambda: _logged(server) >= tally.rows)
        logged, left = _logged(server), server.metric("queue_length")
    early, late = statistics.median(memory[8:12]), statistics.median(memory[-4:])
    return _judged(tally, logged, early, late, left)


def _promote(factor: float) -> None:
    Model("factor").save(factor)


def _wait(until: float) -> None:
    threading.Event().wait(max(0.0, until - time.monotonic()))


def _logged(server: Serving) -> int:
    with Stage(Settings(home=str(server.folder / ".bursty"))) as stage:
        return stage.predictions.count("Score").predictions


def _judged(tally: Tally, logged: int, early: float, late: float, left: float) -> Found:
    growth = late / early - 1
    problems = [f"wrong: {text}" for text in tally.wrong[:10]]
    if logged != tally.rows:
        problems.append(f"{tally.rows:,} items were answered, and {logged:,} logged")
    if tally.answers["fresh"] < 0.99 * tally.total:
        problems.append(f"only some answers were fresh: {dict(tally.answers)}")
    if set(tally.factors) != {2, 3, 4}:
        problems.append(f"not every model has answered: {dict(tally.factors)}")
    if growth > FLAT and late - early > SLACK_BYTES:
        problems.append(f"memory grew by {growth:.1%}, from {early / 2**20:.0f} to {late / 2**20:.0f} MiB")
    if left:
        problems.append(f"{left:.0f} requests are left in the queue")
    return Found(tally, logged, growth, late - early, problems)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bursty-soak-") as folder:
        redis = run_redis()
        try:
            found = soak(Path(folder), next(redis), options.seconds, options.rate)
        finally:
            redis.close()
    print(f"{found.tally.total:,} answers {dict(found.tally.answers)}, by models {dict(found.tally.factors)}")
    print(f"{found.logged:,} predictions logged; memory of the server {found.growth:+.1%}")
    print("\n".join(["PASS"] if not found.problems else [f"MISS: {problem}" for problem in found.problems]))
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
