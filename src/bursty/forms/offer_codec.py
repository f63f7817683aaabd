"""Who reads and writes the values of a hint: pydantic, where some part of the hint is pydantic's, else msgspec."""

from __future__ import annotations

from typing import Any, Protocol

from bursty.forms.offer_read import MsgspecReader, Reader
from bursty.forms.offer_shape import by_pydantic


def reader_of(hint: Any) -> Reader:
    """Raises ``ConfigError`` for what has no reader."""
    if by_pydantic(hint):
        from bursty.forms.offer_pydantic import PydanticReader

        return PydanticReader(hint)
    return MsgspecReader(hint)


class Writer(Protocol):
    """Writes the values of one hint."""

    bare: type | None
    """A class whose instances' ``__dict__`` is what their JSON holds, if the hint is one."""

    def json(self, value: Any) -> bytes:
        """Raises ``ValueError``."""
        ...

    def plain(self, value: Any) -> Any:
        """What ``json`` holds, as dicts, lists and scalars. Raises ``ValueError``."""
        ...


def writer_of(hint: Any) -> Writer | None:
    """pydantic's, for a result that is pydantic's. Raises ``ConfigError``."""
    if by_pydantic(hint):
        from bursty.forms.offer_pydantic import PydanticWriter

        return PydanticWriter(hint)
    return None
