"""``map_reduce``: a map, a shuffle over the workers, a reduction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from bursty.errors import ConfigError
from bursty.runtime.shuffle import CutIntoPartitions, ReducePartition
from bursty.values import Payload

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Protocol

    class Calls(Protocol):
        """What this needs of an executor."""

        @property
        def submit(self) -> Callable[..., Future[Any]]: ...

        @property
        def submit_many(self) -> Callable[..., Sequence[Future[Any]]]: ...


def map_reduce(
    calls: Calls,
    map_fn: Callable[[Any], Any],
    inputs: Iterable[Any],
    reduce_fn: Callable[..., Any],
    key: Callable[[Any], Any] | None,
    partitions: int,
) -> Any:
    """See ``Executor.map_reduce``."""
    if key is None:
        return calls.submit(reduce_fn, calls.submit_many(map_fn, inputs)).result()
    if partitions < 1:
        raise ConfigError(f"map_reduce needs at least one partition, not {partitions}")
    pieces: list[list[Payload]] = [[] for _ in range(partitions)]
    for cut in calls.submit_many(CutIntoPartitions(map_fn, key, partitions), inputs):
        for partition, piece in zip(pieces, cut.result(), strict=True):
            if piece is not None:
                partition.append(piece)
    reduced = calls.submit_many(ReducePartition(reduce_fn), [some for some in pieces if some])
    merged: dict[Any, Any] = {}
    for future in reduced:
        merged.update(future.result())
    return merged
