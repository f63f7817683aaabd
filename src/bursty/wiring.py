"""Names and URLs to adapters, imported when first asked for; the only registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from bursty.errors import ConfigError
from bursty.ports import Backend, BlobStore, Builder, StateStore

if TYPE_CHECKING:
    from bursty.engine.session import Session
    from bursty.ports.serving import Cache, PredictionStore


def open_backend(url: str, *, blobs: str, builder: Builder | None, **options: Any) -> Backend:
    """``local``, ``local?workers=8``. ``options``: of the adapter. Raises ``ConfigError``."""
    name, _, query = url.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    if name not in ("local", "local:", "local://"):
        raise ConfigError(f"there is no backend {url!r}", 'Known: "local", "local?workers=8".')
    from bursty.backends.local import LocalBackend

    workers = _positive(given.pop("workers", None), url)
    if given:
        raise ConfigError(f"{url!r}: unknown option {', '.join(given)}", "Known: workers.")
    return LocalBackend(workers, blobs=blobs, builder=builder, **options)


def _positive(text: str | None, url: str) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{url!r}: workers must be a whole number above 0, not {text!r}")
    return int(text)


def open_blobs(url: str) -> BlobStore:
    """A folder's path, ``memory://``, ``s3://BUCKET/PREFIX``, ``gs://…``, ``az://…``. Raises ``ConfigError``."""
    from bursty.stores import blobs

    scheme, is_url, _ = url.partition("://")
    if url == "memory://":
        return blobs.MemoryBlobs()
    if is_url and scheme in ("s3", "gs", "az"):
        from bursty.stores.objects import ObjectBlobs

        return ObjectBlobs(url)
    if is_url:
        raise ConfigError(
            f"there is no blob store for {scheme}://…",
            "Known: a folder's path, memory://, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX.",
        )
    return blobs.FolderBlobs(url)


def open_state(url: str) -> StateStore:
    """``sqlite:///PATH``, ``postgresql://USER@HOST/DATABASE``, ``dynamodb://TABLE``, ``memory://``. Raises
    ``ConfigError``, and ``StoreError`` when it can't be opened."""
    scheme = url.partition("://")[0]
    if url == "memory://":
        from bursty.stores.memory import MemoryState

        return MemoryState()
    if scheme in ("sqlite", "postgresql", "postgres"):
        from bursty.stores.sql import SqlState

        return SqlState(url)
    if scheme == "dynamodb":
        from bursty.stores.dynamodb import DynamoState

        return DynamoState(url)
    raise ConfigError(
        f"there is no state store for {scheme}://…",
        "Known: sqlite:///PATH, postgresql://USER@HOST/DATABASE, dynamodb://TABLE, memory://.",
    )


def open_predictions(url: str) -> PredictionStore:
    """``sqlite:///PATH``, ``postgresql://USER@HOST/DATABASE``, ``memory://``. Raises ``ConfigError``, and
    ``StoreError`` when it can't be opened."""
    scheme = url.partition("://")[0]
    if url == "memory://":
        from bursty.stores.predictions import MemoryPredictions

        return MemoryPredictions()
    if scheme in ("sqlite", "postgresql", "postgres"):
        from bursty.stores.predictions_sql import SqlPredictions

        return SqlPredictions(url)
    raise ConfigError(
        f"predictions can't be kept in {scheme}://…",
        "Set BURSTY_PREDICTIONS to sqlite:///PATH or postgresql://USER@HOST/DATABASE.",
    )


def open_cache(url: str) -> Cache:
    """``memory://``, ``sqlite:///PATH``, ``redis://HOST:PORT/NUMBER``, ``rediss://…``. Raises ``ConfigError``, and
    ``StoreError`` when a file can't be opened; a Redis may come later."""
    scheme = url.partition("://")[0]
    if url == "memory://":
        from bursty.stores.cache import MemoryCache

        return MemoryCache()
    if scheme == "sqlite":
        from bursty.stores.cache_sqlite import SqliteCache

        return SqliteCache(url)
    if scheme in ("redis", "rediss"):
        from bursty.stores.cache_redis import RedisCache

        return RedisCache(url)
    raise ConfigError(
        f"there is no cache for {scheme}://…",
        "Known: memory://, sqlite:///PATH, redis://HOST:PORT/NUMBER, rediss://HOST:PORT/NUMBER.",
    )


def open_session(backend: str, *, blobs: str, home: str, cache: str, output: Any = "show") -> Session:
    """A session on the backend of this name; in a worker, on the client's workers.

    ``blobs``: URL of the blob store. ``home``: the project's folder. ``cache``: the folder of built Envs.
    """
    from bursty.runtime.host import current_host, importing_now

    if (what := importing_now()) is not None:
        raise ConfigError(
            f"an Executor was used while a worker imports {what}",
            "Code of a module that makes calls belongs under: if __name__ == '__main__':",
        )
    host = current_host()
    if host is not None:
        from bursty.engine.hosted import NestedSession

        return NestedSession(host)
    from bursty.engine.session import Session
    from bursty.packaging.restore import VersionBuilder
    from bursty.stores.home import open_home
    from bursty.stores.parts import ClientParts

    if "://" in blobs:
        raise ConfigError(
            f"blobs={blobs!r}: workers of this backend share large values through a folder",
            "Set BURSTY_BLOBS to a folder's path, or leave it out.",
        )
    builder = VersionBuilder(lambda: open_blobs(blobs), cache)
    chosen = open_backend(backend, blobs=blobs, builder=builder)
    parts = ClientParts(blobs, chosen.traits.spill_bytes)
    return Session(chosen, parts, lambda: open_home(home, cache), builder=builder, output=output)


_ambient: list[Any] = []


def default_executor() -> Any:
    """The process's own executor, for ``simulate.map(…)`` outside of any ``with Executor(…)``."""
    from bursty.engine.executor import Executor

    if not _ambient:
        _ambient.append(Executor())
    return _ambient[0]
