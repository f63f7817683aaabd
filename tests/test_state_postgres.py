"""The state store on PostgreSQL: the suite, on a real server, and what can go wrong with one."""

from collections.abc import Callable, Iterator

import pytest

from bursty.stores.sql import SqlState
from conformance.statestore import StateStoreSuite
from postgres import Postgres


@pytest.fixture(scope="module")
def template(postgres: Postgres) -> str:
    """The name of a database that has the tables, to be copied."""
    url = postgres.database()
    SqlState(url).close()
    return url.rpartition("/")[2]


@pytest.fixture
def url(postgres: Postgres, template: str) -> Iterator[str]:
    url = postgres.database(template)
    yield url
    postgres.drop(url)


class TestPostgres(StateStoreSuite):
    @pytest.fixture
    def store(self, url: str) -> Iterator[SqlState]:
        store = SqlState(url)
        yield store
        store.close()

    @pytest.fixture
    def open_again(self, url: str) -> Iterator[Callable[[], SqlState]]:
        opened: list[SqlState] = []

        def open_again() -> SqlState:
            opened.append(SqlState(url))
            return opened[-1]

        yield open_again
        for other in opened:
            other.close()
