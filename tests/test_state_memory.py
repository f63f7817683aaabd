"""The state store in memory: the suite."""

from collections.abc import Callable

import pytest

from bursty.testing import MemoryState
from conformance.statestore import StateStoreSuite


class TestMemoryState(StateStoreSuite):
    @pytest.fixture
    def store(self) -> MemoryState:
        return MemoryState()

    @pytest.fixture
    def open_again(self, store: MemoryState) -> Callable[[], MemoryState]:
        return lambda: store
