"""The worker's side of a key-grouped reduction: cut a map's items into partitions, reduce a partition."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import uuid
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bursty.runtime.host import current_host
from bursty.runtime.pickling import Parts, dumps, loads
from bursty.values import Buffer, Payload

PIECE_BYTES = 64 << 10
"""Pieces of a partition from here on go to the blob store and not through the client."""


class _Pieces:
    """The host's parts with a lower limit: what is shuffled is small piece by piece and large together."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.spill_bytes = min(PIECE_BYTES, parts.spill_bytes)

    def put_part(self, data: Buffer) -> tuple[str, int]:
        return self._parts.put_part(data)

    def get_part(self, digest: str, size: int) -> Buffer:
        return self._parts.get_part(digest, size)


def partition_of(key: Any, partitions: int) -> int:
    """Where a key belongs: equal keys in the same partition, in every process, on every machine.

    Raises ``TypeError`` for keys of types whose equality says nothing about their bytes.
    """
    return _stable_hash(key) % partitions


def _stable_hash(key: Any) -> int:
    if key is None:
        return 0
    if isinstance(key, str):
        return zlib.crc32(key.encode("utf-8", "surrogatepass"))
    if isinstance(key, bytes):
        return zlib.crc32(key)
    if isinstance(key, int | float | complex | decimal.Decimal | fractions.Fraction | dt.timedelta):
        return hash(key)  # these hash by value, without a seed, and alike across types
    if isinstance(key, enum.Enum):  # those that are text or numbers, too, equal these
        return zlib.crc32(f"{type(key).__qualname__}.{key.name}".encode())
    if isinstance(key, dt.date | dt.time | uuid.UUID):
        return zlib.crc32(str(_moment(key)).encode())
    if isinstance(key, tuple):
        return zlib.crc32(repr([_stable_hash(item) for item in key]).encode())  # pyright: ignore[reportUnknownVariableType]
    if isinstance(key, frozenset):
        return zlib.crc32(repr(sorted(_stable_hash(item) for item in key)).encode())  # pyright: ignore[reportUnknownVariableType]
    if hasattr(key, "item") and hasattr(key, "dtype"):
        return _stable_hash(key.item())  # a numpy scalar
    raise TypeError(
        f"a {type(key).__qualname__} can't be a key of map_reduce: use str, bytes, numbers, dates, or tuples of them"
    )


def _moment(key: Any) -> Any:
    """Times with a zone are equal when they are the same moment."""
    if isinstance(key, dt.datetime) and key.tzinfo is not None:
        return key.astimezone(dt.UTC)
    if isinstance(key, dt.time) and (offset := key.utcoffset()) is not None:
        return dt.timedelta(0, key.second, key.microsecond, 0, key.minute, key.hour) - offset
    return key


class CutIntoPartitions:
    """``map_fn``, then a payload for each partition: a pickled dict of lists of items by key, or ``None``."""

    def __init__(self, map_fn: Callable[[Any], Iterable[Any]], key: Callable[[Any], Any], partitions: int) -> None:
        self.__qualname__ = getattr(map_fn, "__qualname__", type(map_fn).__qualname__)
        self._map_fn = map_fn
        self._key = key
        self._partitions = partitions

    def __call__(self, item: Any) -> list[Payload | None]:
        groups: list[dict[Any, list[Any]]] = [{} for _ in range(self._partitions)]
        for produced in self._map_fn(item):
            key = self._key(produced)
            groups[partition_of(key, self._partitions)].setdefault(key, []).append(produced)
        host = current_host()
        pieces = _Pieces(host) if host is not None else None
        return [dumps(group, pieces, by_reference=True, what="items") if group else None for group in groups]


class ReducePartition:
    """``reduce_fn(key, items)`` for each key of a partition; items in the order of the inputs."""

    def __init__(self, reduce_fn: Callable[[Any, list[Any]], Any]) -> None:
        self.__qualname__ = getattr(reduce_fn, "__qualname__", type(reduce_fn).__qualname__)
        self._reduce_fn = reduce_fn

    def __call__(self, pieces: Sequence[Payload]) -> dict[Any, Any]:
        merged: dict[Any, list[Any]] = {}
        for piece in pieces:
            for key, items in loads(piece, current_host()).items():
                merged.setdefault(key, []).extend(items)
        return {key: self._reduce_fn(key, items) for key, items in merged.items()}
