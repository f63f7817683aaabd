"""Which functions a worker holds: the latest ones it was given, by the same rule on both sides of the socket."""

from __future__ import annotations

LIMIT = 64


class Recent:
    """Digests in the order of their last use, at most ``limit`` of them.

    Client and worker see the same invocations in the same order, so that what one has forgotten the other has, too.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._order: dict[str, None] = {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._order

    def use(self, digest: str) -> str | None:
        """Note a use; the digest that is forgotten for it, if any."""
        self._order.pop(digest, None)
        self._order[digest] = None
        if len(self._order) <= self._limit:
            return None
        oldest = next(iter(self._order))
        del self._order[oldest]
        return oldest
