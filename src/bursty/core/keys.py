"""Keys of blobs: one rule for all stores, so that what one takes the others take too. Standard library only."""

from __future__ import annotations

from bursty.errors import StoreError

RESERVED = ".bursty-"
"""Pieces that begin so are a store's own (temporary files, locks)."""

_RULE = "Use pieces of letters, digits and -_.= with / between them, such as runs/7/table.csv."


def check_key(key: str) -> tuple[str, ...]:
    """The pieces of a key; ``StoreError`` unless every store can hold it and no store would leave its root for it."""
    pieces = tuple(key.split("/"))
    problem = _problem(key, pieces)
    if problem:
        raise StoreError(f"{key!r:.200} is no key of a blob: {problem}", _RULE)
    return pieces


def check_prefix(prefix: str) -> tuple[str, ...]:
    """The pieces of a prefix of keys; the empty one has none, and one may end in ``/``."""
    return check_key(prefix.removesuffix("/")) if prefix else ()


def _problem(key: str, pieces: tuple[str, ...]) -> str | None:
    if any(piece in ("", ".", "..") for piece in pieces):
        return "it has an empty, '.' or '..' piece"
    if any(piece.startswith(RESERVED) for piece in pieces):
        return f"pieces that begin with {RESERVED!r} are the store's own"
    if any(ord(char) < 32 or ord(char) == 127 or char == "\\" for char in key):
        return "it has a control character or a backslash"
    try:
        sizes = [len(piece.encode()) for piece in pieces]
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if max(sizes) > 255 or sum(sizes) + len(sizes) > 1000:
        return "it is longer than 1000 bytes, or a piece is longer than 255"
    return None
