"""bursty: the echo and the forest in workers of their own; the forest also in batches, and with a deadline."""

import forest
from structs import Item, Row, Scores, measures

from bursty import App, Default

app = App("iris")


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
