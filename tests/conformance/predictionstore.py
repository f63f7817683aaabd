"""What every ``PredictionStore`` does. Subclass ``PredictionStoreSuite`` and give two fixtures: ``store``, an empty
one, and ``open_again``, which opens a further connection to the same store."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bursty.endpoints import AnswerKind, Label, Prediction
from bursty.errors import ConfigError
from bursty.ports.serving import Counts, Judged, PredictionStore
from bursty.stores.predictions import MemoryPredictions

OpenAgain = Callable[[], PredictionStore]
T = TypeVar("T")

GARBAGE = "bad \0 text \udcff of a \ud800 request"
FULL = Prediction(
    "018f-é/7", 1_790_000_000_123, "rank 'é'", "f" * 64 + "+knn@3", score=0.1 + 0.2, threshold=-1e-300,
    decision='{"a":"é"}', matched="user=7&day=é", latency_ms=12.75, answer=AnswerKind.MIXED, error="line 1\nline \"2\"",
    input='{"é": [1, null]}',
)  # fmt: skip


def made(name: str, ts_ms: int = 1000, endpoint: str = "rank", **more: Any) -> Prediction:
    return Prediction(name, ts_ms, endpoint, "v1", **more)


def ids(found: Sequence[Judged]) -> list[str]:
    return [item.prediction.id for item in found]


def only(items: Sequence[T]) -> T:
    assert len(items) == 1, items
    return items[0]


def label_of(store: PredictionStore, name: str) -> Label | None:
    return only(store.find([name])).label


class WriteContract:
    def test_gives_back_what_was_written(self, store: PredictionStore, open_again: OpenAgain) -> None:
        assert store.write([FULL]) == 1
        for other in (store, open_again()):
            found = only(other.find([FULL.id]))
            assert found == Judged(FULL, None)
            assert type(found.prediction.answer) is AnswerKind
            assert only(other.find([FULL.id], inputs=False)).prediction == replace(FULL, input=None)

    def test_what_is_not_there(self, store: PredictionStore) -> None:
        assert store.write([]) == 0
        assert store.label([]) == 0
        assert list(store.find([])) == []
        assert list(store.find(["none"])) == []
        assert list(store.by_keys("rank", [])) == []
        assert list(store.by_keys("rank", ["user=7"])) == []
        assert store.list("rank").items == []
        assert store.list("rank").cursor is None
        assert list(store.labelled("rank")) == []
        assert list(store.endpoints()) == []
        assert store.count("rank") == Counts(0, 0, 0)
        assert store.prune("rank", 10**15) == store.purge_inputs(10**15) == store.prune_labels(10**15) == 0

    def test_the_same_id_again_changes_nothing(self, store: PredictionStore) -> None:
        first = made("a", score=1.0)
        assert store.write([first]) == 1
        again = made("a", ts_ms=5, score=2.0, input="{}")
        assert store.write([again, made("b", input="1"), made("b", input="2")]) == 1
        assert only(store.find(["a"])).prediction == first
        assert only(store.find(["b"])).prediction.input == "1"
        assert store.write([first, made("b")]) == 0
        assert store.count("rank").predictions == 2

    def test_texts_that_no_database_holds(self, store: PredictionStore) -> None:
        names = ("id", "endpoint", "version", "decision", "matched", "error", "input")
        store.write([replace(FULL, **dict.fromkeys(names, GARBAGE))])
        found = only(store.find([GARBAGE])).prediction
        assert {getattr(found, name) for name in names} == {"bad � text � of a � request"}
        assert ids(store.list(GARBAGE).items) == [found.id]
        assert ids(store.by_keys(GARBAGE, [GARBAGE])) == [found.id]
        assert store.label([Label(GARBAGE, 1, 1.0, GARBAGE)]) == 1
        assert label_of(store, GARBAGE) == Label(found.id, 1, 1.0, found.id)
        assert store.prune(GARBAGE, 10**15) == 1

    def test_numbers_that_are_none(self, store: PredictionStore) -> None:
        store.write([made("a", score=float("nan"), threshold=float("inf"))])
        found = only(store.find(["a"])).prediction
        assert (found.score, found.threshold) == (None, None)

    def test_a_batch(self, store: PredictionStore) -> None:
        batch = [made(f"{number:05}", number, input="x" * (number % 50) or None) for number in range(3000)]
        assert store.write(batch) == 3000
        assert store.write(batch) == 0
        found = store.find([item.id for item in batch])
        assert sorted((item.prediction for item in found), key=lambda item: item.id) == batch

    def test_many_writers_of_the_same(self, store: PredictionStore, open_again: OpenAgain) -> None:
        """A retry may meet the write that it repeats."""
        gate = threading.Barrier(4)
        stores = [store, open_again()] * 2

        def work(number: int) -> int:
            gate.wait()
            batches = [[made(f"{turn}-{item}", input="1") for item in range(50)] for turn in range(10)]
            if number % 2:
                batches = [batch[::-1] for batch in batches]
            return sum(stores[number].write(batch) for batch in batches)

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(work, range(4))) == 500
        assert store.count("rank").predictions == 500


class LabelContract:
    def test_the_newest_counts(self, store: PredictionStore, open_again: OpenAgain) -> None:
        store.write([made("a")])
        assert store.label([Label("a", 20, 1.0, "ann"), Label("a", 10, 0.0, "bob")]) == 2
        assert label_of(store, "a") == Label("a", 20, 1.0, "ann")
        assert open_again().label([Label("a", 30, 0.5)]) == 1
        assert label_of(store, "a") == Label("a", 30, 0.5)
        assert store.label([Label("a", 25, 0.0)]) == 1
        assert label_of(store, "a") == Label("a", 30, 0.5), "an older one that comes late"

    def test_labels_before_their_prediction(self, store: PredictionStore) -> None:
        assert store.label([Label("a", 20, 1.0)]) == 1
        assert list(store.find(["a"])) == []
        assert store.count("rank").labelled == 0
        store.write([made("a")])
        assert label_of(store, "a") == Label("a", 20, 1.0)
        assert store.count("rank").labelled == 1

    def test_the_same_label_again_changes_nothing(self, store: PredictionStore) -> None:
        label = Label("a", 20, 1.0, "ann")
        assert store.label([label, label]) == 1
        assert store.label([label]) == 0
        store.write([made("a")])
        assert len(list(store.labelled("rank"))) == 1

    def test_the_same_time_and_source_is_replaced(self, store: PredictionStore) -> None:
        store.write([made("a")])
        store.label([Label("a", 20, 1.0, "ann")])
        assert store.label([Label("a", 20, 5.0, "ann"), Label("a", 20, 0.0, "ann")]) == 1
        assert label_of(store, "a") == Label("a", 20, 0.0, "ann")

    def test_of_the_same_time_the_last_source_counts(self, store: PredictionStore) -> None:
        store.write([made("a")])
        store.label([Label("a", 20, 2.0, "b"), Label("a", 20, 1.0, "a"), Label("a", 20, 0.0, "")])
        assert label_of(store, "a") == Label("a", 20, 2.0, "b")

    def test_many_at_once(self, store: PredictionStore) -> None:
        labels = [Label(f"{number % 700}", number, float(number), f"{number % 3}") for number in range(2500)]
        assert store.label(labels) == 2500
        assert store.label(labels) == 0

    def test_labelled_walks_in_order_of_time(self, store: PredictionStore) -> None:
        """Over the borders of the pieces that are read at once, with many of the same time."""
        names = [f"{number:04}" for number in range(2600)]
        store.write([made(name, int(name) // 1300, input="1") for name in names])
        store.write([made("other", 0, "other")])
        store.label([Label(name, 5, float(name)) for name in names if int(name) % 100])
        store.label([Label("other", 5, 1.0)])
        store.label([Label("0001", 6, -1.0)])
        found = list(store.labelled("rank"))
        assert [prediction.id for prediction, _ in found] == [name for name in names if int(name) % 100]
        assert [label.y for _, label in found[:2]] == [-1.0, 2.0]
        assert found[0][0].input is None
        assert all(prediction.input == "1" for prediction, _ in store.labelled("rank", inputs=True))
        assert len(list(store.labelled("rank", since=1))) == len(list(store.labelled("rank", until=1))) == 1287
        assert list(store.labelled("rank", since=1, until=1)) == []


class FindContract:
    def test_lists_go_from_the_newest(self, store: PredictionStore) -> None:
        store.write([made(name, at) for name, at in (("b", 2), ("a", 2), ("d", 1), ("c", 3), ("B", 2))])
        store.write([made("z", 2, "other")])
        store.label([Label("a", 9, 1.0)])
        assert ids(store.list("rank").items) == ["c", "b", "a", "B", "d"], "by time, then by id"
        assert [item.label is not None for item in store.list("rank").items] == [False, False, True, False, False]
        assert ids(store.list("rank", since=2).items) == ["c", "b", "a", "B"]
        assert ids(store.list("rank", until=2).items) == ["d"]
        assert ids(store.list("rank", since=2, until=3).items) == ["b", "a", "B"]
        assert ids(store.list("other").items) == ["z"]

    @pytest.mark.parametrize("limit", [1, 2, 5, 6, 7])
    def test_pages(self, store: PredictionStore, limit: int) -> None:
        store.write([made(f"{number}", number // 3) for number in range(6)])
        found: list[str] = []
        cursor, pages = None, 0
        while pages == 0 or cursor is not None:
            page = store.list("rank", limit=limit, cursor=cursor)
            assert 1 <= len(page.items) <= limit
            found += ids(page.items)
            cursor, pages = page.cursor, pages + 1
        assert found == ["5", "4", "3", "2", "1", "0"]
        assert pages == -(-6 // limit)

    def test_a_page_stays_where_it_is_when_more_comes(self, store: PredictionStore) -> None:
        store.write([made("a", 1), made("b", 2)])
        cursor = store.list("rank", limit=1).cursor
        store.write([made("c", 3)])
        assert ids(store.list("rank", limit=1, cursor=cursor).items) == ["a"]

    @pytest.mark.parametrize("cursor", ["", "x", "/", "x/1", "-1/a", "²/a", "9" * 30 + "/a"])
    def test_what_is_no_cursor(self, store: PredictionStore, cursor: str) -> None:
        with pytest.raises(ConfigError, match="cursor"):
            store.list("rank", cursor=cursor)

    def test_lists_have_inputs_when_asked_for(self, store: PredictionStore) -> None:
        store.write([made("a", input="1")])
        assert only(store.list("rank").items).prediction.input is None
        assert only(store.list("rank", inputs=True).items).prediction.input == "1"

    def test_by_business_key(self, store: PredictionStore) -> None:
        store.write([made(f"{number}", number, matched=f"user={number % 3}") for number in range(9)])
        store.write([made("other", 1, "other", matched="user=1"), made("none", 1)])
        store.label([Label("4", 9, 1.0)])
        found = store.by_keys("rank", ["user=1"])
        assert ids(found) == ["7", "4", "1"]
        assert [item.label is not None for item in found] == [False, True, False]
        assert ids(store.by_keys("rank", ["user=1", "user=2", "none", "user=1"])) == ["8", "7", "5", "4", "2", "1"]
        assert ids(store.by_keys("rank", ["user=1"], limit=2)) == ["7", "4"]
        assert ids(store.by_keys("rank", ["user=1"], since=2, until=7)) == ["4"]
        assert ids(store.by_keys("rank", [*(f"no={number}" for number in range(1500)), "user=1"])) == ["7", "4", "1"]

    def test_endpoints_and_counts(self, store: PredictionStore) -> None:
        store.write([made(f"a{number}", number, error="why" if number == 2 else None) for number in range(5)])
        store.write([made("b", 1, "Other"), made("c", 1, "é"), made("d", 1, "other")])
        store.label([Label("a1", 1, 1.0), Label("a1", 2, 1.0), Label("a3", 1, 1.0), Label("none", 1, 1.0)])
        assert store.endpoints() == ["Other", "other", "rank", "é"]
        assert store.count("rank") == Counts(5, 1, 2)
        assert store.count("rank", since=1, until=3) == Counts(2, 1, 1)
        assert store.count("none") == Counts(0, 0, 0)


class PruneContract:
    def test_old_predictions_go_with_all_that_is_theirs(self, store: PredictionStore) -> None:
        store.write([made(f"{number:04}", number, input="1") for number in range(2500)])
        store.write([made("other", 1, "other")])
        store.label([Label(f"{number:04}", 9, 1.0) for number in range(2500)])
        assert store.prune("rank", 2400, dry_run=True) == 2400
        assert store.count("rank").predictions == 2500
        assert store.prune("rank", 2400) == 2400
        assert store.prune("rank", 2400) == 0
        assert store.count("rank") == Counts(100, 0, 100)
        assert store.count("other").predictions == 1
        store.write([made("0001", 1)])
        assert only(store.find(["0001"])) == Judged(made("0001", 1), None), "neither input nor label is left of it"

    def test_inputs_go_apart(self, store: PredictionStore) -> None:
        store.write([made(f"{number:04}", 2500 - number, input="1") for number in range(2500)])
        store.write([made("none", 1)])
        assert store.purge_inputs(100, dry_run=True) == 99
        assert store.purge_inputs(100) == 99
        assert store.purge_inputs(100) == 0
        assert store.count("rank").predictions == 2501
        assert only(store.find(["2499"])).prediction.input is None
        assert only(store.find(["2400"])).prediction.input == "1"

    def test_labels_that_wait_in_vain_go(self, store: PredictionStore) -> None:
        store.write([made("there")])
        store.label([Label("there", 1, 1.0), Label("gone", 1, 1.0), Label("gone", 20, 1.0), Label("waits", 20, 1.0)])
        store.label([Label(f"{number}", 1, 1.0) for number in range(2000)])
        assert store.prune_labels(10, dry_run=True) == 2001
        assert store.prune_labels(10) == 2001
        assert store.prune_labels(10) == 0
        assert label_of(store, "there") is not None
        store.write([made("gone"), made("waits")])
        assert label_of(store, "gone") == Label("gone", 20, 1.0)
        assert label_of(store, "waits") is not None

    def test_a_prediction_that_was_pruned_may_be_written_again(self, store: PredictionStore) -> None:
        store.write([made("a", input="1")])
        store.prune("rank", 2000)
        assert store.write([made("a", input="2")]) == 1
        assert only(store.find(["a"])).prediction.input == "2"


NAMES = st.sampled_from("abcdef")
TIMES = st.integers(0, 5)
PREDICTIONS = st.builds(
    made, NAMES, TIMES, st.sampled_from(["x", "y"]), matched=st.sampled_from([None, "k=1", "k=2"]),
    input=st.sampled_from([None, "1"]), error=st.sampled_from([None, "why"]),
)  # fmt: skip
LABELS = st.builds(Label, NAMES, TIMES, st.sampled_from([0.0, 1.0]), st.sampled_from(["", "s"]))
STEPS = st.one_of(
    st.tuples(st.just("write"), st.lists(PREDICTIONS, max_size=4)),
    st.tuples(st.just("label"), st.lists(LABELS, max_size=4)),
    st.tuples(st.just("prune"), TIMES),
    st.tuples(st.just("purge_inputs"), TIMES),
    st.tuples(st.just("prune_labels"), TIMES),
)


class ModelContract:
    def test_does_as_the_store_in_memory(self, store: PredictionStore) -> None:
        @settings(max_examples=40, suppress_health_check=list(HealthCheck))
        @given(st.lists(STEPS, max_size=10))
        def check(steps: list[tuple[str, Any]]) -> None:
            for endpoint in ("x", "y"):
                store.prune(endpoint, 100)
            store.prune_labels(100)
            model = MemoryPredictions()
            for what, argument in steps:
                arguments = ("x", argument) if what == "prune" else (argument,)
                if what not in ("write", "label"):
                    counts = [getattr(each, what)(*arguments, dry_run=True) for each in (store, model)]
                    assert counts[0] == counts[1]
                assert getattr(store, what)(*arguments) == getattr(model, what)(*arguments)
                assert seen(store) == seen(model)

        check()


def seen(store: PredictionStore) -> list[Any]:
    by_id = sorted(store.find(list("abcdef")), key=lambda item: item.prediction.id)
    return [
        by_id,
        list(store.endpoints()),
        *(
            (
                store.count(name, since=1, until=4),
                list(store.list(name, limit=3, inputs=True).items),
                store.list(name, limit=3).cursor,
                list(store.by_keys(name, ["k=1", "k=2"])),
                list(store.labelled(name, inputs=True)),
            )
            for name in ("x", "y")
        ),
    ]


class PredictionStoreSuite(WriteContract, LabelContract, FindContract, PruneContract, ModelContract):
    """All of it."""
