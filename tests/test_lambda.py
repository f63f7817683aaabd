"""What holds for endpoints and mounted apps, however they are served: by ``bursty serve``, and on AWS Lambda."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from lambda_drivers import Served, on_lambda, on_server
from redis_server import Redis, run_redis
from servers import wait_until

APP = Path(__file__).with_name("lambda_apps") / "app.py"
FROM_ELSEWHERE = {"x-forwarded-for": "203.0.113.7"}
"""What a proxy says: so a server on loopback wants a token, too."""
SOON = {"bursty-deadline-ms": "400"}


@pytest.fixture(scope="module")
def redis() -> Generator[Redis]:
    yield from run_redis()


def serve(how: str, folder: Path, redis: Redis) -> AbstractContextManager[Served]:
    folder.mkdir(exist_ok=True)
    driver = on_server if how == "server" else on_lambda
    return driver(APP.read_text(encoding="utf-8"), folder, SHOP=str(folder), BURSTY_ANSWERS=redis.url)


@pytest.fixture(scope="module", params=["server", "lambda"])
def served(request: pytest.FixtureRequest, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with serve(request.param, tmp_path_factory.mktemp("served"), redis) as found:
        yield found


def test_a_fresh_answer(served: Served) -> None:
    answer = served.client.post("/predict", json=[{"x": 1.0}, {"x": 2.0}])
    assert (answer.status_code, answer.json()) == (200, [{"score": 2.0}, {"score": 4.0}])
    assert answer.headers["bursty-answer"] == "fresh"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["bursty-prediction"] == answer.headers["x-request-id"]


def test_parameters_in_the_query_and_in_the_path(served: Served) -> None:
    assert served.client.get("/double", params={"x": "1.5"}).json() == 3.0
    assert served.client.get("/rank/J%C3%BCrgen%20X").json()[0] == "Jürgen X likes tea"


def test_HEAD_has_everything_but_the_body(served: Served) -> None:
    answer = served.client.head("/double", params={"x": "1.5"})
    assert (answer.status_code, answer.headers["bursty-answer"]) == (200, "fresh")
    assert answer.content == b""


def test_an_item_that_is_wrong_or_raises_spoils_no_other(served: Served) -> None:
    answer = served.client.post("/predict", json=[{"x": 1.0}, {"x": "a"}, {"x": 3.0, "fault": "raise"}, {"x": 4.0}])
    first, wrong, raised, last = answer.json()
    assert (first, last) == ({"score": 2.0}, {"score": 8.0})
    assert wrong["error"]["field"].endswith("x")
    assert raised["error"]["message"] == "ValueError", "it is public: what exceptions say is for the log"


@pytest.mark.parametrize(
    ("content", "status"), [(b"[{", 400), (b"\xff\xfe", 400), (b"[]", 200), (b'{"x": 1}', 422), (b"", 422)]
)
def test_what_is_no_request_gets_a_problem(served: Served, content: bytes, status: int) -> None:
    answer = served.client.post("/predict", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status


def test_paths_and_methods_that_are_not_there(served: Served) -> None:
    answer = served.client.post("/predicts", json=[])
    assert answer.status_code == 404
    assert "/predict" in answer.json()["hint"]
    assert served.client.delete("/predict").status_code == 405
    assert served.client.post("/predict", content=b"x", headers={"content-type": "text/plain"}).status_code == 415


def test_late_is_the_default(served: Served) -> None:
    answer = served.client.post("/sleep", json=[{"x": 1.0, "fault": "sleep"}, {"x": 2.0}], headers=SOON)
    assert (answer.status_code, answer.headers["bursty-answer"]) == (200, "default")
    assert answer.json() == [{"score": -1.0}] * 2


def test_late_without_a_fallback_is_a_problem(served: Served) -> None:
    answer = served.client.get("/double", params={"x": "1", "fault": "sleep"}, headers=SOON)
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:bursty:late")


@pytest.mark.parametrize("fault", ["segfault", "loop"])
def test_after_a_worker_that_died_or_hangs_the_next_answer_is_fresh(served: Served, fault: str) -> None:
    short = {"bursty-deadline-ms": "1500"}
    answer = served.client.post(f"/{fault}", json=[{"x": 1.0, "fault": fault}], headers=short)
    assert (answer.json(), answer.headers["bursty-answer"]) == ([{"score": -1.0}], "default")
    answer = served.client.post(f"/{fault}", json=[{"x": 2.0}])
    assert (answer.json(), answer.headers["bursty-answer"]) == ([{"score": 4.0}], "fresh")


def test_a_client_grants_less_time(served: Served) -> None:
    answer = served.client.post("/predict", json=[{"x": 1.0}], headers={"bursty-deadline-ms": "0.01"})
    assert answer.headers["bursty-answer"] == "default"
    answer = served.client.post("/predict", json=[{"x": 1.0}], headers={"bursty-deadline-ms": "1e9"})
    assert answer.headers["bursty-answer"] == "fresh"
    answer = served.client.post("/predict", json=[{"x": 1.0}], headers={"bursty-deadline-ms": "nonsense"})
    assert answer.status_code == 400


def test_predictions_are_in_the_log_when_the_answer_is_there(served: Served) -> None:
    """On Lambda nothing goes on behind the answer: what is found was written before."""
    name = served.client.post("/predict", json=[{"x": 1.0}, {"x": 2.0}]).headers["bursty-prediction"]
    rows: list[Any] = []

    def found() -> bool:
        rows[:] = served.stage.predictions.find([f"{name}/0", f"{name}/1"])
        return len(rows) == 2

    assert found() if served.frozen else wait_until(found)
    assert sorted((row.prediction.score, row.prediction.answer) for row in rows) == [(2.0, "fresh"), (4.0, "fresh")]
    answer = served.client.post("/predict", json=[{"x": 1.0, "fault": "loop"}], headers=SOON)
    name = answer.headers["bursty-prediction"]
    assert wait_until(lambda: bool(served.stage.predictions.find([f"{name}/0"])), 0 if served.frozen else 60)
    [row] = served.stage.predictions.find([f"{name}/0"])
    assert (row.prediction.answer, row.prediction.endpoint) == ("default", "predict")


def test_labels_find_their_predictions(served: Served) -> None:
    name = served.client.get("/rank/Ada").headers["bursty-prediction"]
    assert wait_until(lambda: bool(served.stage.predictions.find([name])))
    label = [{"prediction_id": name, "y": 1}]
    answer = served.client.post("/labels", json=label, headers=served.headers("labels"))
    assert (answer.status_code, answer.json()["accepted"]) == (200, 1), answer.text
    [row] = served.stage.predictions.find([name])
    assert row.label is not None
    assert row.label.y == 1.0


def test_what_is_not_public_needs_a_token(served: Served) -> None:
    for headers, status in (
        ({}, 401),
        ({"authorization": "Bearer nonsense"}, 401),
        (served.headers("labels"), 403),
        (served.headers("predict"), 200),
    ):
        answer = served.client.post("/private", json={"x": 1}, headers=FROM_ELSEWHERE | headers)
        assert answer.status_code == status, answer.text


def test_a_flask_app_under_its_path(served: Served) -> None:
    answer = served.client.get("/web/where", params={"q": ["1", "2"]}, headers={"cookie": "taste=sour; size=small"})
    found = answer.json()
    assert (found["path"], found["root"]) == ("/where", "/web")
    assert found["url"] == "/web/items/a%20b?page=2"
    assert (found["query"], found["cookie"]) == ({"q": ["1", "2"]}, "sour")
    assert found["secure"] is served.frozen


def test_forms_cookies_and_bytes_of_a_flask_app(served: Served) -> None:
    answer = served.client.post("/web/form", data={"name": "Zoë"})
    assert answer.text == "Zoë"
    assert [cookie.split("=")[0] for cookie in answer.headers.get_list("set-cookie")] == ["taste", "size"]
    served.client.cookies.clear()
    content = bytes(range(256)) * 100
    assert served.client.post("/web/echo", content=content).content == content
    assert served.client.get("/web/nowhere").status_code == 404
    assert served.client.head("/web/where").content == b""


def test_pages_of_every_server(served: Served) -> None:
    assert served.client.get("/health").json() == {"status": "ok"}
    assert wait_until(lambda: served.client.get("/ready").status_code == 200)
    headers = FROM_ELSEWHERE | served.headers("predict")
    assert "/predict" in served.client.get("/openapi.json", headers=headers).json()["paths"]
    assert "<title>answering</title>" in served.client.get("/docs", headers=headers).text
    assert served.client.get("/docs", headers=FROM_ELSEWHERE).status_code == 401


@pytest.mark.parametrize("how", ["server", "lambda"])
def test_the_last_good_answer_comes_from_another_instance(how: str, redis: Redis, tmp_path: Path) -> None:
    with serve(how, tmp_path, redis) as served:
        answer = served.client.get("/rank/Grace")
        assert answer.headers["bursty-answer"] == "fresh"
    (tmp_path / "slow").touch()
    with serve(how, tmp_path, redis) as served:
        again = served.client.get("/rank/Grace", headers=SOON)
        assert (again.json(), again.headers["bursty-answer"]) == (answer.json(), "cached")
        unknown = served.client.get("/rank/Alan", headers=SOON)
        assert (unknown.status_code, unknown.json()["type"]) == (504, "urn:bursty:late")
