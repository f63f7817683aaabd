"""bursty's app: a version of this folder is taken, so that ``beat`` lies beside it."""

from beat import beat

from bursty import App

app = App("bench")


@app.job
def noop(number: int) -> None:
    beat(number)
