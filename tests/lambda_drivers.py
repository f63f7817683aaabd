"""An app served in two ways, for tests that hold for both: by ``bursty serve``, and on the real awslambdaric.

Either way ``client`` is an httpx client. On Lambda everything stands still as soon as an answer is there.
"""

import base64
import time
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bursty.config import load_settings
from bursty.serving.lambda_package import MANIFEST
from bursty.stage import Stage
from lambda_runtime import Function
from serving_process import serving

HANDLER = "bursty.lambda_handler.handler"


class Served:
    """``frozen``: nothing goes on behind an answer. ``stage``: the same stores, opened here. ``tokens``: by scope."""

    def __init__(
        self, client: httpx.Client, stage: Stage, tokens: Mapping[str, str], *, function: Function | None = None
    ) -> None:
        self.client = client
        self.stage = stage
        self.tokens = tokens
        self.function = function

    def headers(self, scope: str) -> dict[str, str]:
        """With a token that has this scope."""
        return {"authorization": f"Bearer {self.tokens[scope]}"}

    @property
    def frozen(self) -> bool:
        return self.function is not None


@contextmanager
def on_server(source: str, folder: Path, **environ: str) -> Generator[Served]:
    environ = {**_home(folder), **environ}
    project = folder / "project"
    project.mkdir(exist_ok=True)
    with Stage(load_settings(project, environ)) as stage:
        tokens = _tokens(stage)
        with serving(source, project, ready=True, **environ) as server:
            yield Served(server.client, stage, tokens)


@contextmanager
def on_lambda(source: str, folder: Path, *, timeout: float = 60.0, **environ: str) -> Generator[Served]:
    home = _home(folder)
    environ = {"BURSTY_STATE": f"sqlite:///{folder / 'home' / 'state.sqlite'}", **environ}
    with Stage(load_settings(folder, {**home, **environ})) as stage:
        tokens = _tokens(stage)
        task = package(source, folder / f"task-{uuid.uuid4().hex[:8]}", stage)
        with Function(task, HANDLER, folder=folder, timeout=timeout, environ=environ) as function:
            transport = LambdaTransport(function)
            with httpx.Client(transport=transport, base_url="https://api.example.com") as client:
                yield Served(client, stage, tokens, function=function)


def _home(folder: Path) -> dict[str, str]:
    return {"BURSTY_HOME": str(folder / "home"), "BURSTY_CACHE": str(folder / "cache")}


def _tokens(stage: Stage) -> dict[str, str]:
    """Made before anybody reads them."""
    return {
        scope: stage.tokens.create(f"{scope}-{uuid.uuid4().hex[:8]}", [scope])[1] for scope in ("predict", "labels")
    }


def package(source: str, task: Path, stage: Stage) -> Path:
    """A task folder as a package has it: the app's files, and the manifest of the version that they are."""
    task.mkdir()
    (task / "app.py").write_text(source, encoding="utf-8")
    version, _ = stage.versions.take(str(task / "app.py"), "a test")
    manifest = Path(stage.settings.cache_folder) / "versions" / f"{version.digest}.json"
    (task / MANIFEST).write_bytes(manifest.read_bytes())
    return task


class LambdaTransport(httpx.BaseTransport):
    """Requests as a function URL gives them to a function. ``event``: what else events have."""

    def __init__(self, function: Function, event: Mapping[str, Any] | None = None) -> None:
        self._function = function
        self._more = event or {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._function.invoke({**event_of(request), **self._more})
        body = answer["body"]
        content = base64.b64decode(body) if answer["isBase64Encoded"] else body.encode()
        cookies = [("set-cookie", cookie) for cookie in answer.get("cookies", ())]
        headers = [*answer["headers"].items(), *cookies]
        return httpx.Response(answer["statusCode"], headers=headers, content=content, request=request)


def event_of(request: httpx.Request) -> dict[str, Any]:
    """In payload format 2.0."""
    body = request.read()
    text = _text(body)
    headers = {name: ",".join(request.headers.get_list(name)) for name in request.headers if name != "cookie"}
    path, _, query = request.url.raw_path.decode().partition("?")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {**headers, "x-forwarded-proto": "https", "x-forwarded-port": "443"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefghij",
            "domainName": request.url.host,
            "http": {
                "method": request.method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "test",
            },
            "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
            "stage": "$default",
            "time": "12/Mar/2020:19:03:58 +0000",
            "timeEpoch": int(time.time() * 1000),
        },
        "isBase64Encoded": text is None,
    }
    if cookies := request.headers.get_list("cookie"):
        event["cookies"] = [cookie for line in cookies for cookie in line.split("; ")]
    if body:
        event["body"] = base64.b64encode(body).decode() if text is None else text
    return event


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
