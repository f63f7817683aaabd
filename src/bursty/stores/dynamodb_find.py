"""Which runs there are in a DynamoDB state store: lists of them, hints for claims, marks of open ones."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

from bursty.aws.dynamodb import Condition, Item, Key, Put, Table, every, where
from bursty.records import RunQuery, RunRecord
from bursty.stores import dynamodb_items as items

_JOBS = "jobs"
_FILTERS = ("version", "created_by", "schedule", "inputs_hash")
"""Fields of a query that are looked at in the index."""

_PAGE = 50


class Listing:
    """Lists are read from one partition for each app (or job), and merged."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._registered: set[tuple[str, str]] = set()

    def register(self, app: str, job: str) -> None:
        """Note that there are runs of this job, before the first one is written."""
        if (app, job) not in self._registered:
            place = Key(_JOBS, items.joined(app, job))
            if self._table.get(place) is None:
                self._table.transact([Put({**place._asdict(), "app": app, "job": job})])
            self._registered.add((app, job))

    def _jobs(self, app: str | None, job: str | None) -> list[tuple[str, str]]:
        """Those there are, of this app and with this name if given."""
        if app is not None and job is not None:
            return [(app, job)]
        known = ((item["app"], item["job"]) for item in self._table.query(where(("pk", "=", _JOBS))))
        return [pair for pair in known if app in (None, pair[0]) and job in (None, pair[1])]

    def _apps(self, app: str | None) -> list[str]:
        return [app] if app is not None else sorted({app for app, _ in self._jobs(None, None)})

    # Open runs

    def due(self, app: str | None, only: Condition, page: int) -> Iterator[Item]:
        """Hints of runs to claim, in their order: those that fitted a moment ago."""
        pages = [self._state(items.queued_pk(name), only, page) for name in self._apps(app)]
        ours = every(only, where(("app", "=", app))) if app is not None else only
        return heapq.merge(*pages, self.running(ours, page), key=lambda hint: hint["state_sk"])

    def running(self, only: Condition, page: int | None = None) -> Iterator[Item]:
        """Hints of running ones."""
        return self._state(items.RUNNING_PK, only, page)

    def _state(self, partition: str, only: Condition, page: int | None) -> Iterator[Item]:
        return self._table.query(where(("state_pk", "=", partition)), index="state", only=only, page=page)

    def marks(self, app: str | None) -> Iterator[Item]:
        """One for each open run, without delay."""
        for name in self._apps(app):
            yield from self._table.query(where(("pk", "=", items.open_pk(name))))

    # Lists

    def find(self, query: RunQuery) -> Sequence[RunRecord]:
        """Ids from the lists, newest first; then the runs themselves, until there are enough that fit."""
        found: list[RunRecord] = []
        ids = heapq.merge(*self._lists(query), reverse=True)
        while len(found) < query.limit:
            some = list(islice(ids, min(query.limit, _PAGE)))
            if not some:
                break
            found += [run for run in self._records(some) if _fits(query, run)]
        return found[: query.limit]

    def _records(self, ids: Sequence[str]) -> list[RunRecord]:
        found = self._table.get_many(map(items.run_key, ids))
        there = [item for name in ids if (item := found.get(items.run_key(name))) is not None]
        apart = [items.inputs_key(item["id"]) for item in there if "inputs" not in item]
        inputs = {key.pk: item["inputs"] for key, item in self._table.get_many(apart).items()}
        inputs |= {item["pk"]: item["inputs"] for item in there if "inputs" in item}
        return [items.run_record(item, inputs[item["pk"]]) for item in there if item["pk"] in inputs]

    def _lists(self, query: RunQuery) -> list[Iterator[str]]:
        status = query.status
        if query.open_only or (status is not None and not status.is_final):
            read = partial(self._list, query, None, "pk", "sk", ())
            return [read(items.open_pk(app)) for app in self._apps(query.app)]
        if status is not None:
            read = partial(self._list, query, "state", "state_pk", "state_sk", _FILTERS)
            return [read(items.final_pk(status, app, job)) for app, job in self._jobs(query.app, query.job)]
        if query.job is not None:
            read = partial(self._list, query, "jobs", "app_job", "id", _FILTERS)
            return [read(items.joined(app, job)) for app, job in self._jobs(query.app, query.job)]
        read = partial(self._list, query, "apps", "app", "id", _FILTERS)
        return [read(app) for app in self._apps(query.app)]

    def _list(
        self, query: RunQuery, index: str | None, pk: str, sk: str, filters: Sequence[str], partition: str
    ) -> Iterator[str]:
        """Ids of runs in one partition, newest first."""
        key = where((pk, "=", partition))
        if query.before is not None:
            key = where((pk, "=", partition), (sk, "<", query.before))
        wanted = [where((name, "=", value)) for name in filters if (value := getattr(query, name)) is not None]
        only = every(*wanted) if wanted else None
        for item in self._table.query(key, index=index, only=only, backwards=True, page=min(query.limit, _PAGE)):
            yield item[sk]


_CHECKED = ("app", "job", "status", *_FILTERS)


def _fits(query: RunQuery, run: RunRecord) -> bool:
    """Looked at again in the run itself: an index may tell of yesterday."""
    wanted = ((name, getattr(query, name)) for name in _CHECKED)
    return all(value is None or getattr(run, name) == value for name, value in wanted) and not (
        query.open_only and run.is_final
    )
