"""What bursty promises, as data, and whether the samples keep it.

Everything is compared round by round, for within a round peers take turns on the same machine at nearly the same time;
what counts is the median of the rounds' shares. So a busy minute does not decide, nor does a slow peer that was only
sampled in the first rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["PASS", "MISS", "UNKNOWN"]
Key = tuple[str, str]
"""Workload and peer."""
SUBJECT = "bursty"


class Unmeasured(Exception):
    """A value that a target needs is not there; the message says whose."""


class Round:
    """What one round gave."""

    def __init__(self, values: Mapping[Key, float]) -> None:
        self._values = values

    def of(self, workload: str, peer: str) -> float:
        if (workload, peer) not in self._values:
            raise Unmeasured(f"{peer} was not asked")
        return self._values[workload, peer]


class Series:
    """Samples of all rounds, and why some are missing. ``aside``: peers that no target speaks of."""

    def __init__(
        self, samples: Mapping[Key, Sequence[float]], missing: Mapping[Key, str], aside: Collection[str] = ()
    ) -> None:
        self.missing = missing
        self._samples = samples
        self._aside = aside

    def rounds(self) -> list[Round]:
        count = max(map(len, self._samples.values()), default=0)
        return [Round({key: all_[i] for key, all_ in self._samples.items() if i < len(all_)}) for i in range(count)]

    def rivals(self, workload: str, but: Collection[str] = ()) -> tuple[list[str], list[str]]:
        """The peers that a target compares with: those that ran, and those that did not."""
        out = {SUBJECT, *self._aside, *but}
        keys = (self._samples, self.missing)
        ran, absent = ([peer for name, peer in some if name == workload and peer not in out] for some in keys)
        return ran, absent

    def shares(self, workload: str, limit: Limit, subject: str = SUBJECT) -> list[tuple[float, float]]:
        """For each round that has both: bursty's value, and the limit."""
        pairs: list[tuple[float, float]] = []
        problem = Unmeasured(f"{subject} was not asked")
        for one in self.rounds():
            try:
                pairs.append((one.of(workload, subject), limit(one)))
            except Unmeasured as error:
                problem = error
        if pairs:
            return pairs
        name = str(problem).removesuffix(" was not asked")
        raise Unmeasured(f"{name} did not run" if any(peer == name for _, peer in self.missing) else str(problem))


Limit = Callable[[Round], float]


@dataclass(frozen=True)
class Target:
    """``limit`` gives the value that bursty's may not pass (``strict``: nor reach); ``None``: that of each peer, but
    for ``but``. ``subject``: which bursty, where there are several."""

    workload: str
    promise: str
    limit: Limit | None
    strict: bool = False
    but: tuple[str, ...] = ()
    subject: str = SUBJECT


@dataclass(frozen=True)
class Verdict:
    """``share``: the median of value / limit in the rounds; ``value`` and ``limit`` are medians of their own."""

    workload: str
    promise: str
    status: Status
    value: float | None = None
    limit: float | None = None
    share: float | None = None
    note: str = ""


TARGETS = (
    Target(
        "map", "at least 20 times faster than ProcessPoolExecutor at chunk size 1", lambda r: r.of("map", "ppe") / 20
    ),
    Target("map", "faster than joblib", lambda r: r.of("map", "joblib"), strict=True),
    Target("map", "within 2 times ProcessPoolExecutor at its best chunk size", lambda r: 2 * r.of("map", "ppe_best")),
    Target(
        "futures",
        "at most its map and twice the bare futures",
        lambda r: r.of("map", SUBJECT) + 2 * r.of("futures", "bare"),
    ),
    Target("call", "at most 1.3 times ProcessPoolExecutor", lambda r: 1.3 * r.of("call", "ppe")),
    Target("arrays", "faster than every peer", None, strict=True),
    Target("uneven", "within 10% of the ideal", lambda r: 1.10),
    Target("uneven", "ahead of joblib", lambda r: r.of("uneven", "joblib"), strict=True),
    Target("cold", "faster than every peer but ProcessPoolExecutor's fork", None, strict=True, but=("ppe",)),
)


def judge(target: Target, series: Series) -> Verdict:
    try:
        verdicts = [_against(target, limit, series, note) for limit, note in _limits(target, series)]
    except Unmeasured as error:
        return Verdict(target.workload, target.promise, "UNKNOWN", note=str(error))
    return max(verdicts, key=lambda verdict: verdict.share or 0.0)


def _limits(target: Target, series: Series) -> list[tuple[Limit, str]]:
    """What to compare with, and what to say about it."""
    if target.limit is not None:
        return [(target.limit, "")]
    ran, absent = series.rivals(target.workload, target.but)
    if not ran:
        raise Unmeasured("no peer ran")
    without = f", without {', '.join(absent)}" if absent else ""
    return [(_of_peer(target.workload, peer), f"the nearest: {peer}{without}") for peer in ran]


def _of_peer(workload: str, peer: str) -> Limit:
    return lambda one: one.of(workload, peer)


def _against(target: Target, limit: Limit, series: Series, note: str) -> Verdict:
    pairs = series.shares(target.workload, limit, target.subject)
    share = statistics.median(value / most for value, most in pairs)
    kept = share < 1 if target.strict else share <= 1
    value, most = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Verdict(target.workload, target.promise, "PASS" if kept else "MISS", value, most, share, note)
