"""What the model looks at: for each pair of a budget and an expense, how alike they are. NaN where nobody knows."""

import math
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache
from typing import Any

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

NAMES = ("near the actual cost", "near the budgeted price", "the same kind", "the same vendor")
KINDS = {
    "flight": ("airfare", "flight", "baggage"),
    "hotel": ("lodging", "hotel", "room"),
    "car": ("car rental", "rental", "fuel"),
    "taxi": ("taxi", "ride"),
    "meal": ("meals", "dinner", "lunch"),
}

Row = Mapping[str, Any]


def classifier() -> Pipeline:
    """Where something is missing, the model is told so, and goes by the rest."""
    imputer = SimpleImputer(add_indicator=True, keep_empty_features=True)
    return make_pipeline(imputer, StandardScaler(), LogisticRegression(class_weight={0: 1, 1: 2}))


def features(budgets: Sequence[Row], items: Sequence[Row]) -> np.ndarray:
    """A row for each pair: all items of the first budget, then all of the second …"""
    rows = [
        (
            nearness(item["expensed_amount_itemization"], budget["actual_cost_budget"]),
            nearness(item["expensed_amount_itemization"], budget["budget_price_budget"]),
            same_kind(item["expense_type_name_itemization"], budget["budget_type_budget"]),
            likeness(item["vendor_name_expense"], budget["travel_vendor_receipts"]),
        )
        for budget in budgets
        for item in items
    ]
    return np.array(rows, dtype=float).reshape(-1, len(NAMES))


def nearness(one: float | None, other: float | None) -> float:
    """1 for the same amount, toward 0 the further they are apart."""
    if one is None or other is None or one <= 0 or other <= 0:
        return math.nan
    return min(one, other) / max(one, other)


def same_kind(name: str | None, kind: str | None) -> float:
    if not name or not kind:
        return math.nan
    words = KINDS.get(kind.lower(), (kind.lower(),))
    return float(any(word in name.lower() for word in words))


def likeness(one: str | None, other: str | None) -> float:
    """1 for the same name but for capitals, toward 0 the less they have in common."""
    return math.nan if not one or not other else _likeness(one.lower(), other.lower())


@cache
def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()
