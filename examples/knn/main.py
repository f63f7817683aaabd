"""Which number of neighbours reads handwritten digits best? Train remotely, score at home, keep the best.

    python examples/knn/main.py [OUT_DIR]

Then the same question to scikit-learn's own grid search, which runs on bursty's workers through joblib.
"""

import json
import sys
from itertools import repeat
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier

import bursty.interop.joblib  # noqa: F401  makes "bursty" a joblib backend
from bursty import Executor

NEIGHBORS = range(1, 9)


def train(n_neighbors: int, x: np.ndarray, y: np.ndarray) -> KNeighborsClassifier:
    """Runs on a worker; the fitted classifier comes back as an object."""
    return KNeighborsClassifier(n_neighbors).fit(x, y)


def main(out: Path) -> None:
    x, y = load_digits(return_X_y=True)  # 1,797 real digits of 8 × 8 pixels, shipped with scikit-learn
    x_known, x_test, y_known, y_test = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    x_train, x_valid, y_train, y_valid = train_test_split(
        x_known, y_known, test_size=0.25, random_state=0, stratify=y_known
    )

    search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": list(NEIGHBORS)}, cv=5, n_jobs=-1)
    with Executor() as executor:
        classifiers = list(executor.map(train, NEIGHBORS, repeat(x_train), repeat(y_train)))
        with joblib.parallel_config("bursty"):
            search.fit(x_known, y_known)

    scores = {model.n_neighbors: float(model.score(x_valid, y_valid)) for model in classifiers}
    best = max(classifiers, key=lambda model: scores[model.n_neighbors])
    for n_neighbors, score in scores.items():
        print(f"n_neighbors={n_neighbors}: {score:.1%} right" + " ← best" * (n_neighbors == best.n_neighbors))

    out.mkdir(parents=True, exist_ok=True)
    joblib.dump(best, out / "best.joblib")
    test_score = float(joblib.load(out / "best.joblib").score(x_test, y_test))
    print(f"Saved as {out / 'best.joblib'}; on digits that played no part so far it gets {test_score:.1%} right")
    chosen = search.best_params_["n_neighbors"]
    print(f"GridSearchCV, five folds: n_neighbors={chosen} is best, {search.best_score_:.1%} right")

    found = {
        "scores": scores,
        "best": best.n_neighbors,
        "test_score": test_score,
        "grid_search": {"best": chosen, "score": float(search.best_score_)},
    }
    (out / "result.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/knn"))
