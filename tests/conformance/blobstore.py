"""What every ``BlobStore`` does. Subclass ``BlobStoreSuite`` and give a ``store`` fixture with an empty store."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursty.errors import BlobExists, BlobNotFound, StoreError
from bursty.ports import BlobStore

WRITERS = 12
BAD_KEYS = [
    "", "/", "a/", "/a", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\\b", "a\0b", "a\nb",
    ".bursty-lock", "a/.bursty-tmp-1", "x" * 256, "/".join(["abcdefghi"] * 120), "\ud800",
]  # fmt: skip
PIECES = st.text("abAB01-_.=~ é", min_size=1, max_size=6).filter(lambda piece: piece not in (".", ".."))
KEYS = st.lists(PIECES, min_size=1, max_size=3).map(lambda pieces: "/".join((*pieces, "blob!")))
"""No key is a folder of another, which a folder's store could not hold."""


def together(count: int, work: Callable[[int], object]) -> list[object]:
    """Run ``work(0)`` … ``work(count - 1)`` in threads that begin at the same moment."""
    gate = threading.Barrier(count)

    def one(number: int) -> object:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


class BlobStoreSuite:
    @pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 5000])
    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_gives_back_what_was_put(self, store: BlobStore, content: bytes, kind: type) -> None:
        etag = store.put("runs/7/out.bin", kind(content))
        assert store.get("runs/7/out.bin") == content
        assert b"".join(store.stream("runs/7/out.bin", 1000)) == content
        info = store.head("runs/7/out.bin")
        assert info is not None
        assert (info.key, info.size, info.etag) == ("runs/7/out.bin", len(content), etag)

    def test_streams_from_an_iterator(self, store: BlobStore) -> None:
        store.put("big", (bytes([number]) * 70_000 for number in range(50)))
        pieces = list(store.stream("big", chunk=100_000))
        assert b"".join(pieces) == b"".join(bytes([number]) * 70_000 for number in range(50))
        assert max(map(len, pieces)) <= 100_000

    def test_takes_buffers_of_wider_items(self, store: BlobStore) -> None:
        store.put("wide", memoryview(bytes(800)).cast("d"))
        assert store.get("wide") == bytes(800)

    def test_a_failing_source_leaves_what_was_there(self, store: BlobStore) -> None:
        def source():
            yield b"new" * 100_000
            raise OSError(5, "the source broke")

        store.put("a", b"old")
        with pytest.raises(OSError, match="the source broke"):
            store.put("a", source())
        with pytest.raises(OSError, match="the source broke"):
            store.put("b", source())
        assert store.get("a") == b"old"
        assert [info.key for info in store.list()] == ["a"]

    def test_put_replaces(self, store: BlobStore) -> None:
        first = store.put("a", b"1")
        second = store.put("a", b"2")
        assert first != second
        assert store.get("a") == b"2"

    def test_what_is_not_there(self, store: BlobStore) -> None:
        for key in ("none", "no/such/blob"):
            assert store.head(key) is None
            assert store.delete(key) is False
            with pytest.raises(BlobNotFound, match=key):
                store.get(key)
            with pytest.raises(BlobNotFound):
                list(store.stream(key))
        assert list(store.list()) == []
        assert list(store.list("some/prefix")) == []

    def test_a_piece_of_a_key_is_no_blob(self, store: BlobStore) -> None:
        store.put("a/b/c", b"1")
        for key in ("a", "a/b", "a/b/c/d"):
            assert store.head(key) is None
            assert store.delete(key) is False
            with pytest.raises(BlobNotFound):
                store.get(key)

    def test_delete(self, store: BlobStore) -> None:
        store.put("a/b", b"1")
        store.put("a/c", b"2")
        assert store.delete("a/b") is True
        assert store.delete("a/b") is False
        assert store.head("a/b") is None
        assert store.get("a/c") == b"2"

    def test_list_is_in_key_order_and_by_whole_pieces(self, store: BlobStore) -> None:
        keys = ["a", "b/a", "b-a", "b.a", "b/b/c", "b/bb", "bb", "é/x", "c/d/e/f"]
        for key in keys:
            store.put(key, key.encode())
        assert [info.key for info in store.list()] == sorted(keys)
        assert [info.key for info in store.list("b")] == ["b/a", "b/b/c", "b/bb"]
        assert [info.key for info in store.list("b/")] == ["b/a", "b/b/c", "b/bb"]
        assert [info.key for info in store.list("b/b")] == ["b/b/c"]
        assert [info.key for info in store.list("a")] == ["a"]
        assert all(store.head(info.key) == info for info in store.list())

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_bad_keys_are_refused(self, store: BlobStore, key: str) -> None:
        for use in (
            store.get,
            store.head,
            store.delete,
            lambda key: store.put(key, b""),
            lambda key: list(store.stream(key)),
        ):
            with pytest.raises(StoreError, match="is no key"):
                use(key)
        assert list(store.list()) == []

    def test_is_a_mapping(self, store: BlobStore) -> None:
        @given(st.dictionaries(KEYS, st.binary(max_size=50), max_size=8))
        def check(blobs: dict[str, bytes]) -> None:
            for info in list(store.list()):
                store.delete(info.key)
            for key, content in blobs.items():
                store.put(key, content)
            assert {info.key: store.get(info.key) for info in store.list()} == blobs
            assert [info.key for info in store.list()] == sorted(blobs)

        check()

    def test_if_absent(self, store: BlobStore) -> None:
        store.put("a/b", b"1", if_absent=True)
        with pytest.raises(BlobExists, match="a/b"):
            store.put("a/b", b"2", if_absent=True)
        assert store.get("a/b") == b"1"
        store.delete("a/b")
        store.put("a/b", b"3", if_absent=True)
        assert store.get("a/b") == b"3"

    def test_if_match(self, store: BlobStore) -> None:
        with pytest.raises(BlobExists):
            store.put("a", b"0", if_match="anything")
        first = store.put("a", b"1")
        second = store.put("a", b"2", if_match=first)
        with pytest.raises(BlobExists):
            store.put("a", b"3", if_match=first)
        store.delete("a")
        with pytest.raises(BlobExists):
            store.put("a", b"3", if_match=second)
        assert store.head("a") is None

    def test_an_etag_never_comes_back(self, store: BlobStore) -> None:
        etags = [store.put("a", bytes([number])) for number in range(200)]
        assert len(set(etags)) == len(etags)

    def test_one_of_many_writers_is_first(self, store: BlobStore) -> None:
        def write(number: int) -> bool:
            try:
                store.put("lock/holder", bytes([number]) * 1000, if_absent=True)
            except BlobExists:
                return False
            return True

        won = together(WRITERS, write)
        assert won.count(True) == 1
        assert store.get("lock/holder") == bytes([won.index(True)]) * 1000

    def test_a_counter_of_many_writers_is_exact(self, store: BlobStore) -> None:
        store.put("counter", b"0")
        together(WRITERS, lambda _: [increment(store, "counter") for _ in range(10)])
        assert store.get("counter") == b"%d" % (WRITERS * 10)

    def test_readers_see_all_of_a_put_or_nothing(self, store: BlobStore) -> None:
        contents = [bytes([number]) * 300_000 for number in range(WRITERS)]
        store.put("a/b", contents[0])

        def work(number: int) -> bool:
            if number % 2:
                store.put("a/b", contents[number])
            return all(store.get("a/b") in contents for _ in range(10))

        assert all(together(WRITERS, work))

    def test_writers_and_deleters_of_one_folder(self, store: BlobStore) -> None:
        def work(number: int) -> None:
            for _ in range(20):
                store.put(f"x/y/{number}", b"1")
                assert store.delete(f"x/y/{number}")

        together(WRITERS, work)
        assert list(store.list()) == []


def increment(store: BlobStore, key: str) -> None:
    """Add one to the number in a blob, however many do so."""
    while True:
        info = store.head(key)
        assert info is not None
        count = int(store.get(key))
        try:
            store.put(key, b"%d" % (count + 1), if_match=info.etag)
        except BlobExists:
            continue
        return
