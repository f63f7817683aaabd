"""The demo: a revenue forecast by Monte Carlo on real sales, tested on years that it has not seen.

``bursty demo`` runs it; ``examples/forecast`` explains it. ``model`` is the forecast, ``app`` maps it over workers,
``chart`` draws it. ``data/SOURCE.md`` says where the sales come from.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bursty.errors import MissingExtra

if TYPE_CHECKING:
    from bursty.demo.app import Forecast

__all__ = ["run"]


def run(out_dir: str | Path = "out/demo", paths: int = 2000, say: Callable[[str], None] = print) -> Forecast:
    """Simulate ``paths`` futures on the workers, write a table and a picture to ``out_dir`` and say what came out."""
    if not find_spec("matplotlib"):
        raise MissingExtra.of("matplotlib", "plot", "The demo")
    from bursty.demo import app

    return app.run(Path(out_dir), paths, say)
