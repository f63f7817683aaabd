"""What lies in the DynamoDB table of a state store, and under which keys. Pure functions.

    pk               sk             what
    run#ID           run            a run; its ``rev`` counts the writes that are transitions
    run#ID           inputs         its inputs, when they are large: every write is billed by the size of its item
    open#APP         ID             it is queued or running, and since when due; gone when it is final
    key#HASH         key            of an app and an idempotency key: which run has it
    events#SUBJECT   SEQ            an event
    outbox           RUN/REV/N      an undelivered outbox row
    documents#KIND   =KEY           a document
    jobs             APP#JOB        there are (or were) runs of this job

Indexes, which may lag behind the table: ``apps`` (app, id) and ``jobs`` (app_job, id) list runs; ``state`` holds queued
runs by (``queued#APP``, priority, due, id), running ones of all apps by (``running``, the same), and final ones by
(``STATUS#APP#JOB``, id).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from bursty.aws.dynamodb import Item, Key
from bursty.changes import EventDraft
from bursty.records import RUN_FIELDS, Document, Event, OutboxItem, RunRecord, RunStatus
from bursty.stores.texts import from_json, storable, to_json

INLINE_INPUTS = 2000
"""Bytes of inputs that lie in the run's own item; larger ones have an item of their own."""

EXPIRES = "expires"
"""Attribute by which DynamoDB removes items on its own (time to live), in seconds since the epoch."""

RUNNING_PK = "running"

_FLOATS = frozenset(item.name for item in fields(RunRecord) if str(item.type).startswith("float"))
_LISTED = ("job", "version", "created_by", "schedule", "inputs_hash")
_CLAIMED = ("app", "status", "not_before", "lease_until", "attempt", "max_attempts", "cancel_requested")
_INDEXES = {
    "apps": ("app", "id", _LISTED),
    "jobs": ("app_job", "id", ("app", *_LISTED[1:])),
    "state": ("state_pk", "state_sk", ("id", *_CLAIMED, *_LISTED)),
}


def definition() -> dict[str, Any]:
    """The table as CreateTable and CloudFormation take it: billed by request, with its indexes."""
    names = {"pk", "sk"} | {name for pk, sk, _ in _INDEXES.values() for name in (pk, sk)}
    return {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in sorted(names)],
        "KeySchema": _schema("pk", "sk"),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": name,
                "KeySchema": _schema(pk, sk),
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(others)},
            }
            for name, (pk, sk, others) in _INDEXES.items()
        ],
    }


def _schema(pk: str, sk: str) -> list[dict[str, str]]:
    return [{"AttributeName": pk, "KeyType": "HASH"}, {"AttributeName": sk, "KeyType": "RANGE"}]


# Keys


def joined(*parts: str) -> str:
    """The parts with ``#`` between them, so that different ones never give the same text."""
    return "#".join(part.replace("%", "%25").replace("#", "%23") for part in parts)


def run_key(run: str) -> Key:
    return Key(f"run#{run}", "run")


def inputs_key(run: str) -> Key:
    return Key(f"run#{run}", "inputs")


def open_pk(app: str) -> str:
    return joined("open", app)


def queued_pk(app: str) -> str:
    return joined("queued", app)


def final_pk(status: RunStatus, app: str, job: str) -> str:
    return joined(status, app, job)


def idempotency_key(app: str, key: str) -> Key:
    digest = hashlib.sha256(f"{app}\0{key}".encode()).hexdigest()
    return Key(f"key#{digest}", "key")


def events_pk(subject: str) -> str:
    return f"events#{subject}"


def event_key(subject: str, seq: int) -> Key:
    return Key(events_pk(subject), f"{seq:010d}")


def document_key(kind: str, key: str) -> Key:
    return Key(f"documents#{kind}", f"={key}")


# Runs


def run_items(run: RunRecord, rev: int) -> list[Item]:
    """A new run's item, and the one of its inputs when they are large."""
    item: Item = {name: getattr(run, name) for name in RUN_FIELDS}
    item |= {**run_key(run.id)._asdict(), "rev": rev, "app_job": joined(run.app, run.job), **index_keys(run)}
    if len(run.inputs.encode()) <= INLINE_INPUTS:
        return [item]
    del item["inputs"]
    return [item, {**inputs_key(run.id)._asdict(), "inputs": run.inputs}]


def run_record(item: Item, inputs: str) -> RunRecord:
    """The run in an item, which may not hold its inputs."""
    found: dict[str, Any] = {"inputs": inputs, **{name: item[name] for name in RUN_FIELDS if name in item}}
    found |= {name: float(found[name]) for name in _FLOATS if name in found}
    found["status"] = RunStatus(found["status"])
    return RunRecord(**found)


def index_keys(run: RunRecord) -> dict[str, str]:
    """Where the run stands in the index ``state``: open ones in the order in which they are claimed."""
    if run.is_final:
        return {"state_pk": final_pk(run.status, run.app, run.job), "state_sk": run.id}
    pk = queued_pk(run.app) if run.status == RunStatus.QUEUED else RUNNING_PK
    urgency = 10**9 - max(-(10**9), min(10**9, run.priority))
    return {"state_pk": pk, "state_sk": f"{urgency:010d}#{max(0.0, run.not_before):020.6f}#{run.id}"}


def open_item(run: RunRecord) -> Item | None:
    """The item that an open run has beside its own, in a partition that is read without delay. It has no attribute
    ``id``, which keeps it out of the indexes."""
    if run.is_final:
        return None
    place = Key(open_pk(run.app), run.id)
    return {**place._asdict(), "app": run.app, "job": run.job, "status": run.status, "not_before": run.not_before}


# Events, outbox rows, documents


def event_item(subject: str, seq: int, draft: EventDraft, at: float, token: str) -> Item:
    """``token``: of the transaction that writes it, which is known by it."""
    return {
        **event_key(subject, seq)._asdict(),
        "kind": storable(draft.kind),
        "actor": storable(draft.actor),
        "at": at,
        "data": to_json(draft.data),
        "token": token,
    }


def event(subject: str, item: Item) -> Event:
    data = from_json(item["data"])
    return Event(subject, int(item["sk"]), item["kind"], item["actor"], float(item["at"]), data)


def outbox_item(item: Item) -> OutboxItem:
    return OutboxItem(
        item["sk"],
        item["run"],
        item["kind"],
        from_json(item["data"]),
        item["tries"],
        float(item["due"]),
        float(item["created_at"]),
        item.get("error"),
    )


def document_item(kind: str, key: str, data: Mapping[str, Any], rev: int, at: float, token: str) -> Item:
    place = document_key(kind, key)._asdict()
    return {**place, "data": to_json(data), "rev": rev, "updated_at": at, "token": token}


def document(kind: str, item: Item) -> Document:
    return Document(kind, item["sk"][1:], from_json(item["data"]), item["rev"], float(item["updated_at"]))
