"""huey on SQLite: one thread of its consumer."""

import os

import queue_serve
import serve


class Huey(queue_serve.Queue):
    def start(self, workers: int) -> serve.Facts:
        import huey

        os.environ["HUEY_FILE"] = str(self.folder / "huey.db")
        from queues import huey_app

        self.app = huey_app
        self.command = [queue_serve.program("huey_consumer"), "queues.huey_app.huey", "-w", "1", "-q"]
        return {"version": huey.__version__}

    def submit(self, number: int) -> None:
        self.app.noop(number)

    def unfinished(self) -> int:
        return self.app.huey.pending_count()


if __name__ == "__main__":
    queue_serve.main(Huey)
