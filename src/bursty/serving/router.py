"""Which endpoint a path belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bursty.serving.service import Service

NOTHING: Mapping[str, str] = {}


class Router:
    """Paths as they are declared; those without parameters go first."""

    def __init__(self, services: Sequence[Service]) -> None:
        self.fixed = {service.spec.path: service for service in services if "{" not in service.spec.path}
        self._patterns = [(pattern(s.spec.path), s) for s in services if "{" in s.spec.path]
        self.paths = [service.spec.path for service in services]

    def find(self, path: str) -> tuple[Service | None, Mapping[str, str]]:
        """The endpoint, and the values of the path's parameters."""
        service = self.fixed.get(path)
        if service is None:
            for expression, candidate in self._patterns:
                if (found := expression.fullmatch(path)) is not None:
                    return candidate, found.groupdict()
        return service, NOTHING


def pattern(path: str) -> re.Pattern[str]:
    """``/rank/{user}`` as an expression: a parameter is one piece of the path."""
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path)))
