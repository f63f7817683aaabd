"""BentoML: a service with two workers; pydantic models as the body. How long a batch waits it finds out by itself."""

import bentoml
import forest
from models import Item, Row, Scores, measures

WORKERS = 2


@bentoml.service(workers=WORKERS, logging={"access": {"enabled": False}})
class Iris:
    def __init__(self) -> None:
        self.model = forest.Forest()

    @bentoml.api(route="/echo")
    async def echo(self, item: Item, /) -> Item:
        return item

    @bentoml.api(route="/predict")
    def predict(self, row: Row, /) -> Scores:
        found = self.model.one(measures(row), row.fault)
        return Scores(probabilities=found)

    @bentoml.api(route="/batch", batchable=True, max_batch_size=64)
    def batch(self, rows: list[Row]) -> list[Scores]:
        found = self.model.of([measures(one) for one in rows])
        return [Scores(probabilities=one) for one in found]
