"""Taking versions out of the blob store, and what only they needed."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from typing import Any

from bursty.ports import BlobInfo, BlobStore

FRESH_SECONDS = 7 * 86_400.0
"""An archive that a new version needs is written again when it is older: so no sweep takes it at the same moment."""


def sweep_versions(
    blobs: BlobStore, keep: Collection[str], older_than: float, *, now: float | None = None, dry_run: bool = False
) -> tuple[int, int]:
    """Remove versions that are not in ``keep`` (digests) and older than ``older_than`` seconds, and then the archives
    that no version names; return how many blobs, and their bytes. Archives stay for two weeks at least.

    ``dry_run``: only count.
    """
    now = time.time() if now is None else now
    needed: set[str] = set()
    doomed: list[BlobInfo] = []
    for info in blobs.list("versions"):
        if info.key.split("/")[1] in keep or info.modified > now - older_than:
            needed.update(_archives(json.loads(blobs.get(info.key))))
        else:
            doomed.append(info)
    before = now - max(older_than, 2 * FRESH_SECONDS)
    for kind in ("sources", "envs"):
        doomed += [info for info in blobs.list(kind) if info.key not in needed and info.modified <= before]
    removed = [info.size for info in doomed if dry_run or blobs.delete(info.key)]
    return len(removed), sum(removed)


def _archives(manifest: dict[str, Any]) -> Iterator[str]:
    """Keys of the archives that a version needs."""
    packs = [manifest["source"], *manifest["files"].values(), *(env["packed"] for env in manifest["envs"].values())]
    return (pack["key"] for pack in packs if pack is not None)
