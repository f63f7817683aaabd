"""Litestar: msgspec structs, the forest in its thread pool."""

import forest
import msgspec
from litestar import Litestar, post


class Item(msgspec.Struct):
    name: str
    count: int
    price: float


class Row(msgspec.Struct):
    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float
    fault: str | None = None


class Scores(msgspec.Struct):
    probabilities: list[float]


MODEL = forest.Forest()


@post("/echo", status_code=200)
async def echo(data: Item) -> Item:
    return data


@post("/predict", status_code=200, sync_to_thread=True)
def predict(data: Row) -> Scores:
    row = [data.sepal_length, data.sepal_width, data.petal_length, data.petal_width]
    return Scores(MODEL.one(row, data.fault))


app = Litestar([echo, predict], openapi_config=None)
