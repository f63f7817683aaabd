"""The state store on DynamoDB (moto's server): the suite; lost answers, throttling and clocks that differ."""

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from bursty.aws.session import client
from bursty.changes import Change, EventDraft
from bursty.core import runstate
from bursty.core.runstate import Ending
from bursty.errors import ConfigError, MissingExtra, StoreError
from bursty.ports import StateStore
from bursty.records import OutboxDraft, RunQuery, RunRecord, RunStatus
from bursty.stores.dynamodb import DynamoState
from bursty.testing import FakeClock
from conformance.statestore import StateStoreSuite
from conformance.statestore_model import Machine
from conformance.statestore_tools import FUTURE, PAST, claim_one, ended_by, make, only, submit
from dynamo import TroubledProxy, dynamo_server
from servers import aws_environ

numbers = itertools.count()
WRITES = ("submit", "claim", "finish", "renew", "document", "document with event", "outbox")
LOST = (["break after"], ["error after"], ["break after", "conflict"], ["conflict", "break after", "break before"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dynamo_server(tmp_path_factory.mktemp("dynamo")) as url:
        yield url


@pytest.fixture(autouse=True)
def environ(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws_environ(server).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def table() -> str:
    return f"bursty-{next(numbers)}"


@pytest.fixture
def store(table: str) -> Iterator[DynamoState]:
    store = DynamoState(f"dynamodb://{table}?create=1")
    yield store
    store.close()


@pytest.fixture
def proxy(server: str) -> Iterator[TroubledProxy]:
    with TroubledProxy(server) as proxy:
        yield proxy


@pytest.fixture
def troubled(store: DynamoState, proxy: TroubledProxy, monkeypatch: pytest.MonkeyPatch) -> DynamoState:
    """The same table through the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    return DynamoState(store.url)


class TestDynamoState(StateStoreSuite):
    @pytest.fixture
    def open_again(self, store: DynamoState) -> Callable[[], DynamoState]:
        return lambda: DynamoState(store.url)

    def test_a_history_is_what_the_rules_say(self, store: StateStore) -> None:
        """Fewer than elsewhere: a step is some fifty requests."""
        few = settings(max_examples=12, stateful_step_count=30)
        run_state_machine_as_test(lambda: Machine(store), settings=few)


# Troubles on the way


@pytest.mark.parametrize("lost", LOST, ids=", then ".join)
@pytest.mark.parametrize("what", WRITES)
def test_a_lost_answer_is_one_change(troubled: DynamoState, proxy: TroubledProxy, what: str, lost: list[str]) -> None:
    submit(troubled, "1")
    run = claim_one(troubled) if what in ("finish", "renew", "outbox") else None
    if run is not None and what == "outbox":
        troubled.change(ended_by(run, "succeeded", [OutboxDraft("notice")]))
    proxy.plan("UpdateItem" if what in ("renew", "outbox") else "TransactWriteItems", *lost)
    if what == "submit":
        run, new = troubled.submit(make("2", idempotency_key="k"), EventDraft("submitted", "ann"))
        assert (run.id, new) == ("2", True)
    elif what == "claim":
        assert claim_one(troubled).attempt == 1
    elif what == "finish":
        assert only(troubled.change(runstate.finish(run, Ending("succeeded"), [OutboxDraft("notice")])))
        assert len(troubled.outbox("1")) == 1
    elif what == "renew":
        assert only(troubled.change(runstate.renew(run, 2 * FUTURE))).lease_until > run.lease_until + FUTURE / 2
    elif what == "outbox":
        assert len(troubled.take_outbox(5, PAST)) <= 1, "it may count as taken by another, until the lease ends"
        assert only(troubled.take_outbox(5, FUTURE)).tries == 2
    else:
        event = EventDraft("saved", "ann") if what == "document with event" else None
        document = troubled.put_document("model", "a", {"x": 1}, rev=0, event=event)
        assert document == troubled.document("model", "a")
        assert document.rev == 1
        assert len(troubled.events("model/a")) == (event is not None)
    assert not any(proxy.troubles.values()), "all that was planned happened"
    for name in ("1", "2"):
        assert [event.seq for event in troubled.events(name)] == list(range(1, len(troubled.events(name)) + 1))


def test_a_repeated_transaction_carries_its_token(troubled: DynamoState, proxy: TroubledProxy) -> None:
    submit(troubled, "1")
    done = len(proxy.bodies("TransactWriteItems"))
    proxy.plan("TransactWriteItems", "break before", None, "conflict")
    submit(troubled, "2")
    submit(troubled, "3")
    first, again, third, other = (body["ClientRequestToken"] for body in proxy.bodies("TransactWriteItems")[done:])
    assert first == again
    assert len({first, third, other}) == 3, "what was refused for sure is asked anew"


def test_another_s_write_is_no_proof_of_mine(store: DynamoState, troubled: DynamoState, proxy: TroubledProxy) -> None:
    """The request is lost before it is made, and when it is repeated another has made the like."""
    first = submit(store, "1", idempotency_key="k")
    proxy.plan("TransactWriteItems", *["break before"] * 3)
    assert troubled.submit(make("2", idempotency_key="k"), EventDraft("submitted", "bob")) == (first, False)
    for event in (None, EventDraft("saved", "bob")):
        document = store.put_document("model", f"{event}", {"by": "ann"}, rev=0, event=EventDraft("saved", "ann"))
        assert troubled.put_document("model", f"{event}", {"by": "bob"}, rev=0, event=event) is None
        assert store.document("model", f"{event}") == document
    assert not any(proxy.troubles.values())


def test_throttled_requests_are_made_again(troubled: DynamoState, proxy: TroubledProxy) -> None:
    submit(troubled, "1")
    proxy.plan("Query", "throttle")
    proxy.plan("GetItem", "throttle")
    proxy.plan("TransactWriteItems", "throttle", "throttle transaction", "throttle transaction")
    proxy.plan("UpdateItem", "throttle")
    run = claim_one(troubled)
    assert only(troubled.change(runstate.renew(run, FUTURE)))
    assert not any(proxy.troubles.values())
    assert [event.kind for event in troubled.events("1")] == ["submitted", "started"]


def test_what_is_not_answered_at_all_is_an_error_that_says_so(
    store: DynamoState, table: str, proxy: TroubledProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    impatient = DynamoState(table, client=client("dynamodb", attempts=2))
    submit(store, "0")
    proxy.plan("TransactWriteItems", "break after", "break after")
    proxy.plan("GetItem", None, "throttle", "throttle")
    with pytest.raises(StoreError, match=r"can't write in the DynamoDB table .*(?s:.*)may have been made all the same"):
        submit(impatient, "1")
    with pytest.raises(StoreError, match=r"ProvisionedThroughputExceeded(?s:.*)fewer requests"):
        impatient.get("1")
    given, new = impatient.submit(make("1"), EventDraft("submitted", "ann"))
    assert (given, new) == (store.get("1"), False), "it had been made"
    assert len(store.events("1")) == 1


def test_what_was_claimed_before_a_failure_is_given(
    store: DynamoState, table: str, proxy: TroubledProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1", "2", "3"):
        submit(store, name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    impatient = DynamoState(table, client=client("dynamodb", attempts=1))
    proxy.plan("TransactWriteItems", None, None, "break before", "break before")
    assert [run.id for run in impatient.claim("w", FUTURE, 3)] == ["1", "2"]
    with pytest.raises(StoreError, match="can't write"):
        impatient.claim("w", FUTURE, 3)
    assert [run.id for run in impatient.claim("w", FUTURE, 3)] == ["3"]


def test_an_index_that_lags_behind_gives_hints_only(
    store: DynamoState, troubled: DynamoState, proxy: TroubledProxy
) -> None:
    for name in ("1", "2", "3"):
        submit(store, name, max_attempts=1)
    claim_one(store, "old", PAST)
    assert only(troubled.expired(5)).id == "1"
    failed = RunQuery(app="app", job="job", status=RunStatus.FAILED)
    assert troubled.find(failed) == []
    assert [run.id for run in troubled.claim("first", FUTURE, 1)] == ["2"]
    proxy.lagging = True
    store.change(ended_by(store.get("1"), "failed"))
    assert troubled.expired(5) == []
    assert [run.id for run in troubled.claim("second", FUTURE, 1)] == ["3"], "2 is only said to be queued"
    assert troubled.claim("third", FUTURE, 1) == []
    assert {store.get(name).owner for name in ("2", "3")} == {"first", "second"}
    submit(store, "4")
    assert troubled.pending("app").due == 1, "pending misses nothing"
    assert [run.id for run in troubled.find(RunQuery(open_only=True))] == ["4", "3", "2"]
    proxy.lagging = False
    assert only(troubled.find(failed)).id == "1"


# Clocks


class Off:
    """A clock that goes wrong by so many seconds."""

    def __init__(self, clock: FakeClock, by: float) -> None:
        self._clock = clock
        self._by = by

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def time(self) -> float:
        return self._clock.time() + self._by


@pytest.mark.parametrize(("mine", "theirs"), [(-2, 2), (2, -2), (0, 0)])
def test_a_lease_ends_for_others_only_when_it_ended_for_its_owner(store: DynamoState, mine: int, theirs: int) -> None:
    clock = FakeClock()
    owner, other = (DynamoState(store.url, clock=Off(clock, by)) for by in (mine, theirs))
    submit(owner, "1", max_attempts=2, not_before=clock.time() - 10)
    run = claim_one(owner, lease=10)
    taken = None
    for _ in range(40):
        clock.advance(0.5)
        if taken := other.claim("other", 10, 1):
            break
        assert other.expired(1) == []
    assert only(taken).attempt == 2
    assert owner.now() > run.lease_until
    assert clock.monotonic() <= 10 + store.skew + 4.5, "and not much later"
    assert owner.change(runstate.finish(run, Ending("succeeded"))) == [None]
    assert owner.change(runstate.renew(run, 10)) == [None]
    assert only(other.change(runstate.finish(taken[0], Ending("succeeded")))).owner is None


def test_a_row_of_the_outbox_is_another_s_only_when_the_lease_ended_for_its_taker(store: DynamoState) -> None:
    clock = FakeClock()
    slow, fast = (DynamoState(store.url, clock=Off(clock, by)) for by in (-2, 2))
    submit(slow, "1")
    slow.change(ended_by(claim_one(slow), "succeeded", [OutboxDraft("notice")]))
    item = only(slow.take_outbox(1, 10))
    while not (again := fast.take_outbox(1, 10)):
        clock.advance(0.5)
    assert slow.now() > item.due
    assert only(again).tries == 2
    assert not slow.outbox_done(item)


# What lies in the table


def test_large_inputs_lie_apart(store: DynamoState, table: str) -> None:
    inputs = json.dumps({"text": "é" * 100_000}, ensure_ascii=False)
    run = submit(store, "1", inputs=inputs, idempotency_key="a")
    raw = client("dynamodb")
    item = raw.get_item(TableName=table, Key={"pk": {"S": "run#1"}, "sk": {"S": "run"}})["Item"]
    assert len(json.dumps(item)) < 2000
    assert only(store.find(RunQuery())) == store.get("1") == run
    claimed = claim_one(store)
    assert claimed.inputs == inputs
    assert only(store.change(runstate.renew(claimed, FUTURE))).inputs == inputs
    store.change(ended_by(claimed, "succeeded"))
    assert store.delete_runs(["1"]) == 1
    assert [item["pk"]["S"] for item in raw.scan(TableName=table)["Items"]] == ["jobs"], "nothing is left"


def test_a_run_with_many_events_is_deleted_whole(store: DynamoState, table: str) -> None:
    submit(store, "1")
    for number in range(210):
        store.change(runstate.note("1", "note", "ann", {"n": number}))
    store.change(ended_by(claim_one(store), "succeeded"))
    assert [event.seq for event in store.events("1", after=200)] == list(range(201, 214))
    assert store.delete_runs(["1"]) == 1
    assert [item["pk"]["S"] for item in client("dynamodb").scan(TableName=table)["Items"]] == ["jobs"]


def test_due_runs_behind_many_later_ones_are_found(store: DynamoState, proxy: TroubledProxy) -> None:
    for number in range(100):
        submit(store, f"later-{number:03}", priority=9, not_before=store.now() + FUTURE)
    submit(store, "now")
    assert claim_one(store).id == "now"


def test_names_that_look_like_keys_do_not_meet(store: DynamoState) -> None:
    for name, (app, job) in {"1": ("a", "b#c"), "2": ("a#b", "c"), "3": ("a%23b", "c")}.items():
        submit(store, name, app=app, job=job)
        assert [run.id for run in store.find(RunQuery(app=app, job=job))] == [name]
        assert [run.id for run in store.find(RunQuery(app=app, open_only=True))] == [name]
    assert len(store.find(RunQuery())) == 3


def test_what_a_transaction_has_no_room_for_is_told(troubled: DynamoState, proxy: TroubledProxy) -> None:
    """AWS gives that as the reason of a cancelled transaction, moto as an error of the request."""
    submit(troubled, "1")
    proxy.plan("TransactWriteItems", "too large")
    with pytest.raises(StoreError, match="400 KB"):
        troubled.change(runstate.note("1", "note", "ann", {}))


def test_what_does_not_fit_is_refused_whole(store: DynamoState) -> None:
    submit(store, "1")
    run = claim_one(store)
    with pytest.raises(StoreError, match=r"larger than 400 KB(?s:.*)blob store"):
        store.change(Change("1", (), {"error": "x" * 500_000}, EventDraft("failed", "w")))
    with pytest.raises(StoreError, match="400 KB"):
        store.put_document("model", "a", {"x": "x" * 500_000}, rev=0)
    with pytest.raises(StoreError, match="400 KB"):
        submit(store, "2", inputs="x" * 500_000)
    assert store.get("1") == run
    assert (store.document("model", "a"), store.get("2")) == (None, None)


# Opening


def test_a_missing_table_says_how_it_is_made(table: str) -> None:
    missing = DynamoState(f"dynamodb://{table}?region=eu-central-1")
    with pytest.raises(StoreError, match=rf"no DynamoDB table '{table}' in eu-central-1(?s:.*){table}\?create=1"):
        missing.get("1")
    with pytest.raises(StoreError, match="no DynamoDB table"):
        missing.submit(make("1"), EventDraft("submitted", "ann"))
    assert missing.create_table() is True
    assert missing.create_table() is False
    submit(DynamoState(f"dynamodb://{table}?create=1"), "1")
    assert missing.get("1") is not None
    raw = client("dynamodb")
    assert raw.describe_table(TableName=table)["Table"]["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    ttl = raw.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert ttl == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}


def test_the_url_opens_the_same_store(store: DynamoState, table: str) -> None:
    assert store.url == f"dynamodb://{table}?region=eu-central-1"
    other = DynamoState(f"dynamodb://{table}?region=eu-central-1&skew=7.5")
    assert (other.skew, store.skew) == (7.5, 5.0)
    assert DynamoState(other.url).skew == 7.5
    assert DynamoState(table, skew=1).skew == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("dynamodb://", "names no table"),
        ("dynamodb://a b c", "names no table"),
        ("dynamodb://table/deeper", "names no table"),
        ("s3://table", "names no table"),
        ("dynamodb://table?regoin=x", "no option 'regoin'"),
        ("dynamodb://table?skew=-1", "skew takes seconds"),
        ("dynamodb://table?create=yes", "create 0 or 1"),
    ],
)
def test_wrong_urls_are_told(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        DynamoState(url)


def test_what_is_missing_to_reach_aws_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"(?i)region(?s:.*)AWS_REGION"):
        DynamoState("table")
    with pytest.raises(StoreError, match=r"credentials(?s:.*)AWS_PROFILE"):
        DynamoState("table", client=client("dynamodb", "eu-central-1", attempts=1)).get("1")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigError, match="nobody"):
        DynamoState("dynamodb://table?region=eu-central-1")
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtra, match=r"bursty\[aws\]"):
        DynamoState("table")


def test_a_forked_process_uses_the_store(store: DynamoState) -> None:
    submit(store, "1")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            submit(store, "2")
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert {run.id for run in store.find(RunQuery())} == {"1", "2"}


def test_records_are_what_they_were(store: DynamoState) -> None:
    """Numbers come back as what they are in a record, also when they are whole."""
    submit(store, "1", timeout=5.0)
    run = store.get("1")
    assert isinstance(run, RunRecord)
    assert [type(value) for value in (run.timeout, run.priority)] == [float, int]
