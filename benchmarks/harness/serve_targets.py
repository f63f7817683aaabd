"""What bursty's endpoints promise beside other servers."""

from __future__ import annotations

from collections.abc import Sequence

from harness.peers import Workload
from harness.served import BATCHED, ECHO, FOREST, SERVED
from harness.targets import SUBJECT, Round, Target, Unmeasured

CONNECTIONS = (1, 8, 64)
METRICS = ("p50", "p99")
KINDS = {
    ECHO: "an object of three fields, validated and given back",
    FOREST: "one flower, judged by a forest of 100 trees",
}
UNBATCHED = tuple(
    one.name for one in SERVED if not one.name.endswith("_batch") and one.name != SUBJECT and one.takes_part(FOREST)
)
FASTER, SOONER = 5, 1.15


def workloads(kinds: Sequence[str], connections: Sequence[int]) -> list[Workload]:
    """The rates, and the times of answers beside them."""
    found: list[Workload] = []
    for kind in kinds:
        for count in connections:
            name = f"{kind} {count}"
            found.append(Workload(name, KINDS[kind], 0, "/s"))
            found += [Workload(f"{name} {metric}", KINDS[kind], 0) for metric in METRICS]
    return found


def best_unbatched(one: Round) -> float:
    values: list[float] = []
    for name in UNBATCHED:
        try:
            values.append(one.of("forest 64", name))
        except Unmeasured:
            continue
    if not values:
        raise Unmeasured("nobody without batching was asked")
    return min(values)


def _echo_times(peer: str, title: str) -> Target:
    return Target("echo 64", f"at least {FASTER} times {title}", lambda one: one.of("echo 64", peer) / FASTER)


def _as_soon(subject: str) -> Target:
    return Target(
        "forest 1 p50",
        f"within {SOONER} times FastAPI's" + ("" if subject == SUBJECT else ", batching"),
        lambda one: SOONER * one.of("forest 1 p50", "fastapi"),
        subject=subject,
    )


def _ahead(workload: str) -> Target:
    return Target(workload, "batching, ahead of every peer", None, strict=True, but=(BATCHED,), subject=BATCHED)


TARGETS = (
    *(_ahead(f"forest {count}{metric}") for count in (8, 64) for metric in ("", " p99")),
    Target(
        "forest 64",
        f"batching, at least {FASTER} times the best that does not batch",
        lambda one: best_unbatched(one) / FASTER,
        subject=BATCHED,
    ),
    _as_soon(SUBJECT),
    _as_soon(BATCHED),
    Target("echo 64", "ahead of FastAPI in its own process", lambda one: one.of("echo 64", "fastapi"), strict=True),
    _echo_times("bentoml", "BentoML"),
    _echo_times("litserve", "LitServe"),
    _echo_times("mlserver", "MLServer"),
)
