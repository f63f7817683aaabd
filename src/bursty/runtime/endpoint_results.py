"""What the user's function gave, as JSON. Nothing becomes null by itself: NaN is an error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, cast

import msgspec

from bursty.forms.offer_codec import Writer, writer_of
from bursty.forms.offer_read import said
from bursty.forms.offer_shape import Shape
from bursty.forms.offer_signature import pointer
from bursty.runtime.endpoint_lists import Failed
from bursty.runtime.plain import to_plain


class Unfit(Exception):
    """A result that is no answer. ``field``: pointer to the part of it that is wrong."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


_dict_of = attrgetter("__dict__")
_encoder = msgspec.json.Encoder(enc_hook=to_plain, decimal_format="string")
_encode, _encode_lines = _encoder.encode, _encoder.encode_lines
_pack_into = msgspec.msgpack.Encoder(enc_hook=to_plain).encode_into
_buffers: list[bytearray] = []
"""To pack into, so that not each check asks the system for new memory; taken while in use."""
MAX_BUFFER = 1 << 20
_NONFINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""A float of MessagePack that is NaN or infinite. May also be found where there is none, but that is rare."""


class Written(NamedTuple):
    """A list as JSON. ``values``: with ``Failed`` for those, too, that can't be written. ``whole``: there is none."""

    body: bytes
    values: list[Any]
    whole: bool


class Results:
    """Writes the results of one endpoint. ``discreet``: without what the user's exceptions say."""

    def __init__(self, result: Shape, *, discreet: bool = False) -> None:
        """Raises ``ConfigError`` when pydantic can't write the hint."""
        self._discreet = discreet
        pydantic = result.container == "list"
        self._whole = _writer(writer_of(result.reads) if pydantic else None)
        self._item = _writer(writer_of(result.item) if pydantic and result.kind == "list" else None)

    def one(self, value: Any) -> bytes:
        """Raises ``Unfit``."""
        return _written(self._whole, value)

    def many(self, values: list[Any]) -> Written:
        """A list. ``Failed`` stands for an item without a value."""
        kinds = set(map(type, values))
        if Failed not in kinds:
            try:
                return Written(self._all(values, kinds), values, True)
            except Exception:  # the user's code may write values, too
                pass  # what is wrong is told item by item below
        texts: list[bytes] = []
        values = [*values]  # the user's function may keep its own
        for number, value in enumerate(values):
            if type(value) is not Failed:
                try:
                    texts.append(_written(self._item, value))
                    continue
                except Unfit as unfit:
                    values[number] = value = Failed(str(unfit), unfit.field)
            texts.append(msgspec.json.encode(value.as_json(self._discreet)))
        return Written(b"[" + b",".join(texts) + b"]", values, all(type(value) is not Failed for value in values))

    def lines(self, values: list[Any]) -> list[bytes] | None:
        """The text of each, at one go; ``None``: ``many`` must look closer."""
        if self._whole is not _MSGSPEC or Failed in set(map(type, values)):
            return None
        try:
            data = _encode_lines(values)
        except Exception:  # as in ``many``
            return None
        return None if b"null" in data else data.split(b"\n")[:-1]  # in JSON's texts a line end is written as \\n

    def _all(self, values: list[Any], kinds: set[type]) -> bytes:
        """At one go. Raises what writing raises, and ``Unfit`` when some number isn't finite."""
        writer = self._whole
        if kinds == {self._item.bare}:
            writer, values = _MSGSPEC, list(map(_dict_of, values))
        data = writer.json(values)
        if b"null" in data and not _is_finite(writer.plain(values)):
            raise Unfit("some number is not finite")
        return data


class _Writer:
    """Of pydantic's, or msgspec's."""

    def __init__(self, writer: Writer | None) -> None:
        self.json: Callable[[Any], bytes] = writer.json if writer else _encode
        self.plain: Callable[[Any], Any] = writer.plain if writer else _same
        self.bare = writer and writer.bare


def _same(value: Any) -> Any:
    return value


_MSGSPEC = _Writer(None)


def _writer(writer: Writer | None) -> _Writer:
    return _Writer(writer) if writer else _MSGSPEC


def _is_finite(value: Any) -> bool:
    """Whether there is surely no NaN and no infinity in a value. JSON has null for them, MessagePack keeps them."""
    buffer = _buffers.pop() if _buffers else bytearray()
    try:
        _pack_into(value, buffer)
        return _NONFINITE.search(buffer) is None
    except Exception:
        return False
    finally:
        if len(buffer) <= MAX_BUFFER:
            _buffers.append(buffer)


def _written(writer: _Writer, value: Any) -> bytes:
    """One value. Raises ``Unfit``."""
    try:
        data = writer.json(value)
        plain = writer.plain(value) if b"null" in data else None
    except Exception as error:
        raise Unfit(f"the result can't be written as JSON: {said(error)}") from None
    if plain is not None and not _is_finite(plain) and (found := _nonfinite(plain, ())) is not None:
        steps, number = found
        where = f"the result's {'.'.join(map(str, steps))}" if steps else "the result"
        what = "not a number (NaN)" if math.isnan(number) else "infinite"
        raise Unfit(f"{where} is {what}", pointer(*steps))
    return data


def _nonfinite(value: Any, path: tuple[str | int, ...]) -> tuple[tuple[str | int, ...], float] | None:
    """Where in a value there is a number that JSON doesn't have."""
    if isinstance(value, float):
        return None if math.isfinite(value) else (path, value)
    if value is None or isinstance(value, str | int | bytes):
        return None
    inner: Iterable[tuple[Any, Any]]
    if isinstance(value, Mapping):
        inner = cast("Mapping[Any, Any]", value).items()
    elif isinstance(value, list | tuple):
        inner = enumerate(cast("Sequence[Any]", value))
    elif isinstance(value, msgspec.Struct):
        inner = ((name, getattr(value, name)) for name in value.__struct_fields__)
    else:
        plain = to_plain(value)
        return _nonfinite(plain, path) if isinstance(plain, float | list | dict) else None
    return next((found for key, one in inner if (found := _nonfinite(one, (*path, key))) is not None), None)


def as_list(result: Any) -> list[Any]:
    """A function's list of results as one. Raises ``Unfit`` for what is none."""
    if isinstance(result, list):
        return cast("list[Any]", result)
    kind = cast(Any, type)(result)
    if issubclass(kind, str | bytes | Mapping) or not hasattr(kind, "__iter__"):
        raise Unfit(f"it gave a {kind.__name__} instead of a list")
    if any(hasattr(kind, name) for name in ("dtype", "columns", "to_dicts")):  # arrays, series, frames
        result = to_plain(result)
    return list(cast("Iterable[Any]", result))
