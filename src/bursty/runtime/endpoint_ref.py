"""How a server names an endpoint to its workers, without what it takes to run one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EndpointRef:
    """Names an endpoint; unpickled, it is the ``Endpoint``. The server pickles it and never opens it.

    ``target``: module or file that declares the app named ``app``.
    """

    target: str
    app: str
    name: str

    def __reduce__(self) -> tuple[Any, ...]:
        return open_ref, (self.target, self.app, self.name)


def open_ref(target: str, app: str, name: str) -> Any:
    """In the worker: see ``runtime.endpoint.open_endpoint``."""
    from bursty.runtime.endpoint import open_endpoint

    return open_endpoint(target, app, name)
