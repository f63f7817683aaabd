"""Ranks a pool of items within 100 ms: by the model, else as it was ranked before, else not at all.

bursty run examples/ranker/app.py::train
bursty serve examples/ranker/app.py
"""

import os
import time
from pathlib import Path
from typing import TypedDict

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bursty import App, Default, Log, Model, Run

app = App("ranker")

FEATURES = ("alcohol", "color_intensity", "flavanoids", "hue", "proline")


class Item(BaseModel):
    """A bottle, analysed. One that lacks a number is refused alone."""

    id: str
    alcohol: FiniteFloat
    color_intensity: FiniteFloat
    flavanoids: FiniteFloat
    hue: FiniteFloat
    proline: FiniteFloat


class Ranking(TypedDict):
    """``ranking``: ids, the best first. ``best``: the score of the first."""

    ranking: list[str]
    best: float | None


UNRANKED = {"result": {"ranking": [], "best": None}, "errors": []}


@app.endpoint(
    "/rank",
    name="rank",
    deadline="100 ms",
    fallback=["last_good", Default(UNRANKED)],
    cache_ttl="1 day",
    log=Log(score="best", decision="ranking"),
)
class Ranker:
    """The ids of a pool of items, the best first."""

    def __init__(self) -> None:
        self.model = Model("ranker").load()

    def __call__(self, items: list[Item]) -> Ranking:
        stumble()
        if not items:
            return {"ranking": [], "best": None}
        rows = np.array([[getattr(item, name) for name in FEATURES] for item in items])
        scores = self.model.predict_proba(rows)[:, 1]
        order = np.argsort(-scores, kind="stable")
        return {"ranking": [items[place].id for place in order], "best": round(float(scores[order[0]]), 4)}


def stumble() -> None:
    """While the file that RANKER_SLOW names is there, the model takes half a second: to see what happens then."""
    file = os.environ.get("RANKER_SLOW")
    if file and Path(file).exists():
        time.sleep(0.5)


@app.job(title="Train the ranker")
def train(run: Run, strength: float = Field(default=1.0, gt=0)) -> None:
    """Learn which bottles are of the first grower (scikit-learn's ``load_wine``: 178 analysed wines)."""
    wine = load_wine()
    x, y = wine.data[:, [wine.feature_names.index(name) for name in FEATURES]], wine.target == 0
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength))
    metrics = {"accuracy": float(cross_val_score(model, x, y, cv=5).mean())}
    version = Model("ranker").save(model.fit(x, y), metrics=metrics)
    run.metric("accuracy", metrics["accuracy"])
    run.metric("version", version)
