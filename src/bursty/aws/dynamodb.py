"""One DynamoDB table with the keys ``pk`` and ``sk``: items as dicts, conditional writes, transactions, queries.

Errors of AWS become ``StoreError``; a condition that does not hold is an answer (``None``, ``False``). What meets
another transaction on the same item is tried again, after random pauses.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from bursty.aws.session import client as make_client
from bursty.aws.session import code_of, explained, words_of
from bursty.errors import StoreError

Item: TypeAlias = dict[str, Any]
"""Attributes as ``str``, ``bool``, ``int`` and ``float``; ``None`` is not stored."""

PATIENCE = 30.0
"""Seconds for which a write is tried again because of other transactions on the same item."""

MOST_ACTIONS = 100
"""In a transaction, and keys of one request."""


class Key(NamedTuple):
    pk: str
    sk: str


# Expressions


class Terms:
    """Collects the names and values that an expression refers to."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, Any] = {}

    def name(self, attribute: str) -> str:
        self._names[f"#{attribute}"] = attribute
        return f"#{attribute}"

    def value(self, value: object) -> str:
        mark = f":{len(self._values)}"
        self._values[mark] = _packed(value)
        return mark

    def parameters(self) -> dict[str, Any]:
        found = {"ExpressionAttributeNames": self._names, "ExpressionAttributeValues": self._values}
        return {name: terms for name, terms in found.items() if terms}


Condition: TypeAlias = Callable[[Terms], str]
"""Gives its text, which may stand beside ``AND``."""

Operator: TypeAlias = Literal["=", "<", "<=", ">", ">=", "begins_with"]


def where(*comparisons: tuple[str, Operator, object]) -> Condition:
    """All of them hold: ``where(("pk", "=", "a"), ("sk", "begins_with", "b"))``."""

    def text(terms: Terms) -> str:
        return " AND ".join(_comparison(terms, *comparison) for comparison in comparisons)

    return text


def _comparison(terms: Terms, attribute: str, operator: Operator, value: object) -> str:
    name, mark = terms.name(attribute), terms.value(value)
    return f"begins_with({name}, {mark})" if operator == "begins_with" else f"{name} {operator} {mark}"


def every(*conditions: Condition) -> Condition:
    """All conditions hold."""
    return lambda terms: " AND ".join(condition(terms) for condition in conditions)


def absent(terms: Terms) -> str:
    """There is no such item."""
    return f"attribute_not_exists({terms.name('pk')})"


def present(terms: Terms) -> str:
    """There is one."""
    return f"attribute_exists({terms.name('pk')})"


# Writes


@dataclass(frozen=True, slots=True)
class Put:
    """Write the item, in place of the one with its key."""

    item: Item
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """Set these attributes; remove those that are to be ``None``."""

    key: Key
    then: Mapping[str, Any]
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    key: Key
    when: Condition | None = None


Action: TypeAlias = Put | Update | Delete


class Proof(NamedTuple):
    """How a transaction that was made although its answer was lost is known: the item under ``key``, which only it
    writes, holds ``token``."""

    key: Key
    token: str


class _Refused(Exception):
    """A condition does not hold. ``lost``: it was asked more than once, for an answer was lost."""

    def __init__(self, lost: bool) -> None:
        super().__init__(lost)
        self.lost = lost


class _Busy(Exception):
    """Nothing was written. ``conflict``: another transaction was at the item; else there were too many requests."""

    def __init__(self, conflict: bool, lost: bool) -> None:
        super().__init__(conflict, lost)
        self.conflict = conflict
        self.lost = lost


_THROTTLED = {"ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"}


class Table:
    """A table. Thread-safe; usable in a forked process when it made its client itself."""

    def __init__(self, name: str, *, region: str | None = None, client: Any = None) -> None:
        self.name = name
        self._make = (lambda: client) if client is not None else (lambda: make_client("dynamodb", region))
        self._pid = os.getpid()
        self._client = self._make()
        self.region: str = self._client.meta.region_name

    def close(self) -> None:
        """Let its connections go; the next request opens new ones."""
        self._client.close()

    # Reading

    def get(self, key: Key) -> Item | None:
        """The item as it is after every write that has returned."""
        answer = self._call("get_item", "read", TableName=self.name, Key=_packed_key(key), ConsistentRead=True)
        return _unpacked(answer["Item"]) if "Item" in answer else None

    def get_many(self, keys: Iterable[Key]) -> dict[Key, Item]:
        """Those that there are, each as ``get`` would give it."""
        found: dict[Key, Item] = {}
        wanted = [_packed_key(key) for key in dict.fromkeys(keys)]
        for start in range(0, len(wanted), MOST_ACTIONS):
            left = wanted[start : start + MOST_ACTIONS]
            for _ in self.tries("read"):
                request = {self.name: {"Keys": left, "ConsistentRead": True}}
                answer = self._call("batch_get_item", "read", RequestItems=request)
                for item in map(_unpacked, answer["Responses"].get(self.name, ())):
                    found[Key(item["pk"], item["sk"])] = item
                left = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", ())
                if not left:
                    break
        return found

    def query(
        self,
        key: Condition,
        *,
        index: str | None = None,
        only: Condition | None = None,
        backwards: bool = False,
        page: int | None = None,
    ) -> Iterator[Item]:
        """Items of one partition in the order of their sort key, fetched as they are taken.

        ``index``: of this one, which may lag behind; without it, all that was written is seen. ``only``: those that
        fit (the others are read and billed, too). ``page``: how many are read first; then twice as many each time.
        """
        terms = Terms()
        request: dict[str, Any] = {
            "TableName": self.name,
            "KeyConditionExpression": key(terms),
            "ScanIndexForward": not backwards,
            **({"IndexName": index} if index else {"ConsistentRead": True}),
            **({"FilterExpression": only(terms)} if only else {}),
            **({"Limit": page} if page else {}),
            **terms.parameters(),
        }
        while True:
            answer = self._call("query", "read", **request)
            yield from map(_unpacked, answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
            if page:
                request["Limit"] *= 2

    # Writing

    def update(self, update: Update) -> Item | None:
        """The item as it is then; ``None``: its condition did not hold.

        One that is not harmed by being made twice: whether a lost answer was a yes is not looked into.
        """
        for _ in self.tries("write"):
            try:
                request = {**self._request(update), "ReturnValues": "ALL_NEW"}
                return _unpacked(self._call("update_item", "write", **request)["Attributes"])
            except _Refused:
                return None
            except _Busy:
                continue
        raise AssertionError("tries() raises when they are used up")

    def transact(self, actions: Sequence[Action], *, proof: Proof | None = None, patient: bool = True) -> bool:
        """Make all or none; ``False``: a condition did not hold.

        A request is repeated with its token, by which AWS knows (for ten minutes) that it has been made already.
        ``proof`` tells so where that is not kept. Not ``patient``: another transaction at one of the items is a
        ``False``, too.
        """
        items = [{type(action).__name__: self._request(action)} for action in actions]
        lost = False
        for _ in self.tries("write"):
            try:
                self._call("transact_write_items", "write", TransactItems=items, ClientRequestToken=uuid.uuid4().hex)
                return True
            except _Refused as refused:
                return (lost or refused.lost) and self._proves(proof)
            except _Busy as busy:
                lost = lost or busy.lost
                if busy.conflict and not patient:
                    return lost and self._proves(proof)
        raise AssertionError("tries() raises when they are used up")

    def _proves(self, proof: Proof | None) -> bool:
        item = self.get(proof.key) if proof is not None else None
        return item is not None and proof is not None and item.get("token") == proof.token

    def tries(self, doing: str) -> Iterator[int]:
        """Count tries, with growing random pauses between them; ``StoreError`` after ``PATIENCE`` seconds."""
        end = time.monotonic() + PATIENCE
        number = 0
        while True:
            yield number
            number += 1
            if time.monotonic() > end:
                raise StoreError(
                    f"can't {doing} in the DynamoDB table {self.name!r}: others write the same items all the time",
                    "Try again later, or with fewer workers at once.",
                )
            time.sleep(random.uniform(0, min(1.0, 0.01 * 2 ** min(number, 10))))

    def _request(self, action: Action) -> dict[str, Any]:
        terms = Terms()
        request: dict[str, Any] = {"TableName": self.name}
        match action:
            case Put(item):
                request["Item"] = _packed_item(item)
            case Update(key, then):
                request |= {"Key": _packed_key(key), "UpdateExpression": _assignments(then, terms)}
            case Delete(key):
                request["Key"] = _packed_key(key)
        if action.when is not None:
            request["ConditionExpression"] = action.when(terms)
        return request | terms.parameters()

    def _call(self, operation: str, doing: str, **parameters: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        if os.getpid() != self._pid:  # connections are not shared with a parent process
            self._client, self._pid = self._make(), os.getpid()
        try:
            return getattr(self._client, operation)(**parameters)
        except ClientError as error:
            raise self._meaning(error, doing) from error
        except BotoCoreError as error:
            raise explained(error, f"{doing} in the DynamoDB table {self.name!r}") from error

    def _meaning(self, error: Exception, doing: str) -> Exception:
        response: Any = getattr(error, "response", {})
        reasons = {reason.get("Code", "None") for reason in response.get("CancellationReasons", ())}
        code, lost = code_of(error), response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0
        if code == "ConditionalCheckFailedException" or "ConditionalCheckFailed" in reasons:
            return _Refused(lost)
        conflict = code == "TransactionConflictException" or "TransactionConflict" in reasons
        if conflict or reasons & _THROTTLED:
            return _Busy(conflict, lost)
        if code == "ResourceNotFoundException":
            return StoreError(
                f"there is no DynamoDB table {self.name!r} in {self.region} (or it lacks an index)",
                f"Make it: open dynamodb://{self.name}?create=1 once, or call DynamoState.create_table().",
            )
        if "item size" in words_of(error).lower():
            return StoreError(
                f"can't {doing} in the DynamoDB table {self.name!r}: an item would be larger than 400 KB",
                "Keep what is large in the blob store (a File input, an output file) and its name in the state.",
            )
        return explained(error, f"{doing} in the DynamoDB table {self.name!r}")

    # The table itself

    def create(self, definition: Mapping[str, Any], ttl: str) -> bool:
        """Make the table and wait until it can be used; ``False`` if there is one. ``ttl``: attribute with the time
        (seconds since the epoch) from which DynamoDB may remove an item."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.create_table(TableName=self.name, **definition)
            made = True
        except ClientError as error:
            if code_of(error) != "ResourceInUseException":
                raise explained(error, f"make the DynamoDB table {self.name!r}") from error
            made = False
        try:
            waiter = self._client.get_waiter("table_exists")
            waiter.wait(TableName=self.name, WaiterConfig={"Delay": 1, "MaxAttempts": 180})
            if made:
                specification = {"Enabled": True, "AttributeName": ttl}
                self._client.update_time_to_live(TableName=self.name, TimeToLiveSpecification=specification)
        except (BotoCoreError, ClientError) as error:
            raise explained(error, f"make the DynamoDB table {self.name!r} ready") from error
        return made


# Values as DynamoDB writes them


def _packed(value: object) -> dict[str, Any]:
    match value:
        case bool():
            return {"BOOL": value}
        case int() | float():
            return {"N": repr(value)}
        case str():
            return {"S": str(value)}
        case _:
            raise TypeError(f"no attribute of an item: {type(value).__name__}")


def _unpacked_value(value: Mapping[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind == "N":
        return int(content) if content.lstrip("-").isdigit() else float(content)
    return content


def _packed_item(item: Item) -> dict[str, Any]:
    return {name: _packed(value) for name, value in item.items() if value is not None}


def _packed_key(key: Key) -> dict[str, Any]:
    return _packed_item(key._asdict())


def _unpacked(item: Mapping[str, Any]) -> Item:
    return {name: _unpacked_value(value) for name, value in item.items()}


def _assignments(then: Mapping[str, Any], terms: Terms) -> str:
    sets = [f"{terms.name(name)} = {terms.value(value)}" for name, value in then.items() if value is not None]
    removes = [terms.name(name) for name, value in then.items() if value is None]
    parts = [f"SET {', '.join(sets)}" if sets else "", f"REMOVE {', '.join(removes)}" if removes else ""]
    return " ".join(filter(None, parts))
