"""bursty itself, on SQLite or with ``--postgres`` on PostgreSQL: ``bursty worker --stay`` with its one warm child."""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import queue_serve
import serve
from queues import listing

POSTGRES = "--postgres" in sys.argv
SAMPLES = 15


class Bursty(queue_serve.Queue):
    def start(self, workers: int) -> serve.Facts:
        from bursty.stage import Stage

        os.environ.update(BURSTY_HOME=str(self.folder / "home"), BURSTY_CACHE=str(self.folder / "cache"))
        os.environ["BURSTY_STATE"] = self.database("bursty")
        source = self.folder / "source"
        shutil.copytree(Path(__file__).with_name("queues"), source)
        self.stage = Stage()
        self.stage.versions.take(source / "bursty_app.py")
        self.command = [queue_serve.program("bursty"), "worker", "--stay"]
        return {}

    def database(self, name: str) -> str:
        """The URL of a new one."""
        if not POSTGRES:
            return f"sqlite:///{self.folder / name}.sqlite"
        import psycopg

        server = queue_serve.server("postgres")
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"{server}/{name}"

    def submit(self, number: int) -> None:
        self.stage.runs.submit("bench", "noop", {"number": number})

    def unfinished(self) -> int:
        from bursty.records import RunQuery, RunStatus

        for status in (RunStatus.FAILED, RunStatus.LOST, RunStatus.CANCELLED, RunStatus.TIMED_OUT):
            if found := self.stage.runs.list(RunQuery(status=status, limit=1)):
                raise AssertionError(f"a run ended as {status}: {found[0].error}")
        left = self.stage.state.pending()
        return left.due + left.later + left.running

    def close(self) -> None:
        super().close()
        self.stage.close()


def run_list(queue: Bursty, calls: int, seed: int, workers: int) -> serve.Facts:
    """The newest 50 of ``calls`` runs by each filter, as a page or ``bursty runs list`` asks for them: the median of
    each; the slowest one's is the value."""
    from bursty.wiring import open_state

    known = queue.__dict__.setdefault("lists", {})
    if calls not in known:
        known[calls] = listing.fill(queue.database(f"bursty_{calls}"), calls)
    state = open_state(known[calls])
    try:
        medians: dict[str, float] = {}
        for name, query, expected in listing.queries(calls):
            taken: list[float] = []
            for _ in itertools.repeat(None, SAMPLES):
                begin = time.perf_counter()
                found = state.find(query)
                taken.append(time.perf_counter() - begin)
                serve.expect(expected, len(found))
            medians[name] = statistics.median(taken)
    finally:
        state.close()
    return {"value": max(medians.values()), "filters": medians}


if __name__ == "__main__":
    queue_serve.main(Bursty, {"list": run_list})
