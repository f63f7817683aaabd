"""The queues that are measured, on what, and what bursty promises beside them."""

from __future__ import annotations

from harness.peers import Peer, Workload
from harness.targets import SUBJECT, Target

ON_SQLITE = f"{SUBJECT}_sqlite"
LISTS = "list"
LIST_SECONDS = 0.020
LIST_TITLE = "the newest 50 runs, by what they are asked for: medians"
JOBS = ("start", "drain")

QUEUES = (
    Peer(SUBJECT, "bursty on PostgreSQL", "bursty_queue", driver="queue_bursty.py", arguments=("--postgres",)),
    Peer(ON_SQLITE, "bursty on SQLite", "bursty_queue", driver="queue_bursty.py"),
    Peer("procrastinate", "procrastinate on PostgreSQL", "procrastinate", JOBS, driver="queue_procrastinate.py"),
    Peer("huey", "huey on SQLite", "huey", JOBS, driver="queue_huey.py"),
    Peer("rq", "rq on Redis, Worker", "rq", JOBS, driver="queue_rq.py", calls={"drain": 200}),
    Peer("rq_simple", "rq on Redis, SimpleWorker", "rq", JOBS, driver="queue_rq.py", arguments=("--simple",)),
)

TARGETS = (
    Target(
        "drain",
        "on PostgreSQL, at least as many runs a second and worker as procrastinate",
        lambda r: r.of("drain", "procrastinate"),
    ),
    Target(LISTS, "every list under 20 ms on PostgreSQL", lambda r: LIST_SECONDS, strict=True),
    Target(LISTS, "every list under 20 ms on SQLite", lambda r: LIST_SECONDS, strict=True, subject=ON_SQLITE),
)


def workloads(short: bool) -> list[Workload]:
    start, drain, runs = (20, 200, 10_000) if short else (40, 1000, 100_000)
    return [
        Workload("start", "from submit to start, the worker waiting, one run at a time", start),
        Workload("drain", f"runs a second of one worker, a backlog of {drain:,} no-op runs", drain, "/s"),
        Workload(LISTS, f"the newest 50 of {runs:,} runs, the slowest of all filters", runs, rounds=3),
    ]
