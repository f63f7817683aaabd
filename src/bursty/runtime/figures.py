"""Figures of a run as files, written in the worker by the library that drew them.

Standard library at import: matplotlib, Altair and plotly are reached only through the figure that the user passes.
"""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

from bursty.runtime.tables import type_name

MAX_SVG = 5_000_000
"""Bytes. A drawing with a shape for each of many points helps nobody: then the PNG alone is kept."""


def write_figure(figure: Any, folder: str, name: str) -> dict[str, Any]:
    """Write a figure as files into ``folder``: matplotlib's as PNG (twice its pixels, for sharp screens) and SVG, an
    Altair chart as Vega-Lite JSON, a plotly figure as plotly JSON. The same figure gives the same bytes.

    ``figure``: a matplotlib Figure or Axes (or what has one as its ``figure``, as seaborn's grids do), an Altair chart,
    or a plotly figure. It is neither closed nor changed.
    Returns ``{"kind": "figure", "format": "matplotlib" | "vega-lite" | "plotly", "files": [path, …]}``, the PNG first.
    Raises ``TypeError`` for all else.
    """
    roots = {cls.__module__.partition(".")[0] for cls in type(figure).__mro__}
    if "altair" in roots and hasattr(figure, "to_dict"):
        return _write_altair(figure, folder, name)
    if "plotly" in roots and hasattr(figure, "to_json"):
        return _write_plotly(figure, folder, name)
    drawn = _matplotlib_figure(figure)
    if drawn is None:
        raise TypeError(
            f"figure {name!r}: an object of type {type_name(figure)} is no figure; "
            "pass a matplotlib Figure or Axes, an Altair chart or a plotly figure"
        )
    return _write_matplotlib(drawn, folder, name)


def _matplotlib_figure(figure: Any) -> Any:
    """The whole figure that this is, or is a part of; ``None`` when it is none of matplotlib's."""
    for _ in range(3):  # Axes of a SubFigure of a Figure
        kinds = {(cls.__module__.partition(".")[0], cls.__name__) for cls in type(figure).__mro__}
        if ("matplotlib", "Figure") in kinds:
            return figure
        figure = getattr(figure, "figure", None)
    return None


def _write_matplotlib(figure: Any, folder: str, name: str) -> dict[str, Any]:
    png, svg = os.path.join(folder, f"{name}.png"), os.path.join(folder, f"{name}.svg")
    # As in notebooks: nothing at the edges is cut off. The salt and the missing date make the bytes the same each time.
    with import_module("matplotlib").rc_context({"svg.hashsalt": name}):
        figure.savefig(png, format="png", dpi=2 * figure.dpi, bbox_inches="tight")
        figure.savefig(svg, format="svg", bbox_inches="tight", metadata={"Date": None})
    files = [png, svg]
    if os.path.getsize(svg) > MAX_SVG:
        os.unlink(files.pop())
    return {"kind": "figure", "format": "matplotlib", "files": files}


def _write_altair(chart: Any, folder: str, name: str) -> dict[str, Any]:
    # All rows go into the file: Altair's limit of 5,000 is meant for notebooks.
    with import_module("altair").data_transformers.enable("default", max_rows=None):
        text = json.dumps(chart.to_dict(), ensure_ascii=False, separators=(",", ":"))
    return _written_json("vega-lite", text, folder, name)


def _write_plotly(figure: Any, folder: str, name: str) -> dict[str, Any]:
    return _written_json("plotly", figure.to_json(), folder, name)


def _written_json(form: str, text: str, folder: str, name: str) -> dict[str, Any]:
    path = os.path.join(folder, f"{name}.json")
    Path(path).write_text(text, encoding="utf-8")
    return {"kind": "figure", "format": form, "files": [path]}
