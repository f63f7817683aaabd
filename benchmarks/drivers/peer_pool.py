"""multiprocessing.Pool, whose map chooses a chunk size by itself."""

import platform
from typing import Any

import serve


class Pool(serve.Peer):
    def start(self, workers: int) -> serve.Facts:
        import multiprocessing

        self.pool = multiprocessing.Pool(workers)
        return {"version": platform.python_version()}

    def map(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        return self.pool.map(function, inputs)

    def each(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        results = [self.pool.apply_async(function, (value,)) for value in inputs]
        return [result.get() for result in results]

    def call(self, function: serve.Function, value: Any) -> Any:
        return self.pool.apply(function, (value,))

    def close(self) -> None:
        self.pool.close()
        self.pool.join()


if __name__ == "__main__":
    serve.main(Pool)
