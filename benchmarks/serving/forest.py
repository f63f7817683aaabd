"""What every server serves: one trained forest, and how a request makes a handler misbehave.

``python forest.py FOLDER`` trains it, and writes what it says of every flower of the set beside it.
"""

import ctypes
import json
import os
import pickle
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

FOLDER = "BURSTY_BENCH_FOREST"
TREES = 100
FIELDS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
NO_IDEA = [1 / 3, 1 / 3, 1 / 3]
"""What is answered where there is no time to ask the forest."""
DEADLINE_SECONDS = 0.100
BURN_SECONDS = 0.5


class Forest:
    def __init__(self) -> None:
        self._model = pickle.loads((Path(os.environ[FOLDER]) / "forest.pickle").read_bytes())
        self._calls = calls_in_c(BURN_SECONDS) if os.environ.get("BURSTY_BENCH_FAULTS") else 0
        self.of([[5.0, 3.0, 4.0, 1.0]])

    def of(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """The probabilities of the three kinds, for each row."""
        return self._model.predict_proba(np.asarray(rows, dtype=float)).tolist()

    def one(self, row: Sequence[float], fault: str | None = None) -> list[float]:
        if fault:
            self.misbehave(fault)
        return self.of([row])[0]

    def misbehave(self, fault: str) -> None:
        match fault:
            case "python":
                end = time.perf_counter() + BURN_SECONDS
                while time.perf_counter() < end:
                    pass
            case "c":
                sum(range(self._calls))
            case "segfault":
                ctypes.string_at(0)
            case "loop":
                while True:
                    pass
            case _:
                raise ValueError(f"no such fault: {fault}")


def calls_in_c(seconds: float) -> int:
    """How long a range must be for ``sum`` to take so long: one call in C, and nobody else has the GIL meanwhile."""
    few = 1_000_000
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        sum(range(few))
        best = min(best, time.perf_counter() - begin)
    return round(few * seconds / best)


def wait_seconds(default: float) -> float:
    """How long a batch waits for company: the best setting of those that were tried, unless another is asked for."""
    asked = os.environ.get("BURSTY_BENCH_WAIT_MS")
    return float(asked) / 1000 if asked else default


def train(folder: Path) -> None:
    features: Any
    kinds: Any
    features, kinds = load_iris(return_X_y=True)
    model = RandomForestClassifier(n_estimators=TREES, n_jobs=1, random_state=0).fit(features, kinds)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "forest.pickle").write_bytes(pickle.dumps(model, protocol=5))
    truth = {"rows": features.tolist(), "probabilities": model.predict_proba(features).tolist()}
    (folder / "truth.json").write_text(json.dumps({"version": sklearn.__version__, **truth}))


if __name__ == "__main__":
    train(Path(sys.argv[1]))
