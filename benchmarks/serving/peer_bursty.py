"""bursty: the echo and the forest in workers of their own; the forest also in batches, and with a deadline."""

import forest
import msgspec

from bursty import App, Default

app = App("iris")


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


def measures(row: Row) -> list[float]:
    return [row.sepal_length, row.sepal_width, row.petal_length, row.petal_width]


@app.endpoint("/echo", auth="public", log=False)
def echo(item: Item) -> Item:
    return item


@app.endpoint("/predict", auth="public", log=False)
class Predict:
    def __init__(self) -> None:
        self.model = forest.Forest()

    def __call__(self, row: Row) -> Scores:
        return Scores(self.model.one(measures(row), row.fault))


@app.endpoint("/batch", auth="public", log=False, batch=64)
class Batched:
    def __init__(self) -> None:
        self.model = forest.Forest()

    def __call__(self, rows: list[Row]) -> list[Scores]:
        return [Scores(one) for one in self.model.of([measures(row) for row in rows])]


@app.endpoint(
    "/timely",
    auth="public",
    log=False,
    deadline=forest.DEADLINE_SECONDS,
    fallback=Default({"probabilities": forest.NO_IDEA}),
)
class Timely(Predict):
    pass
