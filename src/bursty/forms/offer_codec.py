"""Who reads and writes the values of a hint: pydantic, where some part of the hint is pydantic's, else msgspec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bursty.forms.offer_read import MsgspecReader, Reader
from bursty.forms.offer_shape import by_pydantic


def reader_of(hint: Any) -> Reader:
    """Raises ``ConfigError`` for what has no reader."""
    if by_pydantic(hint):
        from bursty.forms.offer_pydantic import PydanticReader

        return PydanticReader(hint)
    return MsgspecReader(hint)


def writer_of(hint: Any) -> Callable[[Any], bytes] | None:
    """pydantic's writer, for a result that is pydantic's. Raises ``ConfigError``."""
    if by_pydantic(hint):
        from bursty.forms.offer_pydantic import PydanticWriter

        return PydanticWriter(hint)
    return None
