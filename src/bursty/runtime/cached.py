"""Values kept between runs: pickled here, stored by the desk, opened only when the desk vouches for the bytes."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import pickle
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import cloudpickle

from bursty.errors import ConfigError

T = TypeVar("T")


class Asker(Protocol):
    def ask(self, kind: str, **meta: Any) -> Mapping[str, Any]: ...


def key_text(key: object) -> str:
    """A key as text that no other key has. Raises ``ConfigError`` for types whose text may stand for several values
    (that of a long array is shortened)."""
    return json.dumps(_tagged(key), sort_keys=True)


def _tagged(key: Any) -> Any:
    """JSON; what JSON does not know is a dict of its type and its text, and so is a dict."""
    match key:
        case enum.Enum():
            return {type(key).__qualname__: key.name}
        case dt.date() | dt.time():
            return {type(key).__name__: key.isoformat()}
        case decimal.Decimal():
            return {"Decimal": str(key)}
        case bytes():
            return {"bytes": key.hex()}
        case None | bool() | int() | float() | str():
            return key
        case list() | tuple():
            return [_tagged(item) for item in cast(Any, key)]
        case dict() if all(isinstance(name, str) for name in key):  # pyright: ignore[reportUnknownVariableType]
            return {"dict": {name: _tagged(value) for name, value in cast(Any, key).items()}}
        case _:
            raise ConfigError(
                f"{type(key).__qualname__} can't be part of a cache key",
                "Use text, numbers, dates, and lists or dicts of them; of an array, its bytes or their digest.",
            )


def cached(store: Asker, folder: Path, key: str, compute: Callable[[], T], max_age: float | None) -> T:
    """What is kept under ``key``, else ``compute()``, kept. What another version kept and this one can't open (a class
    that it has not, say) is computed anew."""
    draft = folder / f".cache-{uuid.uuid4().hex}"
    found = store.ask("cache.get", key=key, max_age=max_age, file=str(draft))
    if found.get("found"):
        try:
            with draft.open("rb") as file:
                return pickle.load(file)
        except Exception as error:
            print(f"cached data can't be opened here and is computed anew: {error!r}", file=sys.stderr)
        finally:
            draft.unlink()
    value = compute()
    with draft.open("wb") as file:
        cloudpickle.dump(value, file, protocol=5)  # pyright: ignore[reportUnknownMemberType]
    store.ask("cache.put", key=key, file=str(draft))
    draft.unlink(missing_ok=True)
    return value
