"""The bodies of requests and answers, as structs of msgspec: for the peers that take them so."""

import msgspec


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
    """In the forest's order."""
    return [row.sepal_length, row.sepal_width, row.petal_length, row.petal_width]
