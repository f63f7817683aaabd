"""dask.distributed on a LocalCluster of processes. Its map gives a future each."""

import tempfile
from typing import Any

import serve


class Dask(serve.Peer):
    def start(self, workers: int) -> serve.Facts:
        import distributed

        self.folder = tempfile.TemporaryDirectory(prefix="bench-dask-")
        self.cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=self.folder.name,
        )
        self.client = distributed.Client(self.cluster)
        return {"version": distributed.__version__}

    def map(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        return self.client.gather(self.client.map(function, inputs, pure=False))

    def call(self, function: serve.Function, value: Any) -> Any:
        return self.client.submit(function, value, pure=False).result()

    def close(self) -> None:
        self.client.close()
        self.cluster.close()
        self.folder.cleanup()


if __name__ == "__main__":
    serve.main(Dask)
