"""Calls of the user's function: whole lists at once, and by halves when that raises."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from bursty.forms.offer_read import said
from bursty.forms.offer_shape import Shape, fields_of
from bursty.forms.offer_signature import Offer
from bursty.runtime.endpoint_lists import Failed
from bursty.runtime.endpoint_results import Unfit, as_list


class WrongCount(Exception):
    """The function gave more or fewer results than it was given items, or no list."""


class Caller:
    """Calls one endpoint: the function, or an instance of the class, made when it is first needed."""

    def __init__(self, target: Any, offer: Offer) -> None:
        self._target = target
        self._name = offer.name
        self._function: Callable[..., Any] | None = None if inspect.isclass(target) else target
        self._builders = {one.name: _builder(one.shape) for one in offer.parameters if one.shape.container != "list"}
        self._loop: Any = None

    def start(self) -> None:
        """Raises what the constructor of the class raises."""
        if self._function is None:
            self._function = self._target()

    def call(self, arguments: dict[str, Any]) -> Any:
        """Raises what the function raises."""
        self.start()
        function = cast("Callable[..., Any]", self._function)
        for name, build in self._builders.items():
            if isinstance(arguments.get(name), list):
                arguments = {**arguments, name: build(arguments[name])}
        result = function(**arguments)
        return self._awaited(result) if inspect.iscoroutine(result) else result

    def call_list(self, arguments: dict[str, Any], name: str, items: Sequence[Any]) -> list[Any]:
        """One result for each of the items. Raises ``WrongCount``, and what the function raises."""
        result = self.call({**arguments, name: items})
        try:
            results = as_list(result)
        except Unfit as unfit:
            raise WrongCount(f"{self._name} must give a list with a result for each item; {unfit}.") from None
        if len(results) != len(items):
            raise WrongCount(
                f"{self._name} gave {len(results)} results for {len(items)} items; it must give one for each, in their "
                "order."
            )
        return results

    def _awaited(self, coroutine: Any) -> Any:
        """On the worker's one event loop, so that clients made in the constructor stay usable."""
        import asyncio  # a cold start feels it
        from concurrent.futures import ThreadPoolExecutor

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._loop.run_until_complete(coroutine)
        with ThreadPoolExecutor(1) as thread:  # a test client, which has a loop of its own in this thread
            return thread.submit(self._loop.run_until_complete, coroutine).result()


def each(
    call: Callable[[Sequence[Any]], list[Any]], items: Sequence[Any], tell: Callable[[Exception], None]
) -> list[Any]:
    """What ``call`` gives for all items at once. If it raises: for halves of them, until only the culprits have failed.

    ``tell``: told of the exception of each culprit. Raises ``WrongCount``.
    """
    if not items:
        return []
    try:
        return call(items)
    except WrongCount:
        raise
    except Exception as error:
        if len(items) == 1:
            tell(error)
            return [Failed(said(error), raised=type(error).__name__)]
    half = len(items) // 2
    return each(call, items[:half], tell) + each(call, items[half:], tell)


def _builder(shape: Shape) -> Callable[[list[Any]], Any]:
    """Makes what the hint says of a list: the hint's own package has been imported by whoever wrote it."""
    if shape.container == "array":
        array = cast(Any, sys.modules["numpy"]).array
        return lambda items: array(items, dtype=shape.dtype)
    if shape.container == "series":
        return cast(Any, sys.modules["pandas"]).Series
    frame = cast(Any, sys.modules["pandas"]).DataFrame
    columns = list(fields_of(shape.item) or ()) or None
    return lambda items: frame([_record(item) for item in items], columns=columns)


def _record(row: Any) -> Any:
    """A row as a dict of its fields."""
    if isinstance(row, msgspec.Struct):
        return {field.encode_name: getattr(row, field.name) for field in msgspec.structs.fields(row)}
    if dataclasses.is_dataclass(row):
        return {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    return dict(row)
