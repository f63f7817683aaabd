"""How two runs differ, as data: for the command line and the pages."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bursty.errors import BlobNotFound, BurstyError
from bursty.jobs.artefacts import Artefact, fetch_file
from bursty.jobs.runs import Runs
from bursty.jobs.tables import compare_tables
from bursty.records import RunRecord


def compare_runs(runs: Runs, a: str, b: str, rows: int = 20) -> dict[str, Any]:
    """How run b differs from run a, as JSON:

    ``a``, ``b``: ``{"id", "app", "job", "status", "version" (number, if known), "digest", "seconds", "error"}``.
    ``inputs``: ``{"name", "title", "a", "b", "in_a", "in_b", "same"}`` each. ``metrics``: ``{"name", "a", "b", "delta",
    "percent"}``; null where a run has none. ``outputs``: ``{"name", "kind", "same", "only" ("a", "b" or null), "a", "b"
    (bytes)}``, for tables of both also ``table``: see ``compare_tables``, with up to ``rows`` differences; or
    ``problem``: why it can't be compared. ``same``: nothing of that differs, versions aside.

    Raises ``ConfigError`` when there is no such run.
    """
    left, right = runs.get(a), runs.get(b)
    inputs = _inputs(runs, left, right)
    metrics = _metrics(left, right)
    outputs = _outputs(runs, left, right, rows)
    same = all(item["same"] for item in [*inputs, *outputs]) and all(item["a"] == item["b"] for item in metrics)
    return {
        "same": same,
        "a": _about(runs, left),
        "b": _about(runs, right),
        "inputs": inputs,
        "metrics": metrics,
        "outputs": outputs,
    }


def _about(runs: Runs, run: RunRecord) -> dict[str, Any]:
    seconds = None
    if run.started_at is not None and run.finished_at is not None:
        seconds = round(run.finished_at - run.started_at, 3)
    number = next((item.number for item in runs.versions.list(run.app) if item.digest == run.version), None)
    return {
        "id": run.id,
        "app": run.app,
        "job": run.job,
        "status": str(run.status),
        "version": number,
        "digest": run.version,
        "seconds": seconds,
        "error": run.error,
    }


def _inputs(runs: Runs, left: RunRecord, right: RunRecord) -> list[dict[str, Any]]:
    ours: dict[str, Any] = json.loads(left.inputs)
    theirs: dict[str, Any] = json.loads(right.inputs)
    titles = {**_titles(runs, left), **_titles(runs, right)}
    return [
        {
            "name": name,
            "title": titles.get(name) or name,
            "a": ours.get(name),
            "b": theirs.get(name),
            "in_a": name in ours,
            "in_b": name in theirs,
            "same": (name in ours) == (name in theirs) and ours.get(name) == theirs.get(name),
        }
        for name in dict.fromkeys([*ours, *theirs])
    ]


def _titles(runs: Runs, run: RunRecord) -> dict[str, str]:
    try:
        form = runs.catalog.job(run.version, run.job).form
    except BurstyError:  # the version was pruned: names do
        return {}
    return {item.get("name", ""): item.get("title", "") for item in form["fields"]}


def _metrics(left: RunRecord, right: RunRecord) -> list[dict[str, Any]]:
    ours: dict[str, float] = json.loads(left.metrics) if left.metrics else {}
    theirs: dict[str, float] = json.loads(right.metrics) if right.metrics else {}
    return [_metric(name, ours.get(name), theirs.get(name)) for name in dict.fromkeys([*ours, *theirs])]


def _metric(name: str, a: float | None, b: float | None) -> dict[str, Any]:
    delta = None if a is None or b is None else b - a
    percent = None if delta is None or not a else 100 * delta / abs(a)
    return {"name": name, "a": a, "b": b, "delta": delta, "percent": percent}


def _outputs(runs: Runs, left: RunRecord, right: RunRecord, rows: int) -> list[dict[str, Any]]:
    ours, theirs = _artefacts(runs, left), _artefacts(runs, right)
    return [_output(runs, name, ours.get(name), theirs.get(name), rows) for name in dict.fromkeys([*ours, *theirs])]


def _artefacts(runs: Runs, run: RunRecord) -> Mapping[str, Artefact]:
    try:
        return {item.name: item for item in runs.manifest(run.id).artefacts}
    except BlobNotFound:
        return {}


def _output(runs: Runs, name: str, a: Artefact | None, b: Artefact | None, rows: int) -> dict[str, Any]:
    found = a or b
    assert found is not None
    about: dict[str, Any] = {
        "name": name,
        "kind": found.kind,
        "same": a is not None and b is not None and a.digest == b.digest,
        "only": None if a and b else "a" if a else "b",
        "a": a.size if a else None,
        "b": b.size if b else None,
    }
    if a is None or b is None or a.kind != "table" or b.kind != "table" or about["same"]:
        return about
    try:
        about["table"] = _tables(runs, [a, b], rows)
    except BurstyError as error:
        about["problem"] = error.message
    else:
        about["same"] = about["table"]["same"]
    return about


def _tables(runs: Runs, pair: Sequence[Artefact], rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bursty-compare-") as folder:
        paths = [Path(folder) / str(place) for place in range(len(pair))]
        for path, item in zip(paths, pair, strict=True):
            fetch_file(runs.blobs, item.key, path, item.digest)
        first, second = pair
        return compare_tables(
            str(paths[0]),
            first.meta["format"],
            str(paths[1]),
            second.meta["format"],
            rows,
            first.meta.get("columns"),
            second.meta.get("columns"),
        )
