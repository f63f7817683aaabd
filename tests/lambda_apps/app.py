"""Endpoints that answer, sleep, hang, die and refuse, and a Flask app: what the tests ask in two ways."""

import ctypes
import os
import time
from pathlib import Path
from typing import Any

import flask
from msgspec import Struct

from bursty import App, Default

app = App("answering")
web = flask.Flask(__name__)
app.mount("/web", web, name="web", threads=2, auth="public")


class Item(Struct):
    x: float
    fault: str = ""


class Score(Struct):
    score: float


def misbehave(fault: str) -> None:
    match fault:
        case "sleep":
            time.sleep(60)
        case "loop":
            while True:
                pass
        case "segfault":
            ctypes.string_at(0)
        case "raise":
            raise ValueError("no such thing")
        case _:
            pass


DEFAULT = Default({"score": -1.0}, each=True)


@app.endpoint("/predict", deadline="20 s", concurrency=1, fallback=DEFAULT, auth="public")
def predict(items: list[Item]) -> list[Score]:
    for item in items:
        misbehave(item.fault)
    return [Score(2 * item.x) for item in items]


for fault in ("segfault", "loop", "sleep"):  # each with workers of its own, for a late one is there for long
    app.endpoint(f"/{fault}", name=fault, deadline="20 s", concurrency=1, fallback=DEFAULT, auth="public")(predict)


@app.endpoint("/double", deadline="20 s", concurrency=1, auth="public", log=False)
def double(x: float, fault: str = "") -> float:
    misbehave(fault)
    return 2 * x


@app.endpoint("/rank/{user}", deadline="20 s", concurrency=1, fallback="last_good", auth="public")
def rank(user: str) -> list[str]:
    if Path(os.environ["SHOP"], "slow").exists():
        time.sleep(60)
    return [f"{user} likes {thing}" for thing in ("tea", "trains")]


@app.endpoint("/private", deadline="20 s", log=False)
def private(x: int) -> int:
    return x


@app.endpoint("/long", deadline="20 s", auth="public", log=False)
def long(megabytes: int) -> str:
    return "x" * (megabytes << 20)


@web.get("/where")
def where() -> Any:
    return flask.jsonify(
        path=flask.request.path,
        root=flask.request.script_root,
        url=flask.url_for("item", name="a b", page=2),
        query=flask.request.args.to_dict(flat=False),
        cookie=flask.request.cookies.get("taste"),
        secure=flask.request.is_secure,
    )


@web.route("/items/<name>")
def item(name: str) -> str:
    return name


@web.post("/form")
def form() -> Any:
    response = flask.make_response(flask.request.form["name"])
    response.set_cookie("taste", "sweet")
    response.set_cookie("size", "large")
    return response


@web.post("/echo")
def echo() -> Any:
    return flask.Response(flask.request.get_data(), mimetype="application/octet-stream")


@web.get("/sleep")
def sleep() -> str:
    time.sleep(60)
    return "late"
