"""What a service makes of what its pool tells: fallbacks, long lists, the log; and what a server sees to meanwhile."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from bursty.core.answers import MOST_COMMAS, RAISED, Stamp, pack_answer, pack_pieces
from bursty.core.deadline import Dispatch
from bursty.core.tickets import Plan, Ticket
from bursty.endpoints import AnswerKind, Default, EndpointInfo, EndpointSpec, Log
from bursty.engine.code import Code
from bursty.serving.answers import Answers
from bursty.serving.fallbacks import Fallbacks, Found
from bursty.serving.metrics import Metrics
from bursty.serving.pool import LONGEST_LINE, Floor, Pool
from bursty.serving.predictions import PredictionWriter
from bursty.serving.replies import Reply
from bursty.serving.server import Own, Parts, Server
from bursty.serving.service import Service
from bursty.stores.cache import MemoryCache
from bursty.stores.predictions import MemoryPredictions
from bursty.values import FunctionSpec, Loss, Output, Payload, WorkerSpec

VERSION = "v" * 64


class Standing:
    """Stands for a pool: keeps tickets, and does nothing with them."""

    trouble = ""
    ready = True

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self.dispatch = Dispatch(Plan(1), 0.0)
        self.stamps: dict[int, Stamp] = {}
        self.renewed = 0

    def submit(self, ticket: Ticket, _now: float) -> bool:
        self.tickets.append(ticket)
        return True

    def renew(self) -> None:
        self.renewed += 1

    def stir(self) -> None:
        pass


class World:
    """An endpoint named ``predict`` of an app."""

    def __init__(self, app: str = "shop", answers: Answers | None = None, path: str = "/predict", **spec: Any) -> None:
        self.store = MemoryPredictions()
        self.log = PredictionWriter(self.store)
        found = EndpointSpec(FunctionSpec("predict"), path, 0.1, **spec)
        info = EndpointInfo(app, VERSION, "app", found, {"methods": ["POST"]})
        self.service = Service(info, answers, self.log if found.log else None, Metrics())
        self.pool = Standing()
        self.service.pool = cast(Any, self.pool)
        self.connection = SimpleNamespace(on_lost=None)
        self.replies: list[Reply] = []

    def ask(self, body: bytes) -> Ticket:
        now = time.monotonic()
        self.service.submit(b"", body, None, now, lambda _, reply: self.replies.append(reply), self.connection)
        return self.pool.tickets[-1]

    def share_out(self, body: bytes, chunk: int) -> Sequence[Ticket]:
        """Ask for a long list, which its first worker cuts in pieces; the tickets of these."""
        parts = msgspec.json.decode(body, type=list[msgspec.Raw])
        pieces = [msgspec.json.encode(parts[start : start + chunk]) for start in range(0, len(parts), chunk)]
        ticket = self.ask(body)
        before = len(self.pool.tickets)
        ticket.over = True
        self.answer(ticket, pack_pieces(pieces, len(parts)))
        return self.pool.tickets[before:]

    def answer(self, ticket: Ticket, answer: bytes, stamp: str | None = None) -> None:
        self.service.answer(ticket, answer, False, stamp or self.service.stamp)

    def rows(self) -> Sequence[tuple[str, str | None, str | None]]:
        """Version, key and input of what was logged, in the order of time and position."""
        assert self.log.flush(10)
        found = [item.prediction for item in reversed(self.store.list("predict", inputs=True).items)]
        return [(row.version, row.matched, row.input) for row in sorted(found, key=lambda row: (row.ts_ms, row.id))]


def test_apps_that_share_a_cache_never_get_each_others_answers() -> None:
    answers = Answers()
    for fallback in ("last_good", "last_good_any"):
        shop, bank = (World(app, answers, fallback=(fallback,)) for app in ("shop", "bank"))
        shop.answer(shop.ask(b"1"), pack_answer(200, b'"of the shop"'))
        for world, status in ((shop, 200), (bank, 504)):
            world.service.too_late(world.ask(b"1"))
            assert world.replies[-1].answer.status == status, (fallback, world.service.info.app)


@pytest.mark.parametrize(("fallback", "kind"), [
    (("last_good", Default(0), "last_good_any"), AnswerKind.DEFAULT),
    (("last_good", "last_good_any", Default(0)), AnswerKind.CACHED),
])  # fmt: skip
def test_what_a_shared_cache_holds_is_answered_in_its_turn(fallback: Sequence[Any], kind: AnswerKind) -> None:
    shared = MemoryCache()
    spec = EndpointSpec(FunctionSpec("predict"), "/predict", 1.0, fallback=tuple(fallback))
    filled, empty = Answers(shared), Answers(shared)
    Fallbacks("shop", spec, filled).remember(VERSION, b"R\n1", pack_answer(200, b"10"))
    assert filled.flush(10)
    found = asyncio.run(find_looked_up(Fallbacks("shop", spec, empty), b"R\n2"))
    assert found is not None
    assert found.kind is kind


async def find_looked_up(fallbacks: Fallbacks, data: bytes) -> Found | None:
    request = cast(Any, SimpleNamespace(data=data, prepared=None))
    fallbacks.prepare(VERSION, request, time.monotonic() + 10)
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
    return fallbacks.find(VERSION, request)


def test_an_answer_to_somebody_else_is_logged_with_what_was_asked_now() -> None:
    world = World(answers=Answers(), fallback=("last_good_any",), log=Log(key=("user",)))
    row = [0.5, None, None, "user=1", None, {"user": 1}]
    world.answer(world.ask(b'{"user": 1}'), pack_answer(200, b"0.5", log=msgspec.json.encode([row])))
    world.service.too_late(world.ask(b'{"user": 2}'))
    assert [reply.kind for reply in world.replies] == [AnswerKind.FRESH, AnswerKind.CACHED]
    assert [row[1:] for row in world.rows()] == [("user=1", '{"user":1}'), ("user=2", '{"user":2}')]


@pytest.mark.parametrize("auth", ["public", "token"])
def test_what_exceptions_say_is_for_the_log_where_everybody_may_ask(auth: str) -> None:
    world = World(auth=auth, log=Log(inputs=False))
    body = msgspec.json.encode({"title": "The endpoint raised an error", "status": 500, "detail": "OSError: pw=secret"})
    world.answer(world.ask(b"1"), pack_answer(500, body, flags=RAISED))
    [reply] = world.replies
    assert reply.answer.status == 500
    assert (b"secret" in bytes(reply.answer.body)) is (auth == "token")
    assert world.log.flush(10)
    assert [item.prediction.error for item in world.store.list("predict").items] == ["OSError: pw=secret"]


def test_a_list_of_which_no_piece_is_answered_gets_the_fallback_of_the_whole() -> None:
    world = World(fallback=(Default("nothing"),), chunk=2)
    for ticket in world.share_out(b"[1,2,3]", 2):
        world.service.too_late(ticket)
    [reply] = world.replies
    assert (reply.kind, bytes(reply.answer.body)) == (AnswerKind.DEFAULT, b'"nothing"')


def test_the_answer_to_a_long_list_is_remembered_whole() -> None:
    world = World(answers=Answers(), fallback=("last_good",), chunk=2, log=None)
    for body, ticket in zip((b"[10,20]", b"[30]"), world.share_out(b"[1,2,3]", 2), strict=True):
        world.answer(ticket, pack_answer(200, body, items=2))
    for ticket in world.share_out(b"[1,2,3]", 2):
        world.service.too_late(ticket)
    kinds = [(reply.kind, bytes(reply.answer.body), reply.answer.items) for reply in world.replies]
    assert kinds == [(AnswerKind.FRESH, b"[10,20,30]", 3), (AnswerKind.CACHED, b"[10,20,30]", 3)]


@pytest.mark.parametrize("spoilt", ["late", "other model"])
def test_a_list_that_was_not_scored_by_one_model_is_not_remembered(spoilt: str) -> None:
    world = World(answers=Answers(), fallback=("last_good",), chunk=2, log=None)
    first, second = world.share_out(b"[1,2,3]", 2)
    world.answer(first, pack_answer(200, b"[10,20]", items=2))
    if spoilt == "late":
        world.service.too_late(second)
    else:
        world.answer(second, pack_answer(200, b"[30]", items=1), "another")
    for ticket in world.share_out(b"[1,2,3]", 2):
        world.service.too_late(ticket)
    assert [reply.answer.status for reply in world.replies] == [200, 504]


def test_pieces_are_logged_with_their_own_items_and_version() -> None:
    world = World(chunk=2)
    first, second = world.share_out(b"[1,2,3]", 2)
    world.answer(first, pack_answer(200, b"[10,20]", items=2), "old")
    world.service.too_late(second)
    assert world.rows() == [("old", None, "1"), ("old", None, "2"), (world.service.stamp, None, "3")]
    sizes = [len(ticket.request.data) for ticket in (first, second)]
    assert max(sizes) < len(b"R\n[1,2,3]"), "each holds no more than its part, or the log soon has no room"


def test_nobody_works_on_for_a_client_who_hung_up() -> None:
    world = World(chunk=2)
    shares = world.share_out(b"[1,2,3]", 2)
    world.connection.on_lost()
    world.connection.on_lost()
    assert all(ticket.answered for ticket in shares)
    assert world.service.hangups == 1
    assert len(world.replies) == 1
    for ticket in shares:
        world.service.too_late(ticket)
    assert len(world.replies) == 1
    assert world.rows() == [], "it was not answered"


def test_a_body_of_very_many_parts_is_not_opened_on_the_event_loop() -> None:
    small, large = (b"[" + b",".join([b"1"] * count) + b"]" for count in (MOST_COMMAS, 4_000_000))
    world = World(fallback=(Default(0, each=True), Default("too long")))
    world.service.too_late(world.ask(small))
    begun = time.process_time()
    world.service.too_late(world.ask(large))
    assert time.process_time() - begun < 0.05, "everybody else waits meanwhile"
    assert [reply.answer.items for reply in world.replies] == [MOST_COMMAS, None]
    assert world.replies[1].answer.body == b'"too long"'
    assert world.log.flush(60)
    assert world.store.list("predict", limit=1, inputs=True).items[0].prediction.input is None


# Newer models


def test_every_worker_with_an_older_model_is_replaced_once() -> None:
    world, said = World(), list[str]()
    server = Server(
        cast(Any, SimpleNamespace(services=[world.service], pages={}, floor=SimpleNamespace(say=said.append)))
    )
    pool = world.pool
    pool.stamps = {1: Stamp("v", ("rank@2",)), 2: Stamp("v", ("rank@2",))}
    server.follow_models({"rank": 2})
    assert pool.renewed == 0
    pool.stamps[3] = Stamp("v", ("rank@3",))  # one that crashed was started again, and found the newer one
    world.service.follow(pool.stamps[3])
    for _ in range(3):
        server.follow_models({"rank": 3})
    assert pool.renewed == 1
    assert said == ["predict: loading rank version 3"]
    pool.stamps = {4: Stamp("v", ("rank@2",))}  # what was promoted was taken back meanwhile
    server.follow_models({"rank": 2})
    server.follow_models({"rank": 3})
    assert pool.renewed == 2
    server.follow_models({})  # nobody can tell now
    assert pool.renewed == 2


def test_a_worker_of_before_does_not_bring_the_older_model_back() -> None:
    async def play() -> list[str]:
        pool, _ = bare_pool()
        found: list[str] = []
        pool.on_ready = lambda stamp: found.append(str(stamp))
        for number, model in ((1, "rank@2"), (2, "rank@3")):
            if number == 2:
                pool.renew()
            pool.dispatch.opened(number, 0.0)
            pool.stamps[number] = Stamp("v", (model,))
        for number in (2, 1):
            pool.ended(number, 0)
        return found

    assert asyncio.run(play()) == ["v+rank@3"]


def bare_pool() -> tuple[Pool, list[str]]:
    said: list[str] = []
    floor: Any = SimpleNamespace(say=said.append)
    code = Code("d", Payload((b"",)), "predict", None, by_value=False)
    return Pool(floor, Plan(2), code, WorkerSpec(), cast(Any, None), "predict", "v"), said


# What workers write


def test_what_workers_write_stays_apart_and_does_not_pile_up() -> None:
    async def play() -> list[str]:
        pool, said = bare_pool()
        pool.wrote(1, "one ")
        pool.wrote(2, "two\nthree")
        pool.wrote(1, "two\n")
        pool.wrote(1, "." * (LONGEST_LINE + 1))
        assert pool.dispatch.workers == {}
        pool.lost(2, Loss("closed"), None)
        pool.lost(1, Loss("closed"), None)
        return said

    said = asyncio.run(play())
    assert said == [f"predict | {text}" for text in ("two", "one two", "." * (LONGEST_LINE + 1), "three")]


def _first(_spec: WorkerSpec) -> int:
    return 1


def test_an_event_that_cannot_be_taken_loses_no_other() -> None:
    async def play() -> tuple[list[str], list[str]]:
        taken, told = list[str](), list[str]()

        def wrote(_number: int, text: str) -> None:
            if text == "bad":
                raise BrokenPipeError("nobody reads that")
            taken.append(text)

        events = [Output(1, None, "stdout", text) for text in ("one", "bad", "two")]
        reader, _writer = socket.socketpair()

        def poll(_timeout: float) -> list[Output]:
            return [events.pop(0) for _ in range(len(events))]

        backend: Any = SimpleNamespace(fileno=reader.fileno, open=_first, poll=poll, close=int)
        floor = Floor(backend, cast(Any, None), told.append)
        floor.open(cast(Any, SimpleNamespace(wrote=wrote)), WorkerSpec())
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
        floor.start()
        floor.close()
        return taken, told

    assert asyncio.run(play()) == (["one", "two"], ["an event of worker 1 could not be taken"])


# The server's own pages


def test_an_endpoint_with_a_pattern_does_not_take_the_servers_own_pages() -> None:
    service = World(path="/{item}").service
    served: list[str] = []

    async def page(scope: Any, _receive: Any, _send: Any) -> int:
        served.append(scope["path"])
        return 200

    parts: Any = SimpleNamespace(
        services=[service], mounts=[], note=None, pages={"/docs": Own(frozenset(("GET",)), "public", page)}
    )
    server = Server(cast(Parts, parts))
    scope: Any = {"type": "http", "method": "GET", "path": "/docs", "headers": []}
    asyncio.run(server(scope, cast(Any, None), cast(Any, None)))
    assert served == ["/docs"]
    assert server.router.find("/health")[0] is service


def _refused(*_about: object) -> Any:
    return SimpleNamespace(problem="refused")


@pytest.mark.parametrize(("client", "told"), [("127.0.0.1", "a password"), ("10.0.0.1", "can't start; see the log")])
def test_strangers_do_not_learn_why_workers_cannot_start(client: str, told: str) -> None:
    world = World()
    world.pool.ready, world.pool.trouble = False, "a password\nmore"
    book = SimpleNamespace(check=_refused)
    parts: Any = SimpleNamespace(host="127.0.0.1", services=[world.service], mounts=[], note=None, pages={}, book=book)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/ready",
        "client": (client, 1),
        "headers": [(b"host", b"localhost")],
    }
    asyncio.run(Server(parts)(scope, cast(Any, None), send))
    assert json.loads(sent[1]["body"])["waiting"] == {"predict": told}
