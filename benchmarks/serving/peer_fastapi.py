"""FastAPI: pydantic models, the forest in the thread pool, as its pages say of functions that compute."""

import asyncio

import forest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from models import Item, Row, Scores, measures

MODEL = forest.Forest()
app = FastAPI()


def scored(row: Row) -> list[float]:
    return MODEL.one(measures(row), row.fault)


@app.post("/echo")
async def echo(item: Item) -> Item:
    return item


@app.post("/predict")
def predict(row: Row) -> Scores:
    return Scores(probabilities=scored(row))


@app.post("/timely")
async def predict_in_time(row: Row) -> Scores:
    """The same with a deadline and a default, written by hand."""
    try:
        found = await asyncio.wait_for(asyncio.to_thread(scored, row), forest.DEADLINE_SECONDS)
    except TimeoutError:
        return JSONResponse({"probabilities": forest.NO_IDEA, "fallback": True})  # pyright: ignore[reportReturnType]
    return Scores(probabilities=found)
