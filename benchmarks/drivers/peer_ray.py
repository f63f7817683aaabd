"""ray on this machine alone, with the token it asks for and without its dashboard. Its tasks give a future each."""

import os
import secrets
import tempfile
from typing import Any

import serve


class Ray(serve.Peer):
    def start(self, workers: int) -> serve.Facts:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_USAGE_STATS_ENABLED="0")
        import ray

        self.ray = ray
        self.folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
        ray.init(
            num_cpus=workers,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=self.folder.name,
            object_store_memory=1 << 30,
            log_to_driver=False,
        )
        self.tasks: dict[serve.Function, Any] = {}
        return {"version": ray.__version__}

    def task(self, function: serve.Function) -> Any:
        if function not in self.tasks:
            self.tasks[function] = self.ray.remote(function)
        return self.tasks[function]

    def map(self, function: serve.Function, inputs: list[Any]) -> list[Any]:
        task = self.task(function)
        return self.ray.get([task.remote(value) for value in inputs])

    def call(self, function: serve.Function, value: Any) -> Any:
        return self.ray.get(self.task(function).remote(value))

    def close(self) -> None:
        self.ray.shutdown()
        self.folder.cleanup()


if __name__ == "__main__":
    serve.main(Ray)
