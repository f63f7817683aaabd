"""concurrent.futures.ProcessPoolExecutor as it comes: chunk size 1, forked workers."""

import platform
from collections.abc import Iterator
from typing import Any

import serve


class Ppe(serve.Peer):
    def start(self, workers: int) -> serve.Facts:
        from concurrent.futures import ProcessPoolExecutor

        self.executor = ProcessPoolExecutor(workers)
        return {"version": platform.python_version()}

    def map(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        return list(self.executor.map(function, inputs))

    def each(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        futures = [self.executor.submit(function, value) for value in inputs]
        return [future.result() for future in futures]

    def call(self, function: serve.Function, value: Any) -> Any:
        return self.executor.submit(function, value).result()

    def total(self, function: serve.Function, inputs: Iterator[int]) -> int:
        return sum(self.executor.map(function, inputs))

    def close(self) -> None:
        self.executor.shutdown()


if __name__ == "__main__":
    serve.main(Ppe)
