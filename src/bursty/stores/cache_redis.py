"""Answers in a Redis (or what speaks as one: Valkey, KeyDB), for processes of many machines.

How much it keeps is the server's business: set ``maxmemory`` and ``maxmemory-policy allkeys-lru`` there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from bursty.errors import ConfigError, MissingExtra, StoreError
from bursty.ports.serving import Cache, CacheItem

T = TypeVar("T")

PREFIX = b"bursty:"
TIMEOUT = 0.25
CONNECTIONS = 16
LONGEST = 10 * 365 * 86400
"""Seconds. Redis takes no time to live without end."""


class RedisCache:
    """``Cache`` at ``redis://USER:PASSWORD@HOST:PORT/NUMBER``, or ``rediss://`` for TLS.

    ``timeout``: seconds to wait for a connection, and for each answer. The server need not be there yet. Raises
    ``MissingExtra`` without the package redis, ``ConfigError`` for a URL that can't be read.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise MissingExtra.of("redis", "redis", "a cache in Redis") from None
        self.url = _without_secrets(url)
        self._failures = (redis.RedisError, OSError)
        try:
            self._client: Any = cast(Any, redis.Redis).from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                socket_keepalive=True,
                max_connections=CONNECTIONS,
                # Once more over a new connection, if the server closed this one; not when it is slow.
                retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            )
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{self.url!r} can't be used: {error}", "redis://USER:PASSWORD@HOST:PORT/NUMBER, or rediss:// for TLS."
            ) from None

    def __repr__(self) -> str:
        return f"RedisCache({self.url!r})"

    def get(self, key: bytes) -> bytes | None:
        return self._do(lambda client: client.get(PREFIX + key))

    def put(self, key: bytes, value: bytes, ttl: float) -> None:
        self.put_many([CacheItem(key, value, ttl)])

    def put_many(self, items: Sequence[CacheItem]) -> None:
        def work(client: Any) -> None:
            with client.pipeline(transaction=False) as pipeline:
                for key, value, ttl in items:
                    pipeline.set(PREFIX + key, value, px=max(1, int(min(ttl, LONGEST) * 1000)))
                pipeline.execute()

        if items:
            self._do(work)

    def prune(self, *, dry_run: bool = False) -> int:
        """Redis does that itself."""
        return 0

    def close(self) -> None:
        """Let the connections go; used again, they are made again."""
        self._client.close()

    def _do(self, work: Callable[[Any], T]) -> T:
        try:
            return work(self._client)
        except self._failures as error:
            raise StoreError(f"the cache at {self.url} can't be used: {error}", _hint(str(error))) from error


def _hint(text: str) -> str:
    hints = (
        (("WRONGPASS", "NOAUTH", "invalid username-password", "Authentication"), "Check the user and the password."),
        (("NOPERM",), "The user needs the commands GET and SET on keys that begin with bursty:."),
        (("OOM",), "Set maxmemory-policy allkeys-lru on the server, so that it makes room."),
        (("certificate", "SSL"), "See that the server speaks TLS with a certificate that this machine trusts."),
    )
    found = (hint for words, hint in hints if any(word in text for word in words))
    return next(found, "See that the server runs and can be reached from here; until then answers are not shared.")


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}"


if TYPE_CHECKING:
    _adapters: list[type[Cache]] = [RedisCache]
