"""Which expense belongs to which budget? A model that scores every pair, and an endpoint that no bad row stops.

bursty run examples/expenses/app.py::train
bursty serve examples/expenses/app.py
"""

from typing import Annotated, TypedDict

import numpy as np
import pairs
import trips
from pydantic import BaseModel, Field
from sklearn.model_selection import cross_val_predict

from bursty import App, Log, Model, Run

app = App("expenses")

THRESHOLD = 0.5


class Budget(BaseModel):
    """What was planned. Everything but the id may be missing or null; further fields are passed over."""

    budget_id: str
    budget_price_budget: float | None = None
    actual_cost_budget: float | None = None
    budget_type_budget: str | None = None
    travel_vendor_receipts: str | None = None


class LineItem(BaseModel):
    """What was paid."""

    itemization_id: str
    expensed_amount_itemization: float | None = None
    expense_type_name_itemization: str | None = None
    vendor_name_expense: str | None = None
    employee_email_expense: str | None = None


class Match(TypedDict):
    score: float
    budget_id: str
    itemization_id: str


def features_of(budgets: list[Budget], items: list[LineItem]) -> np.ndarray:
    """Read by the same types in training and in serving: "140.0" is 140 in both."""
    return pairs.features([budget.model_dump() for budget in budgets], [item.model_dump() for item in items])


@app.endpoint(
    "/match",
    name="match",
    deadline="5 s",
    log=Log(
        key=("budget_id", "itemization_id"),  # the truth will name a pair by these
        threshold=THRESHOLD,
        redact=("employee_email_expense",),
    ),
)
class Matcher:
    """A score for each pair of a budget and an expense: how likely the expense is of that budget."""

    def __init__(self) -> None:
        self.model = Model("matcher").load()

    def __call__(self, budgets: list[Budget], all_user_expense_lineitems: list[LineItem]) -> list[Match]:
        features = features_of(budgets, all_user_expense_lineitems)
        scores = iter(self.model.predict_proba(features)[:, 1] if len(features) else ())
        return [
            {
                "score": round(float(next(scores)), 4),
                "budget_id": budget.budget_id,
                "itemization_id": item.itemization_id,
            }
            for budget in budgets
            for item in all_user_expense_lineitems
        ]


@app.job(title="Train the matcher")
def train(run: Run, trips_known: Annotated[int, Field(ge=20, le=5000, title="Trips to learn from")] = 300) -> None:
    """Learn from trips of which it is known what belongs together, and have the endpoint use it."""
    tables, labels = [], []
    for number in run.track(range(trips_known), "trips"):
        trip = trips.trip(number)
        budgets = [Budget.model_validate(row) for row in trip.budgets]
        tables.append(features_of(budgets, [LineItem.model_validate(row) for row in trip.items]))
        labels += trip.labels()
    x, y = np.concatenate(tables), np.array(labels)
    model = pairs.classifier()
    found = cross_val_predict(model, x, y, cv=5, method="predict_proba")[:, 1] >= THRESHOLD
    metrics = {"precision": float(y[found].mean()), "recall": float(found[y].mean())}
    version = Model("matcher").save(model.fit(x, y), metrics=metrics, note=f"{trips_known} trips")
    for name, value in metrics.items():
        run.metric(name, value)
    run.metric("version", version)
