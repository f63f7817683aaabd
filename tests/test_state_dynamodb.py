"""The state store on DynamoDB (moto's server): the suite; lost answers, throttling and clocks that differ."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from bursty.stores.dynamodb import DynamoState
from conformance.statestore import StateStoreSuite
from dynamo import dynamo_server
from servers import aws_environ

numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dynamo_server(tmp_path_factory.mktemp("dynamo")) as url:
        yield url


@pytest.fixture(autouse=True)
def environ(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws_environ(server).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def table() -> str:
    return f"bursty-{next(numbers)}"


class TestDynamoState(StateStoreSuite):
    @pytest.fixture
    def store(self, table: str) -> Iterator[DynamoState]:
        store = DynamoState(f"dynamodb://{table}?create=1")
        yield store
        store.close()

    @pytest.fixture
    def open_again(self, store: DynamoState) -> Callable[[], DynamoState]:
        return lambda: DynamoState(store.url)
