"""How good were the matches? Precision and recall from the log and its labels, for several thresholds.

python examples/expenses/judge.py
"""

import sys
from collections.abc import Sequence

from bursty import Stage

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)


def judged() -> list[tuple[float, bool]]:
    """The score of each pair that somebody has told the truth about, and that truth."""
    with Stage() as stage:
        pairs = stage.predictions.labelled("match")
        return [(said.score, label.y > 0) for said, label in pairs if said.score is not None]


def at(threshold: float, pairs: Sequence[tuple[float, bool]]) -> tuple[float, float]:
    """Precision and recall; NaN where there is nothing to divide by."""
    matched = [truth for score, truth in pairs if score >= threshold]
    right, wanted = sum(matched), sum(truth for _, truth in pairs)
    return right / len(matched) if matched else float("nan"), right / wanted if wanted else float("nan")


def main() -> None:
    pairs = judged()
    if not pairs:
        sys.exit("no pair has a label yet: POST some to /labels")
    print(f"{len(pairs)} pairs with a label, {sum(truth for _, truth in pairs)} of them belong together")
    for threshold in THRESHOLDS:
        precision, recall = at(threshold, pairs)
        print(f"threshold {threshold:.1f}: precision {precision:.2f}, recall {recall:.2f}")


if __name__ == "__main__":
    main()
