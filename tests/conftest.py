"""What all tests share: an environment without surprises, and Hypothesis settled once."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from postgres import Postgres, run_postgres

# Machines that run the tests are shared and slow at times: examples are bounded by number, not by the clock.
settings.register_profile("bursty", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("thorough", parent=settings.get_profile("bursty"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "bursty"))

ROOT = Path(__file__).resolve().parent.parent

# Settings of whoever runs the tests must not reach them; neither must a display.
for name in [name for name in os.environ if name.startswith("BURSTY_")]:
    del os.environ[name]
os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that ``.bursty/`` and outputs land in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def postgres() -> Generator[Postgres, None, None]:
    """A PostgreSQL server of our own."""
    yield from run_postgres()
