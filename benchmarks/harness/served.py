"""The servers that are measured: how each is started, and how it is asked for what all of them serve.

``/echo`` takes an object of three fields, validates it and gives it back. ``/predict`` takes the four measures of a
flower and gives what a forest of a hundred trees makes of them. What stands around that in a body is each peer's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.peers import Peer
from harness.targets import SUBJECT

FIELDS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
ITEM: Mapping[str, Any] = {"name": "hinge", "count": 3, "price": 2.5}
BAD_ITEM: Mapping[str, Any] = {"name": "hinge", "count": "many", "price": 2.5}
ECHO, FOREST = "echo", "forest"
BATCHED = f"{SUBJECT}_batch"
Row = Sequence[float]


def _named(row: Row, fault: str | None = None) -> dict[str, Any]:
    return {**dict(zip(FIELDS, row, strict=True)), **({"fault": fault} if fault else {})}


def _same(item: Any) -> Any:
    return item


def _probabilities(answer: Any) -> list[float]:
    return answer["probabilities"]


@dataclass(frozen=True)
class Wire:
    """How a server is spoken to: what is sent for a row or an item, and where what it says lies in its answer.
    ``timely``: the path of the same with a deadline and a default, where there is one."""

    path: str = "/predict"
    timely: str = ""
    ask: Callable[[Row, str | None], Any] = _named
    told: Callable[[Any], list[float]] = _probabilities
    echo_path: str = "/echo"
    echo: Callable[[Mapping[str, Any]], Any] = _same
    echoed: Callable[[Any], Any] = _same

    def prediction(self, row: Row, fault: str | None = None) -> bytes:
        return json.dumps(self.ask(row, fault)).encode()

    def item(self, item: Mapping[str, Any]) -> bytes:
        return json.dumps(self.echo(item)).encode()


PLAIN = Wire()
TIMELY = Wire(timely="/timely")
LISTED = Wire(
    path="/batch", ask=lambda row, fault: [_named(row, fault)], told=lambda answer: answer[0]["probabilities"]
)
BENTO_BATCH = Wire(
    path="/batch",
    ask=lambda row, fault: {"rows": [_named(row, fault)]},
    told=lambda answer: answer[0]["probabilities"],
)
TYPES = {str: "BYTES", int: "INT64", float: "FP64"}


def _tensors(row: Row, fault: str | None = None) -> dict[str, Any]:
    tensor = {"name": "rows", "shape": [1, len(row)], "datatype": "FP64", "data": list(row)}
    return {"inputs": [tensor], **({"parameters": {"fault": fault}} if fault else {})}


def _item_tensors(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": name, "shape": [1], "datatype": TYPES[type(ITEM[name])], "data": [value]}
            for name, value in item.items()
        ]
    }


TENSORS = Wire(
    path="/v2/models/iris/infer",
    ask=_tensors,
    told=lambda answer: answer["outputs"][0]["data"],
    echo_path="/v2/models/echo/infer",
    echo=_item_tensors,
    echoed=lambda answer: {one["name"]: one["data"][0] for one in answer["outputs"]},
)


NEEDS = ("bursty", "fastapi", "sklearn", "uvicorn")
"""What a Python must have for the cheap ones."""


@dataclass(frozen=True)
class Served:
    """One server. ``command``: a program beside its Python, and its words; ``{port}`` is filled in. ``variables``: of
    its environment."""

    peer: Peer
    command: tuple[str, ...]
    wire: Wire = PLAIN
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.peer.name

    def takes_part(self, workload: str) -> bool:
        """``workload``: ``forest 64``."""
        return self.peer.takes_part(workload.split()[0])


def _uvicorn(app: str) -> tuple[str, ...]:
    """As its pages say for production: a process for each core, and its two fast parts."""
    fast = ("--loop", "uvloop", "--http", "httptools")
    quiet = ("--no-access-log", "--log-level", "warning")
    return ("python", "-m", "uvicorn", app, "--port", "{port}", "--workers", "2", *fast, *quiet)


def _peer(name: str, title: str, env: str, only: tuple[str, ...] = (), cheap: bool = False) -> Peer:
    return Peer(name, title, env, only=only, cheap=cheap)


BATCH = {"BURSTY_BENCH_BATCH": "1"}
MOSEC = ("python", "peer_mosec.py", "--address", "127.0.0.1", "--port", "{port}", "--log-level", "warning")
BENTO = ("bentoml", "serve", "peer_bentoml:Iris", "--host", "127.0.0.1", "--port", "{port}")
BURSTY = ("bursty", "serve", "peer_bursty.py", "--port", "{port}")
ALONE = (FOREST,)

SERVED = (
    Served(
        _peer(SUBJECT, "bursty", "bursty_serve", cheap=True),
        BURSTY,
        TIMELY,
    ),
    Served(
        _peer(BATCHED, "bursty, batching", "bursty_serve", ALONE, cheap=True),
        BURSTY,
        LISTED,
    ),
    Served(_peer("asgi", "ASGI and msgspec", "asgi"), _uvicorn("peer_asgi:app")),
    Served(_peer("fastapi", "FastAPI", "fastapi", cheap=True), _uvicorn("peer_fastapi:app")),
    Served(_peer("litestar", "Litestar", "litestar"), _uvicorn("peer_litestar:app")),
    Served(_peer("bentoml", "BentoML", "bentoml"), BENTO),
    Served(_peer("bentoml_batch", "BentoML, batching", "bentoml", ALONE), BENTO, BENTO_BATCH),
    Served(_peer("litserve", "LitServe", "litserve"), ("python", "peer_litserve.py", "--port", "{port}")),
    Served(
        _peer("litserve_batch", "LitServe, batching", "litserve", ALONE),
        ("python", "peer_litserve.py", "--port", "{port}", "--batch"),
    ),
    Served(_peer("mlserver", "MLServer", "mlserver"), ("python", "peer_mlserver.py", "{port}"), TENSORS),
    Served(
        _peer("mlserver_batch", "MLServer, batching", "mlserver", ALONE),
        ("python", "peer_mlserver.py", "{port}"),
        TENSORS,
        BATCH,
    ),
    Served(_peer("mosec", "Mosec", "mosec"), MOSEC),
    Served(_peer("mosec_batch", "Mosec, batching", "mosec", ALONE), MOSEC, variables=BATCH),
    Served(_peer("ray", "Ray Serve", "ray_serve"), ("python", "peer_ray.py", "--port", "{port}")),
    Served(
        _peer("ray_batch", "Ray Serve, batching", "ray_serve", ALONE),
        ("python", "peer_ray.py", "--port", "{port}", "--batch"),
    ),
)

WAITING = Served(
    _peer("fastapi_wait", "FastAPI with wait_for", "fastapi", ALONE, cheap=True), _uvicorn("peer_fastapi:app"), TIMELY
)
"""With a deadline and a default, both written by hand."""
