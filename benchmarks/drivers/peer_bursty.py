"""bursty itself."""

from collections.abc import Iterator
from typing import Any

import serve


class Bursty(serve.Peer):
    def start(self, workers: int) -> serve.Facts:
        from bursty import Executor

        self.executor = Executor(f"local?workers={workers}")
        return {}

    def map(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        return list(self.executor.map(function, inputs))

    def each(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        return [future.result() for future in self.executor.submit_many(function, inputs)]

    def call(self, function: serve.Function, value: Any) -> Any:
        return self.executor.submit(function, value).result()

    def total(self, function: serve.Function, inputs: Iterator[int]) -> int:
        return sum(self.executor.map(function, inputs))

    def close(self) -> None:
        self.executor.shutdown()


if __name__ == "__main__":
    serve.main(Bursty)
