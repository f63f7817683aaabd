"""Who may ask: bearer tokens, checked on the event loop without I/O; and when none is needed."""

from __future__ import annotations

import functools
import ipaddress
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from bursty.core.tokens import Token, allows, digest_of
from bursty.endpoints import Auth
from bursty.errors import in_words
from bursty.serving.problems import Problem, forbidden, problem, unauthorized

EVERY, PATIENCE = 2.0, 300.0
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
FORWARDING = frozenset((b"forwarded", b"via", b"x-real-ip"))
HINT = "Send the header Authorization: Bearer TOKEN; bursty tokens create makes one."


class Verdict(NamedTuple):
    """``token``: the name of the token that was given, for logs. ``problem``: what to answer instead; none: go on."""

    token: str
    problem: Problem | None = None


class TokenBook:
    """Tokens in memory, read anew every ``every`` seconds by a thread of its own: a token that is revoked, or made,
    counts so after that time at the latest.

    While the store can't be read the last known tokens count, for ``patience`` seconds; then every token is refused,
    since one of them may have been revoked. ``load``: reads all tokens. ``say``: told in words when that fails, once,
    and when it works again.
    """

    def __init__(
        self,
        load: Callable[[], Sequence[Token]],
        *,
        every: float = EVERY,
        patience: float = PATIENCE,
        say: Callable[[str], None] = lambda _line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._every = every
        self._patience = patience
        self._say = say
        self._clock = clock
        self._tokens: Mapping[str, Token] = {}
        self._good_until = -1.0
        self._failing = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_reading, name="bursty-tokens", daemon=True)

    def start(self) -> None:
        """Read once, here, and then go on in the thread. A store that fails now is said, not raised."""
        self.refresh()
        self._thread.start()

    def close(self) -> None:
        """The thread ends; one that hangs in the store is left to itself."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._every)

    def refresh(self) -> bool:
        """Read the tokens now; ``False`` when that failed."""
        try:
            found = {token.digest: token for token in self._load()}
        except Exception as error:
            if not self._failing:
                self._say(f"tokens can't be read ({in_words(error)}); those known count for {self._patience:g} s more")
            self._failing = True
            return False
        self._tokens, self._good_until = found, self._clock() + self._patience
        if self._failing:
            self._say("tokens can be read again")
        self._failing = False
        return True

    def check(self, header: bytes | None, needed: str, now: float) -> Verdict:
        """``header``: the value of Authorization. ``needed``: the scope. ``now``: seconds since the epoch.

        The digest of what was given is looked up, so how long that takes tells nothing about a token: nobody can
        choose what their guess's SHA-256 begins with.
        """
        given = _bearer(header)
        if given is None:
            return Verdict("", _missing(header))
        if self._clock() > self._good_until:
            detail = "tokens can't be checked at the moment"
            return Verdict("", problem(503, detail, "Try again soon.", kind="tokens", headers=[(b"retry-after", b"5")]))
        token = self._tokens.get(digest_of(given))
        if token is None:
            return Verdict("", unauthorized("this token is not known", HINT, invalid=True))
        if not token.is_live(now):
            ended = "was revoked" if token.revoked_at is not None else "has expired"
            return Verdict(token.name, unauthorized(f"this token {ended}", HINT, invalid=True))
        if not allows(token.scopes, needed):
            detail = f"this token lacks the scope {needed}"
            return Verdict(token.name, forbidden(detail, "Ask for a token with it.", scope=needed))
        return Verdict(token.name)

    def _keep_reading(self) -> None:
        while not self._stop.wait(self._every):
            self.refresh()


def _bearer(header: bytes | None) -> bytes | None:
    if header is None:
        return None
    scheme, _, given = header.partition(b" ")
    return given.strip() or None if scheme.lower() == b"bearer" else None


def _missing(header: bytes | None) -> Problem:
    detail = "a token is needed" if header is None else "the header Authorization has no bearer token"
    return unauthorized(detail, HINT)


def authorization(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The value of Authorization; of several, none counts but an empty one, which no token is."""
    found = [value for name, value in headers if name == b"authorization"]
    return found[0] if len(found) == 1 else (b"" if found else None)


def needs_token(
    bound_host: str, client: str | None, headers: Iterable[tuple[bytes, bytes]], auth: Auth, method: str
) -> bool:
    """Whether a request must carry a token. ``bound_host``: what the server listens on. ``client``: its address.
    ``headers``: as in ASGI, names in lower case. ``method``: of HTTP; of a WebSocket any that is not ``SAFE``.

    None is needed where nobody but this machine's own users can have asked: server and client are on loopback, no
    proxy has passed it on, and no web page of elsewhere had a browser ask, whether by a name of its own that
    resolves to loopback (the Host header tells) or by a form or script of its own (Origin tells).
    """
    if auth == "public":
        return False
    if client is None or not (is_loopback(bound_host) and is_loopback(client)):
        return True
    hosts, origins_fine = 0, True
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if not _names_loopback(value):
                return True
        elif name in FORWARDING or name.startswith(b"x-forwarded"):
            return True
        elif name == b"origin":
            origins_fine = origins_fine and _is_origin_loopback(value)
    return hosts != 1 or not (origins_fine or method in SAFE)


@functools.lru_cache(1024)
def is_loopback(host: str) -> bool:
    """``localhost``, ``127.0.0.1``, ``::1``, also as an IPv4 address mapped to IPv6."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


@functools.lru_cache(1024)
def _names_loopback(host: bytes) -> bool:
    """A value of Host: a name or address, perhaps with a port."""
    try:
        parts = urlsplit(f"//{host.decode('ascii')}")
        _ = parts.port  # raises for what is no number
    except ValueError:
        return False
    return not (parts.path or parts.query or parts.fragment or "@" in parts.netloc) and is_loopback(
        parts.hostname or ""
    )


@functools.lru_cache(1024)
def _is_origin_loopback(origin: bytes) -> bool:
    """``null``, the origin of what has none, is not."""
    scheme, colon, host = origin.partition(b"://")
    return bool(colon) and scheme.lower() in (b"http", b"https") and _names_loopback(host)
