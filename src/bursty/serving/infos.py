"""What a version serves, read from its manifest. Nobody imports user code for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bursty.endpoints import EndpointInfo, EndpointSpec, MountSpec


def endpoints_of(manifest: Mapping[str, Any], version: str) -> list[EndpointInfo]:
    """The endpoints of a version's apps."""
    found: list[EndpointInfo] = []
    for app in _apps(manifest):
        for data in app.get("endpoints", ()):
            spec = msgspec.convert({**data, "schema": None}, EndpointSpec)
            found.append(EndpointInfo(app["name"], version, manifest["target"], spec, data["schema"]))
    return found


def mounts_of(manifest: Mapping[str, Any]) -> list[tuple[str, MountSpec]]:
    """The mounted web apps of a version, each with the name of its app."""
    return [
        (app["name"], msgspec.convert(data, MountSpec)) for app in _apps(manifest) for data in app.get("mounts", ())
    ]


def _apps(manifest: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return manifest["describe"]["apps"]
