"""``Model``: trained objects by name and version, in jobs, endpoints and the user's own scripts."""

from __future__ import annotations

import pickle
import platform
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cloudpickle

from bursty.runtime.desk import ask


class Model:
    """A named model.

    >>> Model("classifier").save(fitted, metrics={"accuracy": 0.97})   # doctest: +SKIP
    >>> Model("classifier").load().predict(features)                   # doctest: +SKIP

    A process opens each version once; when another one is promoted, the next ``load()`` gives that.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def save(
        self, obj: Any, *, metrics: Mapping[str, float] | None = None, note: str = "", promote: bool = True
    ) -> int:
        """Keep ``obj`` as the next version, and give its number. ``promote``: it becomes the current one.

        Raises what pickling raises, and ``DeskError``.
        """
        with tempfile.TemporaryDirectory(prefix="bursty-model-") as folder:
            file = Path(folder) / "model.pickle"
            with file.open("wb") as stream:
                cloudpickle.dump(obj, stream, protocol=5)  # pyright: ignore[reportUnknownMemberType]
            answer = ask(
                "model.save",
                name=self.name,
                file=str(file),
                metrics=dict(metrics or {}),
                note=note,
                promote=promote,
                python=platform.python_version(),
                type=f"{type(obj).__module__}.{type(obj).__qualname__}",
                packages=_package_of(obj),
            )
        return int(answer.meta["version"])

    def load(self, version: int | None = None) -> Any:
        """The object of this version; without it, of the current one. Its checksum is checked before it is opened.

        Raises ``DeskError`` when there is none, or when its bytes are not those that were saved.
        """
        found = ask("model.find", name=self.name, version=version).meta
        key = self.name, int(found["version"])
        with _lock:
            known = _loaded.get(key)
            if known is None or known[0] != found["digest"]:
                known = found["digest"], self._fetched(key[1])
                if version is None:  # an older current one is not needed any more
                    for other in [item for item in _loaded if item[0] == self.name]:
                        del _loaded[other]
                _loaded[key] = known
        return known[1]

    def version(self) -> int:
        """Number of the current version."""
        return int(ask("model.find", name=self.name, version=None).meta["version"])

    def _fetched(self, version: int) -> Any:
        with tempfile.TemporaryDirectory(prefix="bursty-model-") as folder:
            file = Path(folder) / "model.pickle"
            ask("model.fetch", name=self.name, version=version, file=str(file))
            with file.open("rb") as stream:
                return pickle.load(stream)


_loaded: dict[tuple[str, int], tuple[str, Any]] = {}
_lock = threading.Lock()


def loaded_versions() -> dict[str, int]:
    """The models that this process has opened: of each the newest version."""
    with _lock:
        return dict(sorted(_loaded))


def _package_of(obj: Any) -> dict[str, str]:
    """The library that the object comes from, and its version: what most often breaks old pickles."""
    name = type(obj).__module__.partition(".")[0]
    version = getattr(sys.modules.get(name), "__version__", None)
    return {name: version} if isinstance(version, str) else {}
