"""procrastinate on PostgreSQL: its own worker, one job at a time, told by LISTEN."""

from importlib.metadata import version

import psycopg
import queue_serve
import serve

STATES = "SELECT status, count(*) FROM procrastinate_jobs WHERE status <> 'succeeded' GROUP BY status"


class Procrastinate(queue_serve.Queue):
    def start(self, workers: int) -> serve.Facts:
        with psycopg.connect(queue_serve.server("postgres") + "/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE procrastinate")
        from queues.procrastinate_app import URL, noop, submitter

        submitter.open()
        submitter.schema_manager.apply_schema()
        self.submitter, self.noop = submitter, submitter.configure_task(noop.name)
        self.look = psycopg.connect(URL, autocommit=True)
        self.command = [
            queue_serve.program("procrastinate"), "--app=queues.procrastinate_app.app", "worker", "--concurrency=1",
        ]  # fmt: skip
        return {"version": version("procrastinate")}

    def submit(self, number: int) -> None:
        self.noop.defer(number=number)

    def unfinished(self) -> int:
        left = dict(self.look.execute(STATES).fetchall())
        if not left.keys() <= {"todo", "doing"}:
            raise AssertionError(f"jobs ended in other ways: {left}")
        return sum(left.values())

    def close(self) -> None:
        super().close()
        self.submitter.close()
        self.look.close()


if __name__ == "__main__":
    queue_serve.main(Procrastinate)
