"""joblib with its loky backend; a future each comes from loky's own executor."""

from typing import Any

import serve


class Joblib(serve.Peer):
    def start(self, workers: int) -> serve.Facts:
        import joblib
        from joblib.externals.loky import get_reusable_executor

        self.workers = workers
        self.delayed = joblib.delayed
        self.loky = get_reusable_executor
        self.parallel = joblib.Parallel(n_jobs=workers)
        self.parallel.__enter__()
        return {"version": joblib.__version__}

    def map(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        task = self.delayed(function)
        return self.parallel(task(value) for value in inputs)

    def each(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        executor = self.loky(max_workers=self.workers)
        futures = [executor.submit(function, value) for value in inputs]
        return [future.result() for future in futures]

    def call(self, function: serve.Function, value: Any) -> Any:
        return self.map(function, [value])[0]

    def close(self) -> None:
        self.parallel.__exit__(None, None, None)
        self.loky().shutdown(wait=True)


if __name__ == "__main__":
    serve.main(Joblib)
