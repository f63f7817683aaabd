"""rq on Redis: its Worker, which forks for each job, or with ``--simple`` its SimpleWorker, which doesn't."""

import sys

import queue_serve
import serve
from queues.beat import beat


class Rq(queue_serve.Queue):
    def start(self, workers: int) -> serve.Facts:
        import redis
        import rq

        url = queue_serve.server("redis")
        name = "simple" if "--simple" in sys.argv else "forking"
        self.queue = rq.Queue(name, connection=redis.Redis.from_url(url))
        kind = ["--worker-class", "rq.SimpleWorker"] if "--simple" in sys.argv else []
        self.command = [queue_serve.program("rq"), "worker", "--url", url, "--quiet", *kind, name]
        return {"version": rq.VERSION}

    def submit(self, number: int) -> None:
        self.queue.enqueue(beat, number)

    def unfinished(self) -> int:
        if failed := self.queue.failed_job_registry.count:
            raise AssertionError(f"{failed} jobs failed")
        return self.queue.count + self.queue.started_job_registry.count


if __name__ == "__main__":
    queue_serve.main(Rq)
