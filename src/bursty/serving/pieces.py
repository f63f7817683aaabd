"""A list too long for one worker: shared out in pieces, its answer put together again."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bursty.core.answers import SOME_FAILED, Answer, join_arrays, pack_piece, pieces_of
from bursty.endpoints import AnswerKind
from bursty.serving.replies import Reply
from bursty.values import Buffer


class Piece:
    """A part of a list, on its way like a request of its own."""

    __slots__ = ("data", "gather", "index", "items")

    def __init__(self, gather: Gather, index: int, body: bytes, items: int) -> None:
        self.gather = gather
        self.index = index
        self.data = pack_piece(b"", body)
        self.items = items

    def settle(self, reply: Reply) -> None:
        self.gather.take(self.index, reply)


class Gather:
    """Waits for all pieces of a list. ``chunk``: items in each but the last."""

    def __init__(self, split: Answer, chunk: int, done: Callable[[Reply], None]) -> None:
        bodies = pieces_of(split)
        total = split.items or 0
        self.total = total
        self.pieces = [Piece(self, i, body, min(chunk, total - i * chunk)) for i, body in enumerate(bodies)]
        self._replies: list[Reply | None] = [None] * len(bodies)
        self._left = len(bodies)
        self._done = done

    def take(self, index: int, reply: Reply) -> None:
        """The answer to a piece; the first counts."""
        if self._replies[index] is not None:
            return
        self._replies[index] = reply
        self._left -= 1
        if not self._left:
            self._done(self._whole([found for found in self._replies if found is not None]))

    def _whole(self, replies: list[Reply]) -> Reply:
        """A piece that failed has an error for each of its items; when all failed, so did the request."""
        if all(reply.answer.status >= 400 for reply in replies):
            return replies[0]
        bodies: list[Buffer] = []
        parts: list[tuple[int, Reply, bytes]] = []
        flags = 0
        spans: list[tuple[int, int, str]] = []
        start = 0
        for piece, reply in zip(self.pieces, replies, strict=True):
            failed = reply.answer.status >= 400
            bodies.append(_errors(reply.answer, piece.items) if failed else reply.answer.body)
            answer = reply.answer._replace(items=piece.items)
            parts.append((start, reply._replace(answer=answer), piece.data))
            flags |= SOME_FAILED if failed else reply.answer.flags
            word = "error" if failed else str(reply.kind)
            if spans and spans[-1][2] == word:
                spans[-1] = (spans[-1][0], start + piece.items - 1, word)
            else:
                spans.append((start, start + piece.items - 1, word))
            start += piece.items
        kinds = {reply.kind for reply in replies}
        kind = kinds.pop() if len(kinds) == 1 else AnswerKind.MIXED
        items = ", ".join(f"{first}-{last} {word}" for first, last, word in spans) if len(spans) > 1 else ""
        answer = Answer(200, flags, self.total, b"", join_arrays(bodies))
        return replies[0]._replace(kind=kind, answer=answer, items=items, parts=parts)


def _errors(problem: Answer, items: int) -> bytes:
    detail = msgspec.json.decode(problem.body).get("detail", "no answer")
    text = msgspec.json.encode({"error": {"message": detail}})
    return b"[" + b",".join([text] * items) + b"]"
