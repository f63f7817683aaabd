"""Litestar: msgspec structs, the forest in its thread pool."""

import forest
from litestar import Litestar, post
from structs import Item, Row, Scores, measures

MODEL = forest.Forest()


@post("/echo", status_code=200)
async def echo(data: Item) -> Item:
    return data


@post("/predict", status_code=200, sync_to_thread=True)
def predict(data: Row) -> Scores:
    row = measures(data)
    return Scores(MODEL.one(row, data.fault))


app = Litestar([echo, predict], openapi_config=None)
