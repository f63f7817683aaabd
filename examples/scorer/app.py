"""Scores items in near real time: every five minutes, those that came into the search service since the last good run.

What the backend reads is published/scorer/refresh/items.json in the blob store. When anything fails, it stays as it was
and an alert goes out; nothing in this file sees to that.

    bursty run examples/scorer/app.py::train
    bursty scheduler & bursty worker --stay
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Annotated, Any

import training
from elasticsearch import Elasticsearch
from pydantic import Field

from bursty import App, Model, Run

app = App("scorer")

Item = dict[str, Any]

INDEX = "items"
PAGE = 500  # items a request
TIMEOUT = 10  # seconds, of a request
KEPT = 1000  # items that the output holds, the newest
OVERLAP = timedelta(minutes=2)  # an item may become searchable a little later than it arrived
FIRST_LOOK = timedelta(days=1)  # how far the first run looks back


@app.schedule("*/5 * * * *", timeout="4 min")
def refresh(run: Run) -> None:
    """Fetch, score, publish."""
    last = run.last_good("items.json")
    known: dict[str, Item] = {item["id"]: item for item in json.loads(last.read_text())} if last else {}
    since = max(map(arrival, known.values())) - OVERLAP if known else datetime.now(UTC) - FIRST_LOOK
    arrived = [item for item in fetch(since) if item["id"] not in known]
    scored = score(run, arrived)
    newest = sorted([*known.values(), *scored], key=arrival)[-KEPT:]
    run.publish("items.json", json.dumps(newest, indent=1).encode())
    run.metric("new", len(scored))
    run.metric("left out", len(arrived) - len(scored))


def arrival(item: Item) -> datetime:
    return datetime.fromisoformat(item["arrived_at"])


def fetch(since: datetime) -> Iterator[Item]:
    """All items that arrived since then, page by page."""
    address = os.environ.get("SEARCH_URL", "http://127.0.0.1:9209")
    with Elasticsearch(address, api_key=os.environ.get("SEARCH_API_KEY"), request_timeout=TIMEOUT) as search:
        after = None
        while True:
            found = search.search(
                index=INDEX,
                query={"range": {"arrived_at": {"gte": since.isoformat()}}},
                sort=[{"arrived_at": "asc"}, {"id": "asc"}],
                search_after=after,
                size=PAGE,
            )
            hits = found["hits"]["hits"]
            yield from (hit["_source"] for hit in hits)
            if len(hits) < PAGE:
                return
            after = hits[-1]["sort"]


def score(run: Run, items: list[Item]) -> list[Item]:
    """One bad item does not break its neighbours: it is left out, and the log says why."""
    version = Model("scorer").version()
    model = Model("scorer").load(version)
    good, rows = [], []
    for item in items:
        try:
            row = [float(item["features"][name]) for name in model["features"]]
            if not all(map(isfinite, row)):
                raise ValueError("a feature is not finite")
        except (KeyError, TypeError, ValueError) as error:
            run.log(f"the item {item['id']} is left out: {error!r}", "warning")
        else:
            good.append(item)
            rows.append(row)
    scores = model["classifier"].predict_proba(rows)[:, 1] if rows else []
    return [
        {"id": item["id"], "arrived_at": item["arrived_at"], "score": round(float(value), 6), "model": version}
        for item, value in zip(good, scores, strict=True)
    ]


@app.job
def train(
    run: Run,
    strength: Annotated[float, Field(gt=0, description="Higher fits the training data more closely")] = 1.0,
) -> None:
    """Train the model on what is labelled, and have the next refresh use it."""
    model, accuracy = training.train(strength)
    run.metric("accuracy", accuracy)
    run.metric("version", Model("scorer").save(model, metrics={"accuracy": accuracy}))
