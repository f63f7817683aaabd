"""Ray Serve: FastAPI before two replicas, on this machine alone. ``python peer_ray.py PORT [--batch]``."""

import argparse
import os
import secrets
import signal
import threading
from typing import Any

os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_USAGE_STATS_ENABLED="0")
os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"] = "1"  # as its pages on performance say

import forest
import ray
from fastapi import FastAPI
from models import Item, Row, Scores, measures
from ray import serve

REPLICAS = 2
BATCH_WAIT = 0.005
ONGOING = 100


app = FastAPI()
batching = FastAPI()


@serve.deployment(num_replicas=REPLICAS, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=ONGOING)
@serve.ingress(app)
class Iris:
    def __init__(self) -> None:
        self.model = forest.Forest()

    @app.post("/echo")
    async def echo(self, item: Item) -> Item:
        return item

    @app.post("/predict")
    def predict(self, row: Row) -> Scores:
        found = self.model.one(measures(row), row.fault)
        return Scores(probabilities=found)


@serve.deployment(num_replicas=REPLICAS, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=ONGOING)
@serve.ingress(batching)
class Batched:
    def __init__(self) -> None:
        self.model = forest.Forest()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=forest.wait_seconds(BATCH_WAIT))
    async def scored(self, rows: list[list[float]]) -> list[list[float]]:
        return self.model.of(rows)

    @batching.post("/predict")
    async def predict(self, row: Row) -> Scores:
        scored: Any = self.scored
        found = await scored(measures(row))
        return Scores(probabilities=found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--batch", action="store_true")
    options = parser.parse_args()
    ray.init(
        num_cpus=REPLICAS,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=os.environ["BURSTY_BENCH_SCRATCH"],
        object_store_memory=256 << 20,
        log_to_driver=False,
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    serve.start(http_options={"host": "127.0.0.1", "port": options.port})
    serve.run((Batched if options.batch else Iris).bind())
    stop.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
