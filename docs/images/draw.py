"""Draws the pictures of these pages anew: python docs/images/draw.py"""

import random
import tempfile
import time
from pathlib import Path

from PIL import Image

from bursty import Executor, demo

HERE = Path(__file__).parent


def work(seed: int) -> int:
    time.sleep(random.Random(seed).paretovariate(1.5) * 0.01)
    return seed


def shrink(source: Path, target: Path, width: int) -> None:
    """A palette of 256 colours is plenty for a chart, and a third of the bytes."""
    picture = Image.open(source).convert("RGB")
    picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(target, optimize=True)


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    demo.run(str(folder), 5000)
    shrink(folder / "forecast.png", HERE / "forecast.png", 1400)
    with Executor("local?workers=4") as executor:
        list(executor.map(work, range(120)))
        executor.report().save(folder / "report.png")
    shrink(folder / "report.png", HERE / "report.png", 1200)
