"""How long predictions are kept: as long as their endpoint declares, by the newest version that declares it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from bursty.endpoints import Log
from bursty.errors import BlobNotFound, ConfigError
from bursty.jobs.prune import Pruned
from bursty.jobs.versions import Versions
from bursty.ports.serving import PredictionStore

KEEP = Log().keep
"""Seconds, of endpoints that no version declares."""


def declared_keeps(versions: Versions, read: Callable[[str], Mapping[str, Any]]) -> Mapping[str, float]:
    """Seconds by endpoint. An app's current version counts before its others, the newest of them first; of endpoints of
    the same name in several apps the longest. ``read``: the manifest of a version by its digest."""
    keeps: dict[str, float] = {}
    for app in versions.apps():
        digests = [version.digest for version in versions.list(app)]
        with suppress(ConfigError):  # none is current
            digests.insert(0, versions.get(app).digest)
        of_app: dict[str, float] = {}
        for digest in dict.fromkeys(digests):
            with suppress(BlobNotFound):  # its blobs are lost, so it declares nothing
                for name, keep in _keeps_of(read(digest), app):
                    of_app.setdefault(name, keep)
        for name, keep in of_app.items():
            keeps[name] = max(keep, keeps.get(name, 0.0))
    return keeps


def _keeps_of(manifest: Mapping[str, Any], app: str) -> list[tuple[str, float]]:
    endpoints = [
        endpoint
        for described in manifest["describe"].get("apps", ())
        if described["name"] == app
        for endpoint in described.get("endpoints", ())
    ]
    return [(one["function"]["name"], one["log"]["keep"]) for one in endpoints if one["log"] is not None]


def prune_predictions(
    store: PredictionStore,
    keeps: Mapping[str, float],
    *,
    inputs: float | None = None,
    dry_run: bool = False,
    now: float | None = None,
) -> list[Pruned]:
    """Remove predictions that are older than ``keeps`` says, and labels of none that are older than all that is kept.

    ``inputs``: seconds after which what was asked goes; ``None``: with its prediction. ``dry_run``: only count; inputs
    of predictions that would go, too, count as well. Raises ``StoreError``.
    """
    now = time.time() if now is None else now

    def before(age: float) -> int:
        return int((now - age) * 1000)

    names = store.endpoints()
    count = sum(store.prune(name, before(keeps.get(name, KEEP)), dry_run=dry_run) for name in names)
    labels = store.prune_labels(before(max([KEEP, *keeps.values()])), dry_run=dry_run)
    removed = [Pruned("predictions", count, 0), Pruned("labels without prediction", labels, 0)]
    if inputs is not None:
        removed.append(Pruned("inputs of predictions", store.purge_inputs(before(inputs), dry_run=dry_run), 0))
    return removed
