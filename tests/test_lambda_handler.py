"""What is of AWS Lambda alone: starts, time limits, freezes, and what is not loaded."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bursty.core.deadline import Dispatch
from bursty.core.tickets import Kill, Open, Plan
from bursty.core.tokens import Token, digest_of
from bursty.errors import StoreError
from bursty.serving.lambda_package import MANIFEST
from bursty.serving.lambda_tokens import EVERY_SECONDS, LambdaTokens
from lambda_drivers import HANDLER, LambdaTransport, Served, event_of, on_lambda
from lambda_runtime import Function, FunctionError
from redis_server import Redis, run_redis
from servers import wait_until

APP = Path(__file__).with_name("lambda_apps") / "app.py"
SOON = {"bursty-deadline-ms": "400"}

SMALL = """
import time
from bursty import App, Default
app = App("small")

@app.endpoint("/predict", deadline="20 s", fallback=Default(-1.0), auth="public", log=False)
def predict(x: float, seconds: float = 0.0) -> float:
    time.sleep(seconds)
    return 2 * x

@app.endpoint("/remembered", deadline="20 s", fallback="last_good", auth="public", log=False)
def remembered(seconds: float) -> str:
    time.sleep(seconds)
    return "remembered"
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with on_lambda(APP.read_text(encoding="utf-8"), folder, SHOP=str(folder)) as found:
        yield found


@pytest.fixture(scope="module")
def redis() -> Generator[Redis]:
    yield from run_redis()


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The task folder of SMALL."""
    folder = tmp_path_factory.mktemp("small")
    with on_lambda(SMALL, folder):
        [found] = folder.glob("task-*")
    return found


def function(served: Served) -> Function:
    assert served.function is not None
    return served.function


def asked(path: str, *, age: float = 0.0, **query: Any) -> dict[str, Any]:
    """A GET that came to the gateway so many seconds ago."""
    event = event_of(httpx.Request("GET", f"https://api.example.com{path}", params=query))
    event["requestContext"]["timeEpoch"] -= round(age * 1000)
    return event


@contextmanager
def started(task: Path, folder: Path, **environ: str) -> Generator[Function]:
    with Function(task, HANDLER, folder=folder, environ=environ) as found:
        yield found


# Events


def test_what_is_no_request_is_an_error_and_the_next_one_is_answered(served: Served) -> None:
    with pytest.raises(FunctionError, match="no HTTP request: it has body, endpoint") as failed:
        function(served).invoke({"endpoint": "predict", "body": "[]"})
    assert failed.value.about["errorType"] == "ConfigError"
    assert served.client.get("/double", params={"x": 2}).json() == 4.0


def test_an_answer_that_is_too_large_is_a_problem(served: Served) -> None:
    assert len(served.client.get("/long", params={"megabytes": 5}).json()) == 5 << 20
    answer = served.client.get("/long", params={"megabytes": 7})
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:bursty:body")


def test_an_api_stage_with_a_name(served: Served) -> None:
    stage = {"requestContext": {**asked("/prod/web/where")["requestContext"], "stage": "prod"}}
    with httpx.Client(transport=LambdaTransport(function(served), stage), base_url="https://api.example.com") as client:
        found = client.get("/prod/web/where").json()
        assert (found["path"], found["root"]) == ("/where", "/prod/web")
        assert found["url"].startswith("/prod/web/items/")


# Time


def test_the_deadline_counts_from_the_gateway(task: Path, tmp_path: Path) -> None:
    with started(task, tmp_path, AWS_LAMBDA_INITIALIZATION_TYPE="provisioned-concurrency") as small:
        assert small.invoke(asked("/predict", x=1))["body"] == "2.0"
        late = small.invoke(asked("/predict", x=1, age=30))
        assert (late["body"], late["headers"]["bursty-answer"]) == ("-1.0", "default")
        assert small.invoke(asked("/predict", x=1, age=3600))["body"] == "2.0"  # a clock that is wrong
        assert small.invoke(asked("/predict", x=1, age=-3600))["body"] == "2.0"


@pytest.mark.parametrize(("kind", "body"), [("on-demand", "2.0"), ("provisioned-concurrency", "-1.0")])
def test_a_cold_start_is_excepted_unless_it_was_provisioned(task: Path, tmp_path: Path, kind: str, body: str) -> None:
    with started(task, tmp_path, AWS_LAMBDA_INITIALIZATION_TYPE=kind) as small:
        assert small.invoke(asked("/predict", x=1, age=30))["body"] == body
        assert small.invoke(asked("/predict", x=1))["body"] == "2.0"


def test_an_answer_comes_before_lambda_ends_the_function(served: Served) -> None:
    answer = function(served).invoke(asked("/double", x=1, fault="sleep"), timeout=1.5)
    assert answer["statusCode"] == 504
    answer = function(served).invoke(asked("/web/sleep"), timeout=1.5)
    assert (answer["statusCode"], "time is up" in answer["body"]) == (504, True)
    assert function(served).invoke(asked("/web/where"))["statusCode"] == 200


def test_a_late_result_is_kept_when_the_instance_goes_on(task: Path, tmp_path: Path) -> None:
    with started(task, tmp_path) as small:

        def answer() -> str:
            event = asked("/remembered", seconds=1)
            event["headers"] |= SOON
            return small.invoke(event)["headers"].get("bursty-answer", "none")

        assert answer() == "none"
        assert wait_until(lambda: answer() == "cached")


def test_a_store_that_hangs_does_not_hold_up_answers(tmp_path: Path, redis: Redis) -> None:
    with on_lambda(SMALL, tmp_path, BURSTY_ANSWERS=redis.url) as served, redis.hanging():
        for _ in range(20):
            answer = served.client.get("/remembered", params={"seconds": 0})
            assert (answer.status_code, answer.headers["bursty-answer"]) == (200, "fresh")


def test_a_worker_that_started_while_all_stood_still_is_not_slow() -> None:
    dispatch = Dispatch(Plan(workers=1, spares=0), 0.0)
    assert dispatch.orders(0.0) == [Open()]
    dispatch.opened(1, 0.0)
    dispatch.stood_still(10_000.0)
    assert dispatch.orders(10_000.0) == []
    assert [type(order) for order in dispatch.orders(20_000.0)] == [Kill]


# Starts


def test_a_folder_without_a_manifest_is_said_at_the_start(tmp_path: Path) -> None:
    with started(tmp_path, tmp_path) as empty, pytest.raises(FunctionError, match=f"{MANIFEST} can't be read"):
        empty.invoke(asked("/predict", x=1))


def test_a_module_that_cannot_be_imported_is_a_problem_in_time(task: Path, tmp_path: Path) -> None:
    broken = tmp_path / "task"
    broken.mkdir()
    (broken / MANIFEST).write_bytes((task / MANIFEST).read_bytes())
    (broken / "app.py").write_text("import nowhere_to_be_found\n")
    with started(broken, tmp_path) as small:
        event = asked("/remembered", seconds=0)
        event["headers"] |= SOON
        assert small.invoke(event, timeout=100)["statusCode"] in (503, 504)
        event = asked("/predict", x=1)
        event["headers"] |= SOON
        assert small.invoke(event)["body"] == "-1.0"
        assert "No module named 'nowhere_to_be_found'" in small.log


def test_without_a_state_nobody_has_a_token_and_nothing_is_logged(tmp_path: Path) -> None:
    source = SMALL.replace(', auth="public", log=False', "")
    with on_lambda(source, tmp_path, BURSTY_STATE="") as small:
        del small
    [task] = tmp_path.glob("task-*")
    with started(task, tmp_path) as small:
        event = asked("/predict", x=1)
        assert small.invoke(event)["statusCode"] == 401
        event["headers"]["authorization"] = "Bearer nonsense"
        assert small.invoke(event)["statusCode"] == 401
        assert "predictions are not logged" in small.log


UNWANTED = ("starlette", "uvicorn", "uvloop", "sqlalchemy", "pydantic", "typer", "rich", "polars", "redis", "boto3")
OURS = ("bursty.jobs", "bursty.packaging", "bursty.engine.session", "bursty.serving.http", "bursty.serving.page")
LOADED = """
import sys, time
from bursty.lambda_handler import handler
class Context:
    def get_remaining_time_in_millis(self):
        return 30_000
event = {"rawPath": "/predict", "rawQueryString": "x=1", "requestContext": {"http": {"method": "GET"}}}
assert handler(event, Context())["body"] == "2.0"
print("\\n".join(sys.modules))
"""


def test_nothing_is_loaded_that_the_state_does_not_need(task: Path, tmp_path: Path) -> None:
    environ = {"LAMBDA_TASK_ROOT": str(task), "TMPDIR": str(tmp_path), "HOME": "/nowhere"}
    found = subprocess.run([sys.executable, "-c", LOADED], env=environ, capture_output=True, text=True, check=True)
    loaded = found.stdout.split()
    assert "bursty.serving.server" in loaded
    assert [name for name in loaded if name.startswith((*UNWANTED, *OURS))] == []


# Tokens


def test_tokens_are_read_when_they_are_old_and_somebody_gives_one() -> None:
    reads: list[float] = []
    known = [Token("one", digest_of(b"secret"), ("predict",), "cret", 0.0, "me", None)]

    def load() -> list[Token]:
        reads.append(time.time())
        if len(reads) == 2:
            raise StoreError("the store is away")
        return list(known)

    now = 1000.0

    def checks(header: bytes | None) -> bool:
        return book.check(header, "predict", now).problem is None

    book = LambdaTokens(load, clock=lambda: now)
    book.start()
    assert not checks(None)
    assert not reads
    assert checks(b"Bearer secret")
    now += EVERY_SECONDS - 1
    assert checks(b"Bearer secret")
    assert len(reads) == 1
    now += 2
    assert checks(b"Bearer secret")  # what is known counts on, whatever the store says
    assert wait_until(lambda: checks(b"Bearer secret") and len(reads) == 3)
    known.clear()
    assert checks(b"Bearer secret")
    now += EVERY_SECONDS
    assert wait_until(lambda: not checks(b"Bearer secret"))
