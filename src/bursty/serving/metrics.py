"""Counters of the server, and how Prometheus reads them.

Counting is plain Python on the event loop's thread, far below a microsecond each; nothing is locked. What other parts
count themselves (queues, workers, caches) is read when somebody asks for the page.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from bursty.endpoints import AnswerKind

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from bursty.serving.answers import Answers
    from bursty.serving.predictions import PredictionWriter

MEDIA_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
PARTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 5.0)
"""Bounds of an endpoint's latency buckets, as parts of its deadline: close together where it matters."""
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
OTHER = ""
"""The endpoint of requests to none: wrong paths must not make series."""


class Series(NamedTuple):
    """A metric: its type, its labels, what it says."""

    type: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    help: str


METRICS: Final[Mapping[str, Series]] = {
    "requests": Series("counter", ("endpoint", "answer", "status"), "Requests by where their answer came from."),
    "mount_requests": Series("counter", ("mount", "status"), "Requests to mounted web apps."),
    "queue_length": Series("gauge", ("endpoint",), "Requests that wait for a worker."),
    "in_flight": Series("gauge", ("endpoint",), "Requests that are not answered yet."),
    "workers": Series("gauge", ("endpoint", "state"), "Workers: ready, busy, late (past a deadline), starting."),
    "worker_starts": Series("counter", ("endpoint",), "Workers that were started, again or at first."),
    "worker_kills": Series("counter", ("endpoint",), "Workers that were killed at the hard limit."),
    "worker_losses": Series("counter", ("endpoint",), "Workers that died by themselves."),
    "sheds": Series("counter", ("endpoint",), "Requests turned away early since they would have been late."),
    "hangups": Series("counter", ("endpoint",), "Requests whose client hung up before its answer."),
    "predictions": Series("counter", ("what",), "Answers for the prediction log: in, out (written), dropped."),
    "cache": Series("counter", ("what",), "Looks into the cache of answers: hit, miss, error."),
    "access_log_dropped": Series("counter", (), "Lines that the access log had no room for."),
    "connections": Series("gauge", (), "Open connections."),
    "refusals": Series("counter", ("status",), "Requests that could not be read: malformed, too slow, too large."),
}


class _Histogram:
    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = list(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        found: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip([*(f"{bound:.12g}" for bound in self.bounds), "+Inf"], self.counts, strict=True):
            total += count
            found.append((bound, total))
        return found


class Metrics:
    """Of one server; for the event loop's thread, ``render`` included, which is short."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in METRICS}
        self._requests: dict[tuple[str, str, int], int] = {}
        self._seconds: dict[str, _Histogram] = {}
        self._batches: dict[str, _Histogram] = {}
        self._watched: dict[tuple[str, tuple[str, ...]], Callable[[], float]] = {}
        self._registry: CollectorRegistry | None = None
        self.endpoint(OTHER, 1.0)

    def endpoint(self, name: str, deadline: float) -> None:
        """Say that there is one, before its first request. ``deadline``: seconds. A known one keeps its counts."""
        self._seconds.setdefault(name, _Histogram([deadline * part for part in PARTS]))
        self._batches.setdefault(name, _Histogram(SIZES))

    def request(self, endpoint: str, kind: AnswerKind, status: int, seconds: float) -> None:
        """One was answered. An endpoint that nobody announced counts as ``OTHER``."""
        histogram = self._seconds.get(endpoint)
        if histogram is None:
            endpoint, histogram = OTHER, self._seconds[OTHER]
        key = (endpoint, kind, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        histogram.add(seconds)

    def batch(self, endpoint: str, items: int) -> None:
        """So many items went to a worker together."""
        self._batches[endpoint].add(items)

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter of ``METRICS``, its labels in their order."""
        counts = self._counts[name]
        counts[labels] = counts.get(labels, 0) + by

    def watch(self, name: str, read: Callable[[], float], *labels: str) -> None:
        """Read a gauge or a counter that somebody else keeps, when the page is asked for."""
        if len(labels) != len(METRICS[name].labels):
            raise ValueError(f"the metric {name} has the labels {METRICS[name].labels}, not {labels}")
        self._watched[name, labels] = read

    def unwatch(self, name: str, *labels: str) -> None:
        self._watched.pop((name, labels), None)

    def render(self) -> bytes:
        """The page that Prometheus reads."""
        from prometheus_client import generate_latest

        if self._registry is None:
            self._registry = self._open_registry()
        return generate_latest(self._registry)

    def _open_registry(self) -> CollectorRegistry:
        from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        registry.register(self)  # pyright: ignore[reportArgumentType] (a Collector by its method, not by descent)
        return registry

    def collect(self) -> Iterator[Any]:
        """For prometheus-client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for name, series in METRICS.items():
            family = CounterMetricFamily if series.type == "counter" else GaugeMetricFamily
            found = family(f"bursty_{name}", series.help, labels=series.labels)
            for labels, value in self._values(name):
                found.add_metric(labels, value)
            yield found
        for name, help_, histograms in (
            ("request_seconds", "Time from a request's arrival to its answer.", self._seconds),
            ("batch_items", "Items that went to a worker together.", self._batches),
        ):
            family = HistogramMetricFamily(f"bursty_{name}", help_, labels=["endpoint"])
            for endpoint, histogram in histograms.items():
                family.add_metric([endpoint], histogram.buckets(), histogram.sum)
            yield family

    def _values(self, name: str) -> Iterator[tuple[tuple[str, ...], float]]:
        if name == "requests":
            for (endpoint, answer, status), count in self._requests.items():
                yield (endpoint, str(answer), str(status)), count
        yield from self._counts[name].items()
        for (watched, labels), read in self._watched.items():
            if watched == name:
                yield labels, read()


def watch_stores(metrics: Metrics, answers: Answers | None, log: PredictionWriter | None) -> None:
    """What the cache of answers and the log of predictions count themselves."""
    if answers is not None:
        metrics.watch("cache", lambda: answers.counts.hits, "hit")
        metrics.watch("cache", lambda: answers.counts.misses, "miss")
        metrics.watch("cache", lambda: answers.counts.errors, "error")
    if log is not None:
        metrics.watch("predictions", lambda: log.counts.added, "in")
        metrics.watch("predictions", lambda: log.counts.written, "out")
        metrics.watch("predictions", lambda: log.counts.dropped, "dropped")
