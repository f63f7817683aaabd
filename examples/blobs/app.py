"""Which blob does a point belong to? A search for the best classifier, and an endpoint that serves it.

bursty run examples/blobs/app.py::search
bursty serve examples/blobs/app.py
"""

from itertools import repeat
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from sklearn.datasets import make_blobs
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from bursty import App, Log, Model, Run

app = App("blobs")


@app.function
def train(n_neighbors: int, x: np.ndarray, y: np.ndarray) -> KNeighborsClassifier:
    """Runs on a worker; the fitted classifier comes back as an object."""
    return KNeighborsClassifier(n_neighbors).fit(x, y)


@app.job(title="Search for the best classifier")
def search(
    run: Run,
    points: Annotated[int, Field(ge=100, le=100_000)] = 1000,
    most_neighbors: Annotated[int, Field(ge=1, le=50)] = 8,
) -> None:
    """Train one for each number of neighbours, score them, keep the best: what the endpoint loads."""
    x, y = make_blobs(points, centers=3, n_features=2, cluster_std=2.5, random_state=7)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    calls = train.map(range(1, most_neighbors + 1), repeat(x_train), repeat(y_train))
    scored = [(float(found.score(x_test, y_test)), found) for found in run.track(calls, total=most_neighbors)]
    run.save_table("search", [{"n_neighbors": found.n_neighbors, "accuracy": score} for score, found in scored])
    accuracy, best = max(scored, key=lambda pair: pair[0])
    version = Model("classifier").save(
        best, metrics={"accuracy": accuracy}, note=f"{best.n_neighbors} neighbours, {points} points"
    )
    run.metric("accuracy", accuracy)
    run.metric("n_neighbors", best.n_neighbors)
    run.metric("version", version)


@app.endpoint(
    "/predict", name="predict", deadline="200 ms", fallback="last_good", log=Log(score="sure", decision="label")
)
class Predict:
    """The blob that a point lies in, and how many of its nearest neighbours agree (1: all)."""

    def __init__(self) -> None:
        self.classifier = Model("classifier").load()  # once a worker; anew when another version is promoted

    def __call__(self, feature_1: float, feature_2: float) -> dict[str, Any]:
        [shares] = self.classifier.predict_proba([[feature_1, feature_2]])
        best = int(shares.argmax())
        return {"label": int(self.classifier.classes_[best]), "sure": round(float(shares[best]), 3)}
