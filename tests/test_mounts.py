"""Flask behind the server: a real process, real HTTP."""

from collections.abc import Iterator

import httpx
import pytest

from mounting import Front, mounted, spec


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with mounted("flask_app.py", spec("/web", "web", threads=4), app="flasky") as front:
        yield front


@pytest.fixture
def client(front: Front) -> Iterator[httpx.Client]:
    with front.client() as client:
        yield client


def test_a_flask_view_answers(client: httpx.Client) -> None:
    answer = client.get("/web/")
    assert (answer.status_code, answer.text) == (200, "hello")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
