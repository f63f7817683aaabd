"""Counters of the server as Prometheus reads them."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bursty.endpoints import AnswerKind, Log
from bursty.serving.answers import Answers
from bursty.serving.metrics import METRICS, PARTS, Metrics, watch_stores
from bursty.serving.predictions import PredictionWriter
from bursty.stores.predictions import MemoryPredictions


def read(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Samples by name and labels."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def key(name: str, **labels: Any) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"bursty_{name}", frozenset((label, str(value)) for label, value in labels.items())


def test_requests_by_endpoint_answer_and_status() -> None:
    metrics = Metrics()
    metrics.endpoint("rank", 0.1)
    for kind, status in [(AnswerKind.FRESH, 200), (AnswerKind.FRESH, 200), (AnswerKind.NONE, 504)]:
        metrics.request("rank", kind, status, 0.05)
    found = read(metrics)
    assert found[key("requests_total", endpoint="rank", answer="fresh", status=200)] == 2
    assert found[key("requests_total", endpoint="rank", answer="none", status=504)] == 1
    assert found[key("request_seconds_count", endpoint="rank")] == 3
    assert found[key("request_seconds_sum", endpoint="rank")] == pytest.approx(0.15)


def test_buckets_lie_around_the_deadline() -> None:
    metrics = Metrics()
    metrics.endpoint("rank", 0.1)
    for seconds in (0.001, 0.09, 0.1, 0.1001, 99.0):
        metrics.request("rank", AnswerKind.FRESH, 200, seconds)
    found = read(metrics)
    bucket = {
        le: found[key("request_seconds_bucket", endpoint="rank", le=le)]
        for le in ("0.005", "0.09", "0.1", "0.11", "+Inf")
    }
    assert bucket == {"0.005": 1, "0.09": 2, "0.1": 3, "0.11": 4, "+Inf": 5}
    assert 1.0 in PARTS


def test_wrong_paths_make_no_series() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.request(f"/{number}", AnswerKind.NONE, 404, 0.0)
    found = read(metrics)
    assert found[key("requests_total", endpoint="", answer="none", status=404)] == 100
    assert {dict(labels).get("endpoint") for name, labels in found if name == "bursty_requests_total"} == {""}


def test_a_version_that_is_loaded_anew_keeps_its_counts() -> None:
    metrics = Metrics()
    metrics.endpoint("rank", 0.1)
    metrics.request("rank", AnswerKind.FRESH, 200, 0.01)
    metrics.endpoint("rank", 0.1)
    assert read(metrics)[key("request_seconds_count", endpoint="rank")] == 1


def test_counters_gauges_and_what_others_count() -> None:
    metrics = Metrics()
    metrics.endpoint("rank", 0.1)
    waiting = [1, 2, 3]
    metrics.count("mount_requests", "tools", "200")
    metrics.count("mount_requests", "tools", "200", by=2)
    metrics.watch("queue_length", lambda: len(waiting), "rank")
    metrics.watch("workers", lambda: 4, "rank", "ready")
    metrics.watch("cache", lambda: 7, "hit")
    for size in (1, 3, 64, 5000):
        metrics.batch("rank", size)
    found = read(metrics)
    assert found[key("mount_requests_total", mount="tools", status=200)] == 3
    assert found[key("queue_length", endpoint="rank")] == 3
    assert found[key("workers", endpoint="rank", state="ready")] == 4
    assert found[key("cache_total", what="hit")] == 7
    assert found[key("batch_items_sum", endpoint="rank")] == 5068
    waiting.clear()
    metrics.unwatch("workers", "rank", "ready")
    found = read(metrics)
    assert found[key("queue_length", endpoint="rank")] == 0
    assert key("workers", endpoint="rank", state="ready") not in found


def test_the_cache_and_the_log_tell_what_they_count() -> None:
    metrics = Metrics()
    answers, log = Answers(), PredictionWriter(MemoryPredictions())
    watch_stores(metrics, answers, log)
    watch_stores(metrics, None, None)
    answers.remember(b"key", b"answer", 10.0)
    for name in (b"key", b"other", b"another"):
        answers.recall_now(name)
    for number in range(4):
        log.add("rank", Log(), str(number), 1000, "v1", 1.0, AnswerKind.FRESH, request=b"R\n{}")
    log.close()
    found = read(metrics)
    assert [found[key("cache_total", what=what)] for what in ("hit", "miss", "error")] == [1, 2, 0]
    assert [found[key("predictions_total", what=what)] for what in ("in", "out", "dropped")] == [4, 4, 0]
    answers.close()


def test_labels_must_fit() -> None:
    with pytest.raises(ValueError, match="workers"):
        Metrics().watch("workers", lambda: 1, "rank")
    with pytest.raises(KeyError):
        Metrics().count("no such metric")


def test_names_that_need_quoting() -> None:
    metrics = Metrics()
    metrics.count("mount_requests", 'a"b\\c\nd', "200")
    assert read(metrics)[key("mount_requests_total", mount='a"b\\c\nd', status=200)] == 1


def test_every_metric_says_what_it_is_and_two_servers_share_nothing() -> None:
    first, second = Metrics(), Metrics()
    first.count("sheds", "rank")
    text = first.render().decode()
    for name, series in METRICS.items():
        total = "_total" if series.type == "counter" else ""
        assert f"# TYPE bursty_{name}{total} {series.type}" in text
    assert "process_resident_memory_bytes" in text or "python_info" in text
    assert key("sheds_total", endpoint="rank") not in read(second)
