"""What the user's function gave, as JSON. Nothing becomes null by itself: NaN is an error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from bursty.forms.offer_codec import writer_of
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


class Results:
    """Writes the results of one endpoint."""

    def __init__(self, result: Shape) -> None:
        """Raises ``ConfigError`` when pydantic can't write the hint."""
        plain = msgspec.json.Encoder(enc_hook=to_plain, decimal_format="string").encode
        self._whole: Callable[[Any], bytes] = plain
        self._item: Callable[[Any], bytes] = plain
        if result.container == "list" and (writer := writer_of(result.reads)):
            self._whole = writer
            self._item = (writer_of(result.item) or plain) if result.kind == "list" else writer

    def one(self, value: Any) -> bytes:
        """Raises ``Unfit``."""
        return _written(self._whole, value)

    def many(self, values: list[Any]) -> bytes:
        """A list; ``Failed`` where there is no value, and put there where a value can't be written."""
        if not any(type(value) is Failed for value in values):
            try:
                data = self._whole(values)
            except Exception:  # one of them; found below
                data = b"null"
            if b"null" not in data:
                return data
        texts: list[bytes] = []
        for number, value in enumerate(values):
            if type(value) is not Failed:
                try:
                    texts.append(_written(self._item, value))
                    continue
                except Unfit as unfit:
                    values[number] = value = Failed(str(unfit), unfit.field, raised=True)
            texts.append(msgspec.json.encode(value.as_json()))
        return b"[" + b",".join(texts) + b"]"


def _written(write: Callable[[Any], bytes], value: Any) -> bytes:
    try:
        data = write(value)
    except Exception as error:
        raise Unfit(f"the result can't be written as JSON: {said(error)}") from None
    if b"null" in data and (found := _nonfinite(value, ())) is not None:
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
