"""Bearer tokens: how they look, what is kept of them, what they allow.

Only a token's SHA-256 is kept. A slow hash with a salt, as for passwords, would add nothing: a token has 256 bits of
chance in it, so nobody finds it by trying, and no two are alike.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from bursty.errors import ConfigError

PREFIX = "bst_"
RANDOM_BYTES = 32
ALL = "*"
KINDS = ("predict", "labels", "metrics", "mount")
WITH_PATH = ("predict", "mount")
"""Kinds of scopes that may be narrowed to one path: ``predict:/rank/{user}``, ``mount:/tools``."""

_SCOPE = re.compile(r"[a-z]+(:/[\x21-\x7e]{0,255})?")


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token. Times in seconds since the epoch.

    ``digest``: of the token's text, SHA-256, hex. ``last``: its last four characters, by which people recognise it.
    """

    name: str
    digest: str
    scopes: tuple[str, ...]
    last: str
    created_at: float
    created_by: str
    expires_at: float | None = None
    revoked_at: float | None = None
    revoked_by: str | None = None

    def is_live(self, now: float) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def token_text(chance: bytes) -> str:
    """A token made of ``RANDOM_BYTES`` bytes of good chance: ``bst_`` and 43 characters of base64url."""
    if len(chance) != RANDOM_BYTES:
        raise ValueError(f"a token takes {RANDOM_BYTES} bytes, not {len(chance)}")
    return PREFIX + base64.urlsafe_b64encode(chance).decode().rstrip("=")


def digest_of(token: bytes) -> str:
    """What is kept of a token, and looked up."""
    return hashlib.sha256(token).hexdigest()


def allows(scopes: Iterable[str], needed: str) -> bool:
    """Whether a token with these scopes may do what needs ``needed``.

    ``*`` allows all, a kind (``predict``) all of its kind, ``predict:/rank`` that path alone: not what lies below it.
    """
    kind = needed.partition(":")[0]
    return any(scope in (ALL, needed, kind) for scope in scopes)


def check_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """These, sorted, each once. Raises ``ConfigError`` for none, and for what is no scope."""
    found = tuple(sorted(set(scopes)))
    if not found:
        raise ConfigError("a token without a scope allows nothing", f"Known scopes: {known_scopes()}.")
    for scope in found:
        kind, colon, _ = scope.partition(":")
        if scope == ALL or (kind in KINDS and _SCOPE.fullmatch(scope) and (not colon or kind in WITH_PATH)):
            continue
        close = difflib.get_close_matches(kind, KINDS, 1)
        meant = f"Did you mean {close[0]!r}? " if close and close[0] != kind else ""
        raise ConfigError(f"{scope!r:.120} is no scope", f"{meant}Known scopes: {known_scopes()}.")
    return found


def known_scopes() -> str:
    """In words, for hints."""
    return ", ".join([*KINDS, *(f"{kind}:/path" for kind in WITH_PATH), ALL])
