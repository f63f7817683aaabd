"""The soak of the server in a short form; ``make soak`` has the long one."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from redis_server import Redis, run_redis
from soak.serving import soak


@pytest.fixture
def redis() -> Generator[Redis]:
    yield from run_redis()


@pytest.mark.timeout(400)
def test_nothing_is_lost_while_redis_restarts_and_models_change(tmp_path: Path, redis: Redis) -> None:
    found = soak(tmp_path, redis, seconds=24, rate=40)
    assert not found.problems, "\n".join(found.problems)
