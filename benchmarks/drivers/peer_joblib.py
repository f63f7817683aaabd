"""joblib with its loky backend; a future each comes from an executor of loky's, for joblib has none."""

from typing import Any

import serve


class Joblib(serve.Peer):
    def start(self, workers: int) -> serve.Facts:
        import joblib

        self.workers = workers
        self.joblib = joblib
        self.loky: Any = None
        return {"version": joblib.__version__}

    def map(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        """A new Parallel each time: the workers stay, and what it learnt of one function does not mislead another."""
        task = self.joblib.delayed(function)
        return self.joblib.Parallel(n_jobs=self.workers)(task(value) for value in inputs)

    def each(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        if self.loky is None:
            self.loky = self.joblib.externals.loky.ProcessPoolExecutor(self.workers)
        futures = [self.loky.submit(function, value) for value in inputs]
        return [future.result() for future in futures]

    def call(self, function: serve.Function, value: Any) -> Any:
        return self.map(function, [value])[0]

    def close(self) -> None:
        if self.loky is not None:
            self.loky.shutdown()
        self.joblib.externals.loky.get_reusable_executor().shutdown()


if __name__ == "__main__":
    serve.main(Joblib)
