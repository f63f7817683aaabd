"""Web apps that leave what takes long to workers and to jobs."""

import asyncio
import os
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI
from flask import Flask, jsonify, request
from pydantic import Field

from bursty import App, File, Model, Run

app = App("working")
flask = Flask(__name__)
fast = FastAPI()


@app.function
def simulate(seed: int) -> tuple[int, int]:
    return seed * seed, os.getpid()


@app.job
def forecast(
    run: Run, growth: Annotated[float, Field(ge=0)] = 0.1, since: date | None = None, history: File | None = None
) -> None:
    run.metric("size", len(Path(history).read_bytes()) if history else 0)
    run.save_json("grown", {"growth": growth})


@flask.get("/simulate/<int:seed>")
def simulated(seed: int) -> Any:
    value, pid = simulate.submit(seed).result()
    return jsonify(value=value, elsewhere=pid != os.getpid())


@flask.get("/many")
def many() -> Any:
    return jsonify(sum(value for value, _ in simulate.map(range(50))))


@flask.post("/start")
def start() -> Any:
    run = forecast.start(**request.get_json())
    return jsonify(id=run.id, job=run.job, app=run.app, status=run.status, by=run.created_by, version=run.version)


@flask.post("/upload")
def upload() -> Any:
    place = Path(os.environ["BURSTY_TEST_FOLDER"]) / "history.csv"
    request.files["history"].save(place)
    return jsonify(id=forecast.start(history=place).id)


@flask.errorhandler(Exception)
def refused(error: Exception) -> Any:
    return jsonify(type=type(error).__name__, message=str(error)), 400


@fast.get("/simulate/{seed}")
async def simulated_async(seed: int) -> dict[str, Any]:
    value, pid = await asyncio.wrap_future(simulate.submit(seed))  # a real Future, as it says
    return {"value": value, "elsewhere": pid != os.getpid()}


@fast.post("/start")
def start_in_a_thread() -> str:
    return forecast.start(growth=0.5, since=date(2026, 1, 2)).id


@fast.post("/models/{name}")
def keep(name: str) -> int:
    return Model(name).save({"slope": 2})


@fast.get("/models/{name}")
def load(name: str) -> Any:
    return Model(name).load()


app.mount("/flask", flask, name="flask")
app.mount("/fast", fast, name="fast")
