"""huey's app, as it comes: SQLite's own settings in WAL mode, where each commit waits for the disk."""

import os

from huey import SqliteHuey

from queues.beat import beat

huey = SqliteHuey(filename=os.environ["HUEY_FILE"])


@huey.task()
def noop(number: int) -> None:
    beat(number)
