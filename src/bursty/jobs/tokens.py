"""Tokens for what is served: made, listed, revoked. Everything that happens to one is in the audit trail.

document token/NAME: SHA-256 and last characters of the token, its scopes, who made it and who revoked it
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from bursty.changes import EventDraft
from bursty.core.tokens import RANDOM_BYTES, Token, check_scopes, digest_of, token_text
from bursty.errors import ConfigError, StoreError
from bursty.ports import StateStore
from bursty.records import Document, Event

KIND = "token"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Tokens:
    """The registry. ``actor``: who does what is done."""

    def __init__(self, state: StateStore, actor: str) -> None:
        self._state = state
        self._actor = actor

    def create(self, name: str, scopes: Sequence[str], expires_in: float | None = None) -> tuple[Token, str]:
        """A new token: what is kept of it, and its text, which is told here and never again.

        ``expires_in``: seconds. The name of a token that is revoked or has expired is free again; its events stay.
        Raises ``ConfigError``, also for the name of a token that counts.
        """
        if not NAME.fullmatch(name):
            raise ConfigError(f"{name!r} can't name a token", "Use up to 64 letters, digits, '.', '_' and '-'.")
        before = self._state.document(KIND, name)
        now = self._state.now()
        if before is not None and _token(before).is_live(now):
            raise ConfigError(f"there is a token {name!r}", f"Choose another name, or: bursty tokens revoke {name}")
        text = token_text(secrets.token_bytes(RANDOM_BYTES))
        ends = None if expires_in is None else now + expires_in
        token = Token(name, digest_of(text.encode()), check_scopes(scopes), text[-4:], now, self._actor, ends)
        event = EventDraft("created", self._actor, {"scopes": token.scopes, "last": token.last, "expires_at": ends})
        data = {key: value for key, value in asdict(token).items() if key != "name"}
        if self._state.put_document(KIND, name, data, rev=before.rev if before else 0, event=event) is None:
            found = self._state.document(KIND, name)  # refused may also mean: written, but the answer was lost
            if found is None or found.data["digest"] != token.digest:
                raise ConfigError(f"somebody else made a token {name!r} at the same time", "Choose another name.")
        return token, text

    def list(self) -> Sequence[Token]:
        """All, by name, with those that are revoked or have expired."""
        return [_token(document) for document in self._state.documents(KIND)]

    def revoke(self, name: str) -> Token:
        """It counts no more; one that was revoked stays so. Raises ``ConfigError`` when there is none."""
        while True:
            found = self._state.document(KIND, name)
            if found is None:
                known = ", ".join(token.name for token in self.list()) or "none"
                raise ConfigError(f"there is no token {name!r}", f"Known: {known}.")
            token = _token(found)
            if token.revoked_at is not None:
                return token
            token = replace(token, revoked_at=self._state.now(), revoked_by=self._actor)
            data = {**found.data, "revoked_at": token.revoked_at, "revoked_by": token.revoked_by}
            event = EventDraft("revoked", self._actor, {"last": token.last})
            if self._state.put_document(KIND, name, data, rev=found.rev, event=event) is not None:
                return token

    def history(self, name: str) -> Sequence[Event]:
        """Who made and revoked tokens of this name, and when."""
        return self._state.events(f"{KIND}/{name}")


def _token(document: Document) -> Token:
    """Raises ``StoreError`` for what is none."""
    data: dict[str, Any] = {**document.data, "scopes": tuple(document.data["scopes"])}
    try:
        return Token(document.key, **data)
    except TypeError:
        hint = "Another version of bursty wrote it: use that one to revoke it."
        raise StoreError(f"the token {document.key!r} in the state store can't be read", hint) from None
