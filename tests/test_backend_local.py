"""The suite of the Backend port on the local backend and on the fake one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bursty.backends.local import LocalBackend
from bursty.testing import FakeBackend, die
from conformance.backend import BackendSuite


class TestLocalBackend(BackendSuite):
    @pytest.fixture
    def backend(self, folder: Path) -> Iterator[LocalBackend]:
        backend = LocalBackend(2, blobs=str(folder / "blobs"))
        yield backend
        backend.close()


class FakeSuite(BackendSuite):
    captures_output = False

    @staticmethod
    def die(code: int) -> Any:
        die("exit", code)


class TestFakeBackend(FakeSuite):
    @pytest.fixture
    def backend(self) -> Iterator[FakeBackend]:
        backend = FakeBackend()
        yield backend
        backend.close()


class TestFakeBackendThatKnowsLess(FakeSuite):
    """As on a backend whose workers are out of reach."""

    @pytest.fixture
    def backend(self) -> Iterator[FakeBackend]:
        backend = FakeBackend(names_culprit=False, can_kill=False)
        yield backend
        backend.close()
