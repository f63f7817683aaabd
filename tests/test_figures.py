"""Figures of runs: written by the library that drew them, and looked at as bytes."""

import json
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import altair as alt
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from matplotlib.figure import Figure

from bursty.runtime.figures import write_figure


def drawn() -> Figure:
    """Not pyplot's: nothing is kept of it."""
    figure = Figure(figsize=(4, 3), dpi=100)
    axes = figure.subplots(1, 2)
    axes[0].plot([1, 2, 3], label="path")
    axes[0].legend()
    figure.suptitle("A title")
    return figure


def size_of(png: Path) -> tuple[int, int]:
    content = png.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


class TestMatplotlib:
    def test_png_and_svg(self, tmp_path: Path) -> None:
        meta = write_figure(drawn(), str(tmp_path), "fan")
        png, svg = tmp_path / "fan.png", tmp_path / "fan.svg"
        assert meta == {"kind": "figure", "format": "matplotlib", "files": [str(png), str(svg)]}
        width, height = size_of(png)
        assert (600 < width < 900, 400 < height < 700) == (True, True)
        root = ET.fromstring(svg.read_text("utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert 200 < float(root.get("width", "").removesuffix("pt")) < 300

    def test_twice_the_pixels_of_the_figure(self, tmp_path: Path) -> None:
        for name, dpi in (("one", 50), ("two", 100)):
            figure = drawn()
            figure.set_dpi(dpi)
            write_figure(figure, str(tmp_path), name)
            assert figure.dpi == dpi
        one, two = size_of(tmp_path / "one.png"), size_of(tmp_path / "two.png")
        assert abs(two[0] / one[0] - 2) < 0.1

    def test_the_same_bytes_each_time(self, tmp_path: Path) -> None:
        contents: list[list[bytes]] = []
        for number in range(2):
            folder = tmp_path / str(number)
            folder.mkdir()
            contents.append([Path(file).read_bytes() for file in write_figure(drawn(), str(folder), "f")["files"]])
        assert contents[0] == contents[1]

    def test_parts_of_a_figure(self, tmp_path: Path) -> None:
        whole = drawn()
        inner = whole.subfigures(1, 1)
        for number, part in enumerate((whole, whole.axes[0], inner, inner.subplots())):
            meta = write_figure(part, str(tmp_path), f"f{number}")
            assert size_of(Path(meta["files"][0])) == size_of(tmp_path / "f0.png")

    def test_what_holds_a_figure(self, tmp_path: Path) -> None:
        class Grid:
            """As seaborn's grids."""

            figure = drawn()

        assert write_figure(Grid(), str(tmp_path), "grid")["format"] == "matplotlib"

    def test_pyplots_figures_stay_open(self, tmp_path: Path) -> None:
        figure, axes = plt.subplots()
        try:
            write_figure(axes, str(tmp_path), "f")
            assert plt.fignum_exists(figure.number)
        finally:
            plt.close(figure)

    def test_a_drawing_of_very_many_shapes_is_kept_as_png_alone(self, tmp_path: Path) -> None:
        figure = Figure(figsize=(4, 3), dpi=50)
        figure.subplots().scatter(np.arange(80_000) % 283, np.arange(80_000) // 283)
        assert write_figure(figure, str(tmp_path), "f")["files"] == [str(tmp_path / "f.png")]
        assert [path.name for path in tmp_path.iterdir()] == ["f.png"]


class TestJson:
    def read(self, figure: Any, folder: Path, form: str) -> Any:
        meta = write_figure(figure, str(folder), "f")
        assert meta == {"kind": "figure", "format": form, "files": [str(folder / "f.json")]}
        return json.loads((folder / "f.json").read_text("utf-8"))

    def test_altair(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"x": range(6000), "y": np.arange(6000) * 0.5})
        chart = alt.Chart(frame, title="Größe").mark_line().encode(x="x", y="y")
        spec = self.read(chart, tmp_path, "vega-lite")
        assert "vega-lite" in spec["$schema"]
        assert spec["title"] == "Größe"
        (rows,) = spec["datasets"].values()
        assert (len(rows), rows[-1]) == (6000, {"x": 5999, "y": 2999.5})
        assert spec == self.read(chart, tmp_path, "vega-lite")
        with pytest.raises(alt.MaxRowsError):  # the user's own limit is as it was
            chart.to_dict()

    def test_layers_of_altair(self, tmp_path: Path) -> None:
        chart = alt.Chart(pd.DataFrame({"x": [1, 2]})).mark_point().encode(x="x")
        assert len(self.read(chart + chart, tmp_path, "vega-lite")["layer"]) == 2
        assert len(self.read(chart | chart, tmp_path, "vega-lite")["hconcat"]) == 2

    def test_plotly(self, tmp_path: Path) -> None:
        figure = go.Figure(go.Scatter(x=[1, 2], y=[3.5, None], name="é"), layout={"title": "T"})
        spec = self.read(figure, tmp_path, "plotly")
        assert spec["data"][0]["y"] == [3.5, None]
        assert (spec["data"][0]["name"], spec["layout"]["title"]["text"]) == ("é", "T")


class TestElse:
    @pytest.mark.parametrize("thing", [None, "fan.png", 5, plt, pd.DataFrame(), [drawn()], object()])
    def test_is_refused(self, thing: Any, tmp_path: Path) -> None:
        with pytest.raises(
            TypeError, match=r"figure 'fan': an object of type .* is no figure; pass a matplotlib Figure"
        ):
            write_figure(thing, str(tmp_path), "fan")
        assert list(tmp_path.iterdir()) == []
