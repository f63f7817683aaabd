"""LitServe: an API for the echo and one for the forest, two workers each."""

import argparse

import forest
import litserve
from models import Item, Row, Scores, measures

WORKERS = 2
BATCH_WAIT = 0.005


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
        return self.model.one(measures(x), x.fault)

    def encode_response(self, output: list[float]) -> Scores:
        return Scores(probabilities=output)


class Batched(Iris):
    def batch(self, inputs: list[Row]) -> list[list[float]]:
        return [measures(one) for one in inputs]

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
