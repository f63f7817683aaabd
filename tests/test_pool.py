"""What the pool makes of events that come in an order that only a busy machine gives."""

from bursty.engine.block import Block, Options
from bursty.engine.code import Code
from bursty.engine.pool import Pool
from bursty.runtime.recent import Recent
from bursty.stores.parts import ClientParts
from bursty.testing import FakeBackend, MemoryBlobs
from bursty.values import Batch, Ended, Event, Layout, Mark, Payload, WorkerSpec


class Overtaking(FakeBackend):
    """Its journal shows outcomes behind those that are still in the socket."""

    def __init__(self, parts: ClientParts) -> None:
        super().__init__(1, parts=parts)
        self.seen: list[Event] = []

    def mark(self, worker: int) -> Mark:
        return Mark(3, 0.0)

    def peek(self, worker: int) -> list[Event]:
        return self.seen


def batch(first: int, count: int) -> Batch:
    nothing = [0.0] * count
    return Batch(1, range(first, first + count), nothing, nothing, nothing, list(range(first, first + count)), 0.0, 0)


def test_a_peek_that_overtakes_a_batch_loses_no_call() -> None:
    parts = ClientParts(MemoryBlobs(), 1 << 20)
    backend = Overtaking(parts)
    pool = Pool(WorkerSpec(), backend, parts)
    block = Block(Code("d", Payload((b"",)), "f", None, False), Layout.ITEMS, list(range(4)), Options(), 0.0)
    worker = pool.open_worker(0.0)
    pool.plan.durations["d"] = 1e-6
    pool.add(block)
    for send in pool.plan.assign(0.0):
        assert (send.worker, send.span.low, send.span.high) == (worker, 0, 4)
    backend.seen = [batch(1, 2)]
    pool.tick(100.0)
    assert block.results[1] is None, "it is behind call 0, whose outcome is still on its way"
    pool.take_batch(batch(0, 1))
    pool.tick(100.0)
    pool.take_batch(batch(1, 3))
    pool.ended(Ended(worker, 0, 4), 0.0)
    assert block.results == [0, 1, 2, 3]
    assert pool.plan.is_idle
    backend.close()


def test_both_sides_forget_the_same_functions() -> None:
    here, there = Recent(3), Recent(3)
    uses = ["a", "b", "c", "a", "d", "b", "e", "a", "a", "f"]
    assert [here.use(name) for name in uses] == [there.use(name) for name in uses]
    assert [name for name in "abcdef" if name in here] == ["a", "e", "f"]
    assert Recent(1).use("a") is None
