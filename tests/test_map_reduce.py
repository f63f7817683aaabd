"""``map_reduce``: a map, a shuffle over the workers, a reduction."""

import datetime as dt
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty import ConfigError, Executor
from bursty.engine.block import Sealed
from bursty.runtime.shuffle import PIECE_BYTES, CutIntoPartitions, partition_of
from bursty.testing import fake_session
from bursty.values import Ref

WORDS = re.compile(r"\w+")


class Hue(Enum):
    RED = 1
    BLUE = 2


class Rank(IntEnum):
    ONE = 1


class Tag(StrEnum):
    TEXT = "text"


@pytest.fixture
def fake() -> Iterator[Executor]:
    with Executor(fake_session(3)) as executor:
        yield executor


def words_of(path: Path) -> list[str]:
    return WORDS.findall(path.read_text("utf-8").lower())


def itself(item: Any) -> Any:
    return item


def count(_: Any, items: list[Any]) -> int:
    return len(items)


@pytest.mark.parametrize("partitions", [1, 3, 7, None])
def test_word_count_is_what_counter_says(partitions: int | None, root: Path, folder: Path) -> None:
    files = sorted((root / "src" / "bursty" / "engine").glob("*.py"))
    with Executor("local?workers=2", output="hide") as executor:
        counted = executor.map_reduce(words_of, files, count, key=itself, partitions=partitions)
    expected = Counter(word for path in files for word in words_of(path))
    assert len(expected) > 500
    assert counted == expected


def test_items_come_in_the_order_of_the_inputs(fake: Executor) -> None:
    found = fake.map_reduce(
        lambda n: [(n, m) for m in range(5)], range(20), lambda _, items: items, key=lambda item: item[1], partitions=3
    )
    assert found == {m: [(n, m) for n in range(20)] for m in range(5)}


def test_the_reduction_is_told_its_key(fake: Executor) -> None:
    found = fake.map_reduce(lambda n: [n], range(9), lambda k, items: (k, sum(items)), key=lambda n: n % 3)
    assert found == {k: (k, sum(n for n in range(9) if n % 3 == k)) for k in range(3)}


ZONE = dt.timezone(dt.timedelta(hours=5))
MOMENT = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)

EQUAL: list[list[Any]] = [
    [1, 1.0, True, np.int64(1), np.float32(1), np.bool_(True), 1 + 0j, Decimal("1.00"), Fraction(3, 3), Rank.ONE],
    [0, 0.0, -0.0, False, Decimal(0)],
    [2**70, float(2**70), Fraction(2**70)],
    [0.5, Fraction(1, 2), Decimal("0.5"), np.float64(0.5)],
    ["text", "TEXT".lower(), Tag.TEXT, np.str_("text")],
    [b"text", bytes(bytearray(b"text"))],
    [None],
    [(1, "a"), (1.0, "a"), (True, "a"), (np.int64(1), np.str_("a"))],
    [((1, 2), (3,)), ((1.0, 2), (3.0,))],
    [frozenset({1, "a"}), frozenset({"a", 1.0})],
    [dt.date(2026, 1, 1)],
    [MOMENT, MOMENT.astimezone(ZONE)],
    [dt.datetime(2026, 1, 1, 12)],  # noqa: DTZ001
    [dt.timedelta(days=1), dt.timedelta(hours=24)],
    [dt.time(1, 2, 3)],
    [dt.time(12, tzinfo=dt.UTC), dt.time(17, tzinfo=ZONE)],
    [uuid.UUID(int=7), uuid.UUID(str(uuid.UUID(int=7)))],
    [Hue.RED],
    [Hue.BLUE],
]


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_equal_keys_of_all_types_are_one_key(partitions: int, fake: Executor) -> None:
    for same in EQUAL:
        assert len(set(same)) == 1, same
    inputs = [(number, item) for number, same in enumerate(EQUAL) for item in same]
    found = fake.map_reduce(
        lambda pair: [pair],
        inputs,
        lambda _, items: [n for n, _ in items],
        key=lambda pair: pair[1],
        partitions=partitions,
    )
    assert sorted(found.values()) == [[number] * len(same) for number, same in enumerate(EQUAL)]
    assert {key: value for key, value in found.items() if key == 1} == {1: [0] * 10}


def test_keys_that_were_cut_in_other_processes(folder: Path) -> None:
    """Each worker has a hash seed of its own, or not: equal keys meet all the same."""
    keys = [key for same in EQUAL for key in same]
    with Executor("local?workers=2", output="hide") as executor:
        found = executor.map_reduce(lambda _: keys, range(8), count, key=itself, partitions=5)
    assert sorted(found.values()) == sorted(8 * len(same) for same in EQUAL)
    assert found["text"] == 32


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.fractions()
keys = st.recursive(numbers | st.text() | st.binary() | st.none() | st.dates(), lambda inner: st.tuples(inner, inner))


@given(keys, keys, st.integers(1, 50))
def test_equal_keys_have_the_same_partition(one: Any, other: Any, partitions: int) -> None:
    assert 0 <= partition_of(one, partitions) < partitions
    if one == other:
        assert partition_of(one, partitions) == partition_of(other, partitions)


@given(st.integers(-(2**53), 2**53), st.integers(1, 50))
def test_numbers_have_the_same_partition_in_all_their_types(number: int, partitions: int) -> None:
    same = [number, float(number), Fraction(number), Decimal(number), complex(number), np.float64(number)]
    assert len({partition_of(item, partitions) for item in same}) == 1
    assert len({partition_of((item, "a"), partitions) for item in same}) == 1


class Odd:
    """Hashable, but only by its address."""


@pytest.mark.parametrize("key", [Odd(), object(), range(3), len, (1, Odd()), frozenset({Odd()})], ids=range(6))
def test_a_key_that_is_not_allowed_is_a_clear_error(key: Any, fake: Executor) -> None:
    with pytest.raises(TypeError, match=r"can't be a key of map_reduce: use str, bytes, numbers, dates, or tuples"):
        partition_of(key, 3)
    if isinstance(key, Odd):
        with pytest.raises(TypeError, match="a Odd can't be a key of map_reduce"):
            fake.map_reduce(lambda n: [n], [1], count, key=lambda _: Odd())


def test_a_key_that_has_no_hash(fake: Executor) -> None:
    with pytest.raises(TypeError, match="list"):
        fake.map_reduce(lambda n: [n], [1], count, key=lambda n: [n])
    with pytest.raises(TypeError, match="list"):
        fake.map_reduce(lambda n: [n], [1], count, key=lambda n: (n, [n]))


def inverse(n: int) -> list[float]:
    return [1 / n]


def test_errors_keep_their_types_and_say_where(fake: Executor) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        fake.map_reduce(inverse, [2, 1, 0], count, key=itself)
    assert any("inverse" in note for note in caught.value.__notes__)
    with pytest.raises(KeyError, match="nothing"):
        fake.map_reduce(lambda n: [{"a": n}], [1], count, key=lambda item: item["nothing"])
    with pytest.raises(ZeroDivisionError):
        fake.map_reduce(lambda n: [n], [1, 2], lambda k, _: 1 / (k - 2), key=itself)
    with pytest.raises(ValueError, match="all of them"):
        fake.map_reduce(itself, [1, 2], refuse)
    with pytest.raises(ZeroDivisionError):
        fake.map_reduce(inverse, [1, 0], sum)
    with pytest.raises(TypeError, match="not iterable"):
        fake.map_reduce(itself, [1], count, key=itself)
    with pytest.raises(ConfigError, match="at least one partition"):
        fake.map_reduce(inverse, [1], count, key=itself, partitions=-1)
    assert fake.map_reduce(itself, [[1]], count, key=itself) == {1: 1}, "it goes on"


def refuse(items: list[int]) -> None:
    raise ValueError(f"all of them: {items}")


def test_empty(fake: Executor) -> None:
    assert fake.map_reduce(lambda n: [n], [], count, key=itself) == {}
    assert fake.map_reduce(lambda _: [], range(5), count, key=itself) == {}
    assert fake.map_reduce(itself, [], sum) == 0
    assert fake.map_reduce(itself, iter(()), list) == []


def test_without_a_key_results_come_in_order(fake: Executor) -> None:
    assert fake.map_reduce(lambda n: n * n, range(200), list) == [n * n for n in range(200)]
    assert fake.map_reduce(lambda n: n * n, (n for n in range(200)), sum) == sum(n * n for n in range(200))


# What passes through the client

SIDE = 256 << 10
INPUTS = 12


def blob(n: int) -> list[tuple[int, bytes]]:
    return [(key, bytes([n]) * SIDE) for key in range(4)]


def size_of(_: int, items: list[tuple[int, bytes]]) -> tuple[int, int]:
    return len(items), sum(len(data) for _, data in items)


class Watched(Executor):
    """Adds up the bytes of results as they come, before anybody opens them."""

    def submit_block(self, block: Any) -> None:
        def keep(low: int, results: Any) -> Any:
            for result in results:
                parts = result.payload.parts if isinstance(result, Sealed) else (result,)
                self.received += sum(
                    memoryview(part).nbytes for part in parts if not isinstance(part, Ref | int | float)
                )
            return results

        block.keep = keep
        super().submit_block(block)

    received = 0


def test_large_intermediate_results_do_not_pass_through_the_client(folder: Path) -> None:
    with Watched("local?workers=2", output="hide") as executor:
        found = executor.map_reduce(blob, range(INPUTS), size_of, key=lambda item: item[0], partitions=4)
        shuffled = INPUTS * 4 * SIDE
        assert found == dict.fromkeys(range(4), (INPUTS, INPUTS * SIDE))
        assert 0 < executor.received < shuffled / 100
        spilled = sum(path.stat().st_size for path in (folder / ".bursty" / "blobs").rglob("*") if path.is_file())
        assert spilled >= shuffled, "the workers have them from the blobs"

        executor.received = 0
        whole = executor.map_reduce(large, range(4), total)
        assert whole == 4 * LARGE
        assert 0 < executor.received < LARGE / 100


LARGE = 4 << 20


def large(n: int) -> Any:
    return np.full(LARGE, n, np.uint8)


def total(arrays: list[Any]) -> int:
    return sum(array.nbytes for array in arrays)


def cut(size: int) -> Any:
    return CutIntoPartitions(lambda n: [b"x" * n], lambda _: 1, 1)(size)


def test_pieces_from_64_kib_on_are_refs(folder: Path) -> None:
    with Executor("local?workers=1", output="hide") as executor:
        [small], [big] = executor.map(cut, [PIECE_BYTES // 2, PIECE_BYTES * 2])
        assert not any(isinstance(part, Ref) for part in small.parts)
        assert any(isinstance(part, Ref) for part in big.parts)
        assert sum(len(part) for part in big.parts if not isinstance(part, Ref)) < 1000
