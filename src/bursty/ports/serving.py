"""The ports of serving: where answers are kept for fallbacks, and where predictions are remembered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from bursty.endpoints import Label, Prediction


class CacheItem(NamedTuple):
    """What to keep under ``key``, and for how many seconds."""

    key: bytes
    value: bytes
    ttl: float


class Cache(Protocol):
    """Bytes by key, for a time. Thread-safe; processes may share one. Values are opaque: nobody opens them.

    A cache may forget anything at any time, and is bounded: the oldest, or what nobody asked for, goes first. A value
    that is too large for it is not kept. Of two puts of one key the later one counts. A cache that fails raises
    ``StoreError``, sooner than its adapter's time-out; what to do then is the caller's business.
    """

    @property
    def url(self) -> str:
        """From which another process opens the same cache, without secrets."""
        ...

    def get(self, key: bytes) -> bytes | None:
        """What was put, unless its time is over."""
        ...

    def put(self, key: bytes, value: bytes, ttl: float) -> None: ...

    def put_many(self, items: Sequence[CacheItem]) -> None:
        """As many puts, in order, in one go."""
        ...

    def prune(self, *, dry_run: bool = False) -> int:
        """Remove what is out of date; tell how many, as far as it is known. ``dry_run``: only tell."""
        ...

    def close(self) -> None: ...


class Judged(NamedTuple):
    """A prediction and the newest label that it has."""

    prediction: Prediction
    label: Label | None


class Page(NamedTuple):
    """Some of a list. ``cursor``: where the next page begins; ``None``: this was the last one."""

    items: Sequence[Judged]
    cursor: str | None


class Counts(NamedTuple):
    """How many ``predictions`` there are, how many of them are ``errors``, how many have a label."""

    predictions: int
    errors: int
    labelled: int


class PredictionStore(Protocol):
    """Predictions, what was asked, and labels. Thread-safe; any number of processes may have it open.

    Times are milliseconds since the epoch; a span is from ``since`` (included) to ``until`` (left out). A store that
    fails raises ``StoreError``; then nothing of that call was written, and it may be made again: to write what is there
    changes nothing.
    """

    @property
    def url(self) -> str:
        """From which another process opens the same store, without secrets."""
        ...

    def write(self, predictions: Sequence[Prediction]) -> int:
        """Insert those whose ids are new, with their inputs; tell how many. The others stay as they are."""
        ...

    def label(self, labels: Sequence[Label]) -> int:
        """Keep labels, also of predictions that are not there (yet). Tell how many said something new.

        Of those of one prediction the one with the newest ``ts_ms`` counts; of the same time, that of the last source
        by name. One of the same time and source as another replaces it.
        """
        ...

    def find(self, ids: Sequence[str], *, inputs: bool = True) -> Sequence[Judged]:
        """Those that are there, in no order."""
        ...

    def by_keys(
        self, endpoint: str, keys: Sequence[str], *, since: int = 0, until: int | None = None, limit: int = 1000
    ) -> Sequence[Judged]:
        """Those with one of these business keys (see ``core.matched``), the newest first, without inputs."""
        ...

    def list(
        self,
        endpoint: str,
        *,
        since: int = 0,
        until: int | None = None,
        limit: int = 100,
        cursor: str | None = None,
        inputs: bool = False,
    ) -> Page:
        """The newest first. ``cursor``: of the page before. ``inputs``: with them. Raises ``ConfigError`` for a
        cursor that is none."""
        ...

    def labelled(
        self, endpoint: str, *, since: int = 0, until: int | None = None, inputs: bool = False
    ) -> Iterator[tuple[Prediction, Label]]:
        """All that have a label, the oldest first, read in pieces as they are asked for."""
        ...

    def endpoints(self) -> Sequence[str]:
        """The names under which there are predictions, sorted."""
        ...

    def count(self, endpoint: str, *, since: int = 0, until: int | None = None) -> Counts: ...

    def prune(self, endpoint: str, before: int, *, dry_run: bool = False) -> int:
        """Remove older predictions with their inputs and labels; tell how many predictions."""
        ...

    def purge_inputs(self, before: int, *, dry_run: bool = False) -> int:
        """Remove what was asked of older predictions, which stay; tell how many."""
        ...

    def prune_labels(self, before: int, *, dry_run: bool = False) -> int:
        """Remove older labels whose prediction is not there; tell how many."""
        ...

    def close(self) -> None: ...
