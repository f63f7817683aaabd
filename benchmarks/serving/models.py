"""The bodies of requests and answers, as models of pydantic: for the peers that take them so."""

from pydantic import BaseModel


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


def measures(row: Row) -> list[float]:
    """In the forest's order."""
    return [row.sepal_length, row.sepal_width, row.petal_length, row.petal_width]
