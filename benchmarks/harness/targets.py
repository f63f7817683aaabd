"""What bursty promises, as data, and whether a table of medians keeps it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

Status = Literal["PASS", "MISS", "UNKNOWN"]
SUBJECT = "bursty"


class Unmeasured(Exception):
    """A value that a target needs is not there; the message says whose."""


class Values:
    """Medians by workload and peer, and why some are missing. ``aside``: peers that no target speaks of."""

    def __init__(
        self,
        medians: Mapping[tuple[str, str], float],
        missing: Mapping[tuple[str, str], str],
        aside: Collection[str] = (),
    ) -> None:
        self._medians = medians
        self._missing = missing
        self._aside = aside

    def of(self, workload: str, peer: str) -> float:
        if (workload, peer) in self._medians:
            return self._medians[workload, peer]
        raise Unmeasured(f"{peer} {'did not run' if (workload, peer) in self._missing else 'was not asked'}")

    def best(self, workload: str, but: Collection[str] = ()) -> float:
        """The fastest peer's, of those that ran."""
        out = {SUBJECT, *self._aside, *but}
        found = [value for (name, peer), value in self._medians.items() if name == workload and peer not in out]
        if not found:
            raise Unmeasured("no peer ran")
        return min(found)

    def absent(self, workload: str, but: Collection[str] = ()) -> list[str]:
        out = {SUBJECT, *self._aside, *but}
        return [peer for (name, peer) in self._missing if name == workload and peer not in out]


@dataclass(frozen=True)
class Target:
    """``limit`` gives the value that bursty's may not pass; ``strict``: nor reach. ``among``: peers it is the best of,
    all but ``but``."""

    workload: str
    promise: str
    limit: Callable[[Values], float]
    strict: bool = False
    among: bool = False
    but: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    workload: str
    promise: str
    status: Status
    value: float | None = None
    limit: float | None = None
    note: str = ""


def faster_than_all(workload: str, promise: str, but: tuple[str, ...] = ()) -> Target:
    return Target(workload, promise, lambda values: values.best(workload, but), strict=True, among=True, but=but)


TARGETS = (
    Target(
        "map", "at least 20 times faster than ProcessPoolExecutor at chunk size 1", lambda v: v.of("map", "ppe") / 20
    ),
    Target("map", "faster than joblib", lambda v: v.of("map", "joblib"), strict=True),
    Target("map", "within 2 times ProcessPoolExecutor at its best chunk size", lambda v: 2 * v.of("map", "ppe_best")),
    Target(
        "futures",
        "at most its map and twice the bare futures",
        lambda v: v.of("map", SUBJECT) + 2 * v.of("futures", "bare"),
    ),
    Target("call", "at most 1.3 times ProcessPoolExecutor", lambda v: 1.3 * v.of("call", "ppe")),
    faster_than_all("arrays", "faster than every peer"),
    Target("uneven", "within 10% of the ideal", lambda v: 1.10),
    Target("uneven", "ahead of joblib", lambda v: v.of("uneven", "joblib"), strict=True),
    faster_than_all("cold", "faster than every peer but ProcessPoolExecutor's fork", but=("ppe",)),
)


def judge(target: Target, values: Values) -> Verdict:
    try:
        value, limit = values.of(target.workload, SUBJECT), target.limit(values)
    except Unmeasured as error:
        return Verdict(target.workload, target.promise, "UNKNOWN", note=str(error))
    kept = value < limit if target.strict else value <= limit
    absent = values.absent(target.workload, target.but) if target.among else []
    note = "without " + ", ".join(absent) if absent else ""
    return Verdict(target.workload, target.promise, "PASS" if kept else "MISS", value, limit, note)
