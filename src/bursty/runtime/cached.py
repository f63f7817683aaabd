"""Values kept between runs: pickled here, stored by the desk, opened only when the desk vouches for the bytes."""

from __future__ import annotations

import pickle
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cloudpickle

T = TypeVar("T")


class Asker(Protocol):
    def ask(self, kind: str, **meta: Any) -> Mapping[str, Any]: ...


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
