"""Mosec: a stage for the echo and one for the forest, two workers each; what overstays a second is ended by it."""

import os
from typing import Any

import forest
import msgspec
from mosec import Runtime, Server, Worker
from mosec.errors import ValidationError
from structs import Item, Row, measures

WORKERS = 2
MOST_SECONDS = 1.0
BATCH_WAIT = 0.001


def decoded(data: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise ValidationError(str(error)) from None


class Echo(Worker):
    def deserialize(self, data: bytes) -> Item:
        return decoded(data, Item)

    def serialize(self, data: Item) -> bytes:
        return msgspec.json.encode(data)

    def forward(self, data: Item) -> Item:
        return data


class Iris(Worker):
    def __init__(self) -> None:
        self.model = forest.Forest()

    def deserialize(self, data: bytes) -> Row:
        return decoded(data, Row)

    def serialize(self, data: list[float]) -> bytes:
        return msgspec.json.encode({"probabilities": data})

    def forward(self, data: Row) -> Any:
        return self.model.one(measures(data), data.fault)


class Batched(Iris):
    def forward(self, data: list[Row]) -> Any:
        rows = [measures(one) for one in data]
        return self.model.of(rows)


def main() -> None:
    server = Server()
    if os.environ.get("BURSTY_BENCH_BATCH"):
        wait = round(forest.wait_seconds(BATCH_WAIT) * 1000)
        runtime = Runtime(Batched, num=WORKERS, max_batch_size=64, max_wait_time=wait)
        server.register_runtime({"/predict": [runtime]})
    else:
        iris = Runtime(Iris, num=WORKERS, timeout=MOST_SECONDS)
        server.register_runtime({"/predict": [iris], "/echo": [Runtime(Echo, num=WORKERS)]})
    server.run()


if __name__ == "__main__":
    main()
