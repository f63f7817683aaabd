"""Blobs in object stores: Amazon S3 and what speaks its language, Google Cloud Storage, Azure Blob Storage.

obstore does the talking; this module keeps the port's promises with it, and turns its errors into ours.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bursty.core.keys import RESERVED, check_key, check_prefix
from bursty.errors import BlobExists, BlobNotFound, BurstyError, ConfigError, MissingExtra, StoreError
from bursty.ports import BlobInfo, BlobStore
from bursty.stores.refusals import is_missing_bucket, refusal
from bursty.values import Buffer

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode, PutResult
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

SCHEMES = ("s3", "gs", "az")
_PART = 8 << 20
"""Bytes of an upload's parts; what is no longer goes up in one request. S3 takes 10,000 parts: 80 GB."""
_UPLOADS = 4
"""Parts on their way at once: with the one that is being filled, what an upload holds in memory."""
_FETCH = 32 << 20
"""Bytes asked for at once: a slow reader keeps no request open, and a lost one costs no more than this."""
_UNFINISHED = RESERVED + "tmp"
"""Folder of streams that are put if absent, until they are whole."""


class ObjectBlobs:
    """Blobs under ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX`` or ``az://CONTAINER/PREFIX``.

    Region, endpoint and credentials come from the usual environment (``AWS_…``, ``GOOGLE_…``, ``AZURE_…``), and on
    AWS, with boto3, from the shared configuration files; never from the URL. ``retries``: how often a request that
    failed for no fault of its own is sent again, with growing pauses.

    What an object store can't do is done as follows:

    - A long stream that is put ``if_absent`` goes to a key of its own and is then copied if there is none, by the
      store itself; ``sweep`` removes what killed writers left there. With ``if_match`` it is collected in memory:
      stores replace conditionally in one request only.
    - A conditional put whose answer is lost is not sent again, and raises ``StoreError``: it may have been written.
    - ``delete`` looks first: of two who delete at once, both may be told that there was one.
    """

    def __init__(self, url: str, *, retries: int = 8) -> None:
        self._url = _checked(url)
        self._retries = retries
        self._store = _open(self._url, retries)

    @property
    def url(self) -> str:
        """From which another process opens the same store, given the same environment."""
        return self._url

    def __repr__(self) -> str:
        return f"ObjectBlobs({self._url!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self._url, "retries": self._retries}  # and no credentials

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def put(
        self, key: str, data: Buffer | Iterable[Buffer], *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        check_key(key)
        mode: PutMode = "overwrite"
        if if_match is not None:
            mode = {"version": if_match} if self._url.startswith("gs:") else {"e_tag": if_match}
        elif if_absent:
            mode = "create"
        if isinstance(data, bytes | bytearray | memoryview):
            return self._put(key, memoryview(data).cast("B"), mode)
        begin, rest = _begun(data, _PART)
        if rest is None or if_match is not None:
            return self._put(key, begin if rest is None else b"".join(chain([begin], rest)), mode)
        stream = _Source(chain([begin], rest))
        return self._put_new(key, stream) if if_absent else self._put_stream(key, stream)

    def _put(self, key: str, data: Buffer, mode: PutMode) -> str:
        import obstore

        with self._reporting("write", key, conditional=mode != "overwrite"):
            done = obstore.put(
                self._store, key, memoryview(data), mode=mode, chunk_size=_PART, max_concurrency=_UPLOADS
            )
        return self._tag(done)

    def _put_stream(self, key: str, source: _Source) -> str:
        import obstore

        with self._reporting("write", key, source):
            done = obstore.put(self._store, key, source, chunk_size=_PART, max_concurrency=_UPLOADS)
        return self._tag(done)

    def _put_new(self, key: str, source: _Source) -> str:
        import obstore

        if self.head(key) is not None:  # spare the upload; what decides is the copy
            raise _lost(key)
        unfinished = f"{_UNFINISHED}/{uuid.uuid4().hex}"
        self._put_stream(unfinished, source)
        try:
            with self._reporting("write", key, conditional=True):
                obstore.copy(self._store, unfinished, key, overwrite=False)
        finally:
            with suppress(StoreError), self._reporting("delete", unfinished):  # what stays is swept
                obstore.delete(self._store, unfinished)
        info = self.head(key)
        if info is None:
            raise StoreError(f"{key!r} was deleted from {self._url} right after it was written")
        return info.etag

    def get(self, key: str) -> bytes:
        whole = BytesIO()
        for piece in self._pieces(key):
            whole.write(piece)
        return whole.getvalue()

    def stream(self, key: str, chunk: int = 8 << 20) -> Iterator[bytes]:
        for piece in self._pieces(key):
            for start in range(0, len(piece), chunk):
                yield bytes(piece[start : start + chunk])

    def _pieces(self, key: str) -> Iterator[memoryview]:
        """The blob in pieces of at most ``_FETCH`` bytes, all of one and the same blob."""
        import obstore

        check_key(key)
        with self._reporting("read", key):
            found = obstore.get(self._store, key)
            size, etag = found.meta["size"], found.meta["e_tag"]
            if size <= _FETCH:
                yield memoryview(found.bytes())
                return
        del found  # its body was not begun
        for start in range(0, size, _FETCH):
            end = min(start + _FETCH, size)
            with self._reporting("read", key):
                part = obstore.get(self._store, key, options={"range": (start, end), "if_match": etag}).bytes()
            yield memoryview(part)

    def head(self, key: str) -> BlobInfo | None:
        import obstore

        check_key(key)
        try:
            with self._reporting("look at", key):
                return self._info(obstore.head(self._store, key))
        except BlobNotFound:
            return None

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        folder = "/".join(check_prefix(prefix))
        if folder and (itself := self.head(folder)) is not None:
            yield itself
        for info in self._under(folder):
            if not info.key.startswith(RESERVED) and (info.size or self._is_blob(info.key)):
                yield info

    def _is_blob(self, key: str) -> bool:
        """Consoles make empty objects ``KEY/`` for folders, which are listed as ``KEY``."""
        return key != "" and self.head(key) is not None

    def _under(self, folder: str) -> Iterator[BlobInfo]:
        import obstore

        found: Iterator[Sequence[ObjectMeta]] = iter(obstore.list(self._store, folder or None))  # pyright: ignore[reportUnknownMemberType]
        while True:
            with self._reporting("list", folder):
                page = next(found, None)
            if page is None:
                return
            yield from map(self._info, page)

    def delete(self, key: str) -> bool:
        import obstore

        if self.head(key) is None:
            return False
        with self._reporting("delete", key):
            obstore.delete(self._store, key)
        return True

    def sweep(self, older_than: float, now: float) -> tuple[int, int]:
        """Remove unfinished streams of writers that were killed; tell how many, and their bytes."""
        import obstore

        removed = size = 0
        for info in list(self._under(_UNFINISHED)):
            if now - info.modified > older_than:
                with self._reporting("delete", info.key):
                    obstore.delete(self._store, info.key)
                removed, size = removed + 1, size + info.size
        return removed, size

    def _info(self, meta: ObjectMeta) -> BlobInfo:
        return BlobInfo(meta["path"], meta["size"], self._tag(meta), meta["last_modified"].timestamp())

    def _tag(self, found: ObjectMeta | PutResult) -> str:
        """What ``if_match`` compares: the generation on Google's, the etag elsewhere."""
        version = found["version"] if self._url.startswith("gs:") else None
        return version or found["e_tag"] or ""

    @contextmanager
    def _reporting(
        self, what: str, key: str, source: _Source | None = None, *, conditional: bool = False
    ) -> Generator[None, None, None]:
        """Errors of obstore become ours; those of the caller's own stream stay as they are.

        Without the original behind them: it shows whole answers of the server, which may name keys and tokens.
        """
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        try:
            yield
        except BurstyError:
            raise
        except (BaseError, OSError, ValueError) as error:
            if source is not None and source.error is not None:
                raise source.error from None
            text = str(error)
            if is_missing_bucket(text):
                raise refusal(what, key, self._url, text) from None
            if isinstance(error, FileNotFoundError):
                raise BlobNotFound(
                    f"there is no blob {key!r} in {self._url}", "Was it deleted, or pruned for its age?"
                ) from None
            if conditional and isinstance(error, AlreadyExistsError | PreconditionError):
                raise _lost(key) from None
            if isinstance(error, PreconditionError):
                raise StoreError(f"{key!r} was replaced while it was read from {self._url}", "Read it again.") from None
            raise refusal(what, key, self._url, text, conditional) from None


class _Source:
    """A stream that remembers how it failed, so that its error is told from the store's."""

    def __init__(self, pieces: Iterable[Buffer]) -> None:
        self._pieces = iter(pieces)
        self.error: BaseException | None = None

    def __iter__(self) -> _Source:
        return self

    def __next__(self) -> Buffer:
        try:
            return memoryview(next(self._pieces)).cast("B")
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise


def _begun(pieces: Iterable[Buffer], size: int) -> tuple[bytes, Iterator[Buffer] | None]:
    """The first ``size`` bytes or a few more, and the rest; ``None`` when that is all."""
    begin, rest = bytearray(), iter(pieces)
    for piece in rest:
        begin += memoryview(piece).cast("B")
        if len(begin) >= size:
            return bytes(begin), rest
    return bytes(begin), None


def _lost(key: str) -> BlobExists:
    return BlobExists(f"{key!r} was not written: somebody was faster", "Read it again and decide anew.")


def _checked(url: str) -> str:
    """The URL in its one spelling. Errors don't show it before it is known to hold no secrets."""
    scheme, _, rest = url.partition("://")
    if "@" in rest or "?" in rest or "#" in rest:
        raise ConfigError(
            f"the URL of a blob store ({scheme}://…) has no credentials and no options in it",
            "Use s3://BUCKET/PREFIX, and set AWS_ACCESS_KEY_ID, AWS_REGION and the like in the environment.",
        )
    parts = urlsplit(url)
    if parts.scheme not in (*SCHEMES, "memory") or bool(parts.netloc) == (parts.scheme == "memory"):
        raise ConfigError(f"{url!r} names no blob store", "Use s3://BUCKET/PREFIX, gs://… or az://CONTAINER/PREFIX.")
    prefix = rest.partition("/")[2].rstrip("/")
    if prefix:
        check_key(prefix)
    return f"{scheme}://{parts.netloc}/{prefix}".rstrip("/") if parts.netloc else "memory://"


def _open(url: str, retries: int) -> ObjectStore:
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    # Uploads over slow lines take long; a server that says nothing for two minutes is gone.
    client: ClientConfig = {"timeout": "30min", "read_timeout": "2min", "connect_timeout": "10s"}
    client["allow_http"] = _allows_http()
    retry: RetryConfig = {"max_retries": retries, "retry_timeout": timedelta(minutes=1)}
    options: dict[str, Any] = {} if url == "memory://" else {"client_options": client, "retry_config": retry}
    if url.startswith("s3:"):
        options |= {"config": {"copy_if_not_exists": "multipart"}, "credential_provider": _shared_credentials()}
    try:
        return from_url(url, **options)
    except (BaseError, OSError, ValueError) as error:
        raise refusal("open", "", url, str(error)) from None


def _allows_http() -> bool:
    """Whether the environment asks for plain HTTP: in so many words, or by its endpoint."""
    asked = (os.environ.get(f"{cloud}_ALLOW_HTTP", "").lower() for cloud in ("AWS", "GOOGLE", "AZURE"))
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
    return any(word in ("1", "true", "yes", "on") for word in asked) or any(
        os.environ.get(name, "").startswith("http://") for name in names
    )


def _shared_credentials() -> Any:
    """Credentials by boto3 where AWS's shared files are in use, which obstore doesn't read; else ``None``."""
    environ = os.environ
    if "AWS_ACCESS_KEY_ID" in environ or environ.get("AWS_SKIP_SIGNATURE", "").lower() == "true":
        return None
    files = (
        environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    profile = environ.get("AWS_PROFILE")
    if not profile and not any(os.path.isfile(os.path.expanduser(file)) for file in files):
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        if profile:
            raise MissingExtra.of("boto3", "aws", f"the AWS profile {profile!r}") from None
        return None
    try:
        return Boto3CredentialProvider()
    except Exception as error:  # botocore's many; ValueError when the files give no credentials
        if profile:
            raise ConfigError(f"the AWS profile {profile!r} gives no credentials: {error}", _PROFILE) from None
        return None


_PROFILE = "Check AWS_PROFILE and the files in ~/.aws, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."

if TYPE_CHECKING:
    _adapters: list[type[BlobStore]] = [ObjectBlobs]
