"""Business trips, made up: budgets, what was then expensed, and which belongs to which. The same number is the same
trip.

    python examples/expenses/trips.py 1000 trip.json truth.csv

writes a request for trip 1000, and the truth about each pair as the endpoint's /labels takes it.
"""

import csv
import json
import random
import sys
from pathlib import Path
from typing import Any, NamedTuple

VENDORS = {
    "flight": ["Southwest Airlines", "Delta Air Lines", "United Airlines", "Lufthansa"],
    "hotel": ["Marriott", "Hilton Garden Inn", "Airbnb", "Best Western"],
    "car": ["Hertz", "Avis", "Enterprise Rent-A-Car"],
    "taxi": ["Uber", "Lyft", "Yellow Cab"],
    "meal": ["Chipotle", "Starbucks", "Olive Garden"],
}
NAMES = {"flight": "Airfare", "hotel": "Lodging", "car": "Car Rental", "taxi": "Taxi", "meal": "Meals"}
PRICES = {"flight": 320, "hotel": 450, "car": 180, "taxi": 35, "meal": 45}
PEOPLE = ["ada@example.com", "emmy@example.com", "sofia@example.com"]
FORGOTTEN = 0.06
"""The share of fields that are null."""

Row = dict[str, Any]


class Trip(NamedTuple):
    """``belongs``: pairs of ids."""

    budgets: list[Row]
    items: list[Row]
    belongs: set[tuple[str, str]]

    def request(self) -> dict[str, list[Row]]:
        return {"budgets": self.budgets, "all_user_expense_lineitems": self.items}

    def pairs(self) -> list[tuple[str, str]]:
        return [(budget["budget_id"], item["itemization_id"]) for budget in self.budgets for item in self.items]

    def labels(self) -> list[bool]:
        """Of each pair: whether it belongs together."""
        return [pair in self.belongs for pair in self.pairs()]


def trip(number: int) -> Trip:
    dice = random.Random(number)
    budgets: list[Row] = []
    items: list[Row] = []
    belongs: set[tuple[str, str]] = set()
    person = dice.choice(PEOPLE)
    for place in range(dice.randint(2, 5)):
        kind = dice.choice(list(VENDORS))
        vendor, price = dice.choice(VENDORS[kind]), PRICES[kind] * dice.lognormvariate(0, 0.3)
        actual = price * dice.lognormvariate(0, 0.08)
        budget_id = str(300_000 + 10 * number + place)
        budgets.append(
            _with_holes(
                dice,
                budget_id=budget_id,
                budget_price_budget=f"{price:.2f}",
                actual_cost_budget=f"{actual:.2f}",
                budget_type_budget=kind,
                travel_vendor_receipts=vendor,
            )
        )
        if dice.random() < 0.85:
            item = _item(dice, number, len(items), kind, vendor, actual * dice.choice((1, 1, 1, 1.1)), person)
            items.append(item)
            belongs.add((budget_id, item["itemization_id"]))
    for _ in range(dice.randint(1, 5)):  # nobody planned these
        kind = dice.choice(list(VENDORS))
        amount = PRICES[kind] * dice.lognormvariate(0, 0.4)
        items.append(_item(dice, number, len(items), kind, dice.choice(VENDORS[kind]), amount, person))
    dice.shuffle(items)
    return Trip(budgets, items, belongs)


def _item(dice: random.Random, trip: int, place: int, kind: str, vendor: str, amount: float, person: str) -> Row:
    on_receipt = dice.choice((vendor, vendor.lower(), vendor.upper()[:12], f"{vendor[:9]} {dice.randint(100, 999)}"))
    return _with_holes(
        dice,
        itemization_id=str(4_000_000 + 20 * trip + place),
        expensed_amount_itemization=f"{amount:.2f}",
        expense_type_name_itemization=NAMES[kind] if dice.random() < 0.9 else "Other",
        vendor_name_expense=on_receipt,
        employee_email_expense=person,
    )


def _with_holes(dice: random.Random, **fields: Any) -> Row:
    """Nulls here and there, but for the id, which comes first."""
    name = next(iter(fields))
    return {key: None if key != name and dice.random() < FORGOTTEN else value for key, value in fields.items()}


def main(number: int, request: Path, truth: Path) -> None:
    found = trip(number)
    request.write_text(json.dumps(found.request(), indent=1), encoding="utf-8")
    with truth.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["endpoint", "budget_id", "itemization_id", "y"])
        rows.writerows(["match", *pair, int(y)] for pair, y in zip(found.pairs(), found.labels(), strict=True))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
