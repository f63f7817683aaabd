"""ProcessPoolExecutor by somebody who tried out which chunk size suits 10,000 no-op calls best."""

import statistics
from typing import Any

import peer_ppe
import serve
import work

CHUNK_SIZES = (50, 100, 250, 500, 1000, 1250, 2500, 5000)
TRIES = 9


class PpeBest(peer_ppe.Ppe):
    chunk = 1

    def start(self, workers: int) -> serve.Facts:
        facts = super().start(workers)
        inputs = list(range(10_000))
        self.map(work.same, inputs[:100])
        self.chunk = min(CHUNK_SIZES, key=lambda size: self.median(size, inputs))
        return {**facts, "chunk size": self.chunk}

    def median(self, chunk: int, inputs: list[int]) -> float:
        self.chunk = chunk
        return statistics.median(serve.timed(lambda: self.map(work.same, inputs))[0] for _ in range(TRIES))

    def map(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        return list(self.executor.map(function, inputs, chunksize=self.chunk))


if __name__ == "__main__":
    serve.main(PpeBest)
