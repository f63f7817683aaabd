"""What a request gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from bursty.core.answers import Answer
from bursty.endpoints import AnswerKind


class Reply(NamedTuple):
    """What a request gets. ``answer.body`` is a problem when its status is 400 or more. ``items``: for MIXED, which
    items are what. ``parts``: the replies it is made of, each behind the position of its first item and before the
    request for it. ``why`` there is a fallback and no fresh answer, for the log."""

    kind: AnswerKind
    answer: Answer
    stamp: str = ""
    items: str = ""
    parts: Sequence[tuple[int, Any, bytes]] = ()
    why: str = ""
