"""The registry of models where the state store's answers get lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bursty.errors import StoreError
from bursty.jobs.models import VERSION, Models
from bursty.stores.blobs import MemoryBlobs
from bursty.stores.memory import MemoryState


class Repeating(MemoryState):
    """The answer to each write of a version is lost, so the write is repeated: refused, for it was done."""

    instead: Mapping[str, Any] | None = None

    def put_document(self, kind: str, key: str, data: Mapping[str, Any], **how: Any) -> Any:
        if kind == VERSION:
            super().put_document(kind, key, self.instead or data, **how)
        return super().put_document(kind, key, data, **how)


def test_a_lost_answer_is_no_failure(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(b"weights")
    models = Models(Repeating(), MemoryBlobs(), "ann")
    assert [models.save("m", file, {}).version for _ in range(2)] == [1, 2]
    models.fetch("m", 2, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"weights"


def test_a_version_that_is_another_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(b"weights")
    state = Repeating()
    state.instead = {"digest": "another"}
    with pytest.raises(StoreError, match="could not be recorded"):
        Models(state, MemoryBlobs(), "ann").save("m", file, {})
