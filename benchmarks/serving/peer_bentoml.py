"""BentoML: a service with two workers; pydantic models as the body. How long a batch waits it finds out by itself."""

import bentoml
import forest
from pydantic import BaseModel

WORKERS = 2


class Item(BaseModel):
    name: str
    count: int
    price: float


class Row(BaseModel):
    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float
    fault: str | None = None


class Scores(BaseModel):
    probabilities: list[float]


@bentoml.service(workers=WORKERS, logging={"access": {"enabled": False}})
class Iris:
    def __init__(self) -> None:
        self.model = forest.Forest()

    @bentoml.api(route="/echo")
    async def echo(self, item: Item, /) -> Item:
        return item

    @bentoml.api(route="/predict")
    def predict(self, row: Row, /) -> Scores:
        found = self.model.one([row.sepal_length, row.sepal_width, row.petal_length, row.petal_width], row.fault)
        return Scores(probabilities=found)

    @bentoml.api(route="/batch", batchable=True, max_batch_size=64)
    def batch(self, rows: list[Row]) -> list[Scores]:
        found = self.model.of([[one.sepal_length, one.sepal_width, one.petal_length, one.petal_width] for one in rows])
        return [Scores(probabilities=one) for one in found]
