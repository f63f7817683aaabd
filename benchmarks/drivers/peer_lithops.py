"""Lithops on its localhost backend: the nearest heir of PyWren. Its map gives a future each.

Its limit of 4 MiB on the arguments of a map is lifted, or the arrays would not pass.
"""

import os
import tempfile
from typing import Any

import serve


class Lithops(serve.Peer):
    def start(self, workers: int) -> serve.Facts:
        import lithops

        self.folder = tempfile.TemporaryDirectory(prefix="bench-lithops-", ignore_cleanup_errors=True)
        config = {
            "lithops": {"backend": "localhost", "storage": "localhost", "data_limit": 0},
            "localhost": {"worker_processes": workers},
            "localhost_storage": {"storage_root": os.path.join(self.folder.name, "storage")},
        }
        self.executor = lithops.LocalhostExecutor(config=config)
        return {"version": lithops.__version__}

    def map(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        return self.executor.get_result(self.executor.map(function, inputs))

    def call(self, function: serve.Function, value: Any) -> Any:
        return self.executor.get_result(self.executor.call_async(function, (value,)))

    def close(self) -> None:
        self.executor.clean()
        self.folder.cleanup()


if __name__ == "__main__":
    serve.main(Lithops)
