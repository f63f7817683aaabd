"""What is run in the crash test: jobs that are over at once, that fail now and then, that outlast a lease."""

import time

from bursty import App, Run

app = App("crash")

SCHEDULES = 4


def work(run: Run, seconds: float, failures: int) -> None:
    """Take so long; fail in the first ``failures`` attempts."""
    time.sleep(seconds)
    if run.attempt <= failures:
        raise ValueError(f"attempt {run.attempt} fails")
    run.metric("attempt", run.attempt)


@app.job
def brief(run: Run, seconds: float) -> None:
    work(run, seconds, 0)


@app.job(retries=2, notify=("succeeded", "failed", "timed_out", "cancelled", "lost"))
def flaky(run: Run, seconds: float, failures: int) -> None:
    work(run, seconds, failures)


@app.job
def lasting(run: Run, seconds: float) -> None:
    work(run, seconds, 0)


@app.job
def tick(number: int) -> int:
    return number


for _number in range(SCHEDULES):
    app.schedule(every=1, missed="all", overlap="queue", inputs={"number": _number})(tick)
