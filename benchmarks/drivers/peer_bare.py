"""No peer at all: what bare stdlib futures cost that are made, resolved and read, the floor under a future each."""

import platform
from typing import Any

import serve


class Bare(serve.Peer):
    def start(self, workers: int) -> serve.Facts:
        from concurrent.futures import Future

        self.future = Future
        return {"version": platform.python_version()}

    def each(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        futures = [self.future() for _ in inputs]
        for future, value in zip(futures, inputs, strict=True):
            future.set_result(value)
        return [future.result() for future in futures]


if __name__ == "__main__":
    serve.main(Bare)
