"""The state store on SQLite: the suite, and what can go wrong with a file."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bursty.stores.sql import SqlState
from conformance.statestore import StateStoreSuite


class TestSqlite(StateStoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SqlState]:
        store = SqlState(f"sqlite:///{tmp_path}/state.sqlite")
        yield store
        store.close()

    @pytest.fixture
    def open_again(self, store: SqlState) -> Iterator[Callable[[], SqlState]]:
        opened: list[SqlState] = []

        def open_again() -> SqlState:
            opened.append(SqlState(store.url))
            return opened[-1]

        yield open_again
        for other in opened:
            other.close()
