"""Functions that tests run in Envs: this module is imported there, so it needs bursty and no more."""

from bursty import App, Env

OLD, NEW = Env(["packaging==23.2"]), Env(["packaging==24.2"])

app = App("envs")


@app.function(env=OLD)
def old(number: int) -> tuple[int, str]:
    import packaging

    return number, packaging.__version__


@app.function(env=NEW)
def new(number: int) -> tuple[int, str]:
    import packaging

    return number, packaging.__version__


def importable(names: list[str]) -> list[str]:
    import importlib.util

    return [name for name in names if importlib.util.find_spec(name) is not None]


def where() -> tuple[str, str, str]:
    import sys

    import bursty

    return sys.prefix, bursty.__file__ or "", bursty.__version__
