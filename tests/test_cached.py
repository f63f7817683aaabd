"""Keys of ``Run.cache``: different keys have different texts, and what can't promise that is refused."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bursty.errors import ConfigError
from bursty.runtime.cached import key_text
from bursty.runtime.run import Run


class Colour(enum.Enum):
    RED = "red"
    ROUGE = 1


DIFFERENT: list[Any] = [
    None, True, False, 0, 1, 1.0, 1.5, "", "1", "None", "2025-01-02", b"1", Decimal("1"), Decimal("1.0"),
    dt.date(2025, 1, 2), dt.datetime(2025, 1, 2, tzinfo=dt.UTC), dt.time(1, 2), dt.datetime.fromisoformat("2025-01-02"),
    Colour.RED, Colour.ROUGE, "red", [], [1], [[1]], [1, "1"], {}, {"a": 1}, {"a": [1]}, {"date": "2025-01-02"},
    {"dict": {}}, {"bytes": "31"}, [dt.date(2025, 1, 2)],
]  # fmt: skip


def test_different_keys_have_different_texts() -> None:
    assert len({key_text(key) for key in DIFFERENT}) == len(DIFFERENT)
    assert key_text({"b": 1, "a": (2, 3)}) == key_text({"a": [2, 3], "b": 1})


@pytest.mark.parametrize("key", [np.zeros(5000), ["prices", np.zeros(3)], {1: 2}, {1, 2}, object(), Path("file")])
def test_a_key_whose_text_may_stand_for_several_is_refused(key: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cache key"):
        Run.local(tmp_path).cache(key, lambda: 1)
