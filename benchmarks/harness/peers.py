"""Who is measured, on what, and with how much of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WORKERS = 2


@dataclass(frozen=True)
class Workload:
    """``unit``: ``s``; ``x`` for a multiple of the ideal; ``/s`` for seconds each, shown as so many a second.
    ``rounds`` caps how often it is sampled."""

    name: str
    title: str
    calls: int
    unit: str = "s"
    rounds: int = 100


@dataclass(frozen=True)
class Peer:
    """One of them, as far as the parent knows it.

    ``env``: its file in peers/. ``only``: the workloads that it is for (empty: all). ``skip``: the reason why it can't
    reasonably do one. ``same``: a workload that is another one for it. ``calls``: how many it gets where all would
    take for ever (its value is scaled up). ``driver``: a script that is not named like it; ``arguments``: its own.
    ``aside``: shown, but no target speaks of it. ``cheap``: part of --short.
    """

    name: str
    title: str
    env: str
    only: tuple[str, ...] = ()
    skip: Mapping[str, str] = field(default_factory=dict)
    same: Mapping[str, str] = field(default_factory=dict)
    calls: Mapping[str, int] = field(default_factory=dict)
    driver: str = ""
    arguments: tuple[str, ...] = ()
    aside: bool = False
    cheap: bool = False

    @property
    def script(self) -> str:
        return self.driver or f"peer_{self.name}.py"

    def takes_part(self, workload: str) -> bool:
        return not self.only or workload in self.only


WORKLOADS = (
    Workload("map", "map over 10,000 no-op calls, warm, no chunk size given", 10_000),
    Workload("futures", "10,000 no-op calls with a future each, all results read", 10_000),
    Workload("call", "one warm call and its result", 300),
    Workload("arrays", "100 calls with a numpy array of 1 MB in and out", 100),
    Workload("uneven", "makespan of 300 calls with heavy-tailed times, as a multiple of the ideal", 300, "x", 5),
    Workload("cold", "a new process: start Python, import, start workers, first result", 1),
)

FUTURE_EACH = {"futures": "map"}

BURSTY = Peer("bursty", "bursty", "bursty", cheap=True)

PEERS = (
    BURSTY,
    Peer("ppe", "ProcessPoolExecutor, chunk size 1", "stdlib", cheap=True),
    Peer("ppe_best", "ProcessPoolExecutor, best chunk size", "stdlib", only=("map",), cheap=True),
    Peer("joblib", "joblib (loky)", "joblib", cheap=True),
    Peer("dask", "dask LocalCluster", "dask", same=FUTURE_EACH),
    Peer("ray", "ray", "ray", same=FUTURE_EACH),
    Peer(
        "lithops",
        "Lithops localhost",
        "lithops",
        same=FUTURE_EACH,
        calls={"map": 20, "arrays": 20},
        skip={"uneven": "300 calls take it minutes"},
    ),
    Peer("pool", "multiprocessing.Pool", "stdlib", aside=True, cheap=True),
    Peer("bare", "bare futures, no workers", "stdlib", only=("futures",), aside=True, cheap=True),
)
