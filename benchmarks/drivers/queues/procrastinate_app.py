"""procrastinate's app, for its own asynchronous worker."""

import os

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

from queues.beat import beat

URL = os.environ["BURSTY_BENCH_POSTGRES"] + "/procrastinate"
app = App(connector=PsycopgConnector(conninfo=URL))
submitter = App(connector=SyncPsycopgConnector(conninfo=URL))


@app.task(name="noop")
async def noop(number: int) -> None:
    beat(number)
