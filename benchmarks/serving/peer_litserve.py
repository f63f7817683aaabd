"""LitServe: an API for the echo and one for the forest, two workers each."""

import argparse

import forest
import litserve
from pydantic import BaseModel

WORKERS = 2
BATCH_WAIT = 0.005


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


class Echo(litserve.LitAPI):
    def setup(self, device: str) -> None:
        pass

    def decode_request(self, request: Item) -> Item:
        return request

    def predict(self, x: Item) -> Item:
        return x

    def encode_response(self, output: Item) -> Item:
        return output


class Iris(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = forest.Forest()

    def decode_request(self, request: Row) -> Row:
        return request

    def predict(self, x: Row) -> list[float]:
        return self.model.one([x.sepal_length, x.sepal_width, x.petal_length, x.petal_width], x.fault)

    def encode_response(self, output: list[float]) -> Scores:
        return Scores(probabilities=output)


class Batched(Iris):
    def batch(self, inputs: list[Row]) -> list[list[float]]:
        return [[one.sepal_length, one.sepal_width, one.petal_length, one.petal_width] for one in inputs]

    def predict(self, x: list[list[float]]) -> list[list[float]]:
        return self.model.of(x)

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        return output


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--batch", action="store_true")
    options = parser.parse_args()
    wait = forest.wait_seconds(BATCH_WAIT)
    apis = [Batched(max_batch_size=64, batch_timeout=wait)] if options.batch else [Iris(), Echo(api_path="/echo")]
    server = litserve.LitServer(apis, accelerator="cpu", workers_per_device=WORKERS, restart_workers=True)
    server.run(host="127.0.0.1", port=options.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
