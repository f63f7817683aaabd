"""``bursty init``: a small project that runs."""

from __future__ import annotations

import re
from pathlib import Path

from bursty.errors import ConfigError

FILES = {
    "app.py": '''\
"""NAME: functions for bursty."""

import random

from bursty import App

app = App("NAME")  # env=Env("requirements.txt") gives the functions an environment of their own


@app.function(timeout="1 min", retries=1)
def simulate(seed: int, years: int = 10, growth: float = 0.05) -> dict[str, float]:
    """One possible future of a price that is 100 today."""
    dice = random.Random(seed)
    price = 100.0
    for _ in range(years):
        price *= 1 + dice.gauss(growth, 0.15)
    return {"price": round(price, 2)}


if __name__ == "__main__":
    futures = simulate.map(range(1000))  # on all cores, in worker processes
    prices = sorted(future["price"] for future in futures)
    print(f"in ten years: {prices[50]:.0f} to {prices[-51]:.0f} in 9 of 10 cases, median {prices[500]:.0f}")
''',
    "test_app.py": """\
from app import simulate

from bursty import Executor


def test_a_function_is_still_a_function():
    assert simulate(1, years=0) == {"price": 100.0}


def test_the_workers_give_what_a_plain_loop_gives():
    with Executor("local?workers=2") as executor:
        assert list(executor.map(simulate, range(20))) == [simulate(seed) for seed in range(20)]
""",
    "inputs.csv": "seed,growth\n" + "".join(f"{seed},{growth}\n" for seed in range(1, 6) for growth in (0.02, 0.05)),
    "requirements.txt": "bursty\npytest\n",
    "README.md": """\
# NAME

    pip install -r requirements.txt
    python -m pytest                                          # the tests
    python app.py                                             # 1,000 futures on all cores
    bursty map app.py::simulate inputs.csv -o prices.csv      # a future for each row of a table

`app.py` declares the functions. bursty keeps large values and the results of `--resume` in `.bursty/`; `bursty prune`
removes old ones.
""",
    ".gitignore": ".bursty/\n__pycache__/\n.pytest_cache/\n.venv/\n",
}


def scaffold(name: str | None, here: Path | None = None) -> Path:
    """Write the project to the folder ``name`` (``None``: this one). Raises ``ConfigError``; replaces nothing."""
    here = here or Path.cwd()
    folder = (here / name) if name else here
    title = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-") or "app"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{str(name)!r} is a file", "Name another folder.")
    there = [file for file in FILES if (folder / file).exists() or (folder / file).is_symlink()]
    if there:
        where = f"in {name!r}" if name else "here"
        raise ConfigError(
            f"there is already {', '.join(there)} {where}", "Nothing was written; name a new folder: bursty init NAME."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in FILES.items():
            with open(folder / file, "x", encoding="utf-8") as stream:
                stream.write(text.replace("NAME", title))
    except OSError as error:
        raise ConfigError(f"{str(folder)!r} can't be written: {error.strerror or error}") from error
    return folder


def run(name: str | None) -> None:
    """The command."""
    from rich.console import Console
    from rich.markup import escape

    scaffold(name)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[green]✓[/] a project in [cyan]{escape(name or 'this folder')}[/]: {', '.join(FILES)}")
    console.print("\nNext:\n")
    if name:
        console.print(f"  [bold]cd {escape(name)}[/]")
    steps = {
        "python -m pytest": "its tests",
        "python app.py": "1,000 futures on all cores",
        "bursty map app.py::simulate inputs.csv -o prices.csv": "a future for each row",
    }
    for command, meaning in steps.items():
        console.print(f"  [bold]{command:<55}[/][dim]# {meaning}[/]")
