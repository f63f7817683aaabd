"""What lies in a Lambda function's task folder: the app's files, packages, and the manifest of the version they are."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bursty.errors import ConfigError
from bursty.ports import BuiltEnv
from bursty.values import Env

if TYPE_CHECKING:
    from bursty.endpoints import EndpointInfo, MountSpec

MANIFEST = "bursty-manifest.json"
"""The manifest of the version, byte for byte as versions keep it: its hash is the version's digest."""


class Package:
    """The ``Builder`` of what is built already. ``folder``: read-only.

    Raises ``ConfigError`` when there is no manifest.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            data = (folder / MANIFEST).read_bytes()
            self._manifest: dict[str, Any] = json.loads(data)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{folder / MANIFEST} can't be read: {error}",
                "A package of bursty has one beside the app's code; LAMBDA_TASK_ROOT says where that is.",
            ) from error
        self.version = hashlib.sha256(data).hexdigest()
        self.app: str = self._manifest["app"]
        self.target: str = self._manifest["target"]
        self.module: str = self._manifest["describe"]["module"]

    def endpoints(self) -> list[EndpointInfo]:
        """All of them run on the packages that lie here, whatever Env they declare."""
        from bursty.serving.infos import endpoints_of

        return [
            replace(info, spec=replace(info.spec, function=replace(info.spec.function, env=None)))
            for info in endpoints_of(self._manifest, self.version)
        ]

    def mounts(self) -> list[tuple[str, MountSpec]]:
        """Each with the name of its App."""
        from bursty.serving.infos import mounts_of

        return [
            (app, replace(spec, function=replace(spec.function, env=None))) for app, spec in mounts_of(self._manifest)
        ]

    # ports.Builder

    def manifest(self, version: str) -> Mapping[str, Any]:
        self._check(version)
        return self._manifest

    def build(self, env: Env, *, say: Callable[[str], None] = print) -> BuiltEnv:
        return self._built()

    def build_version(self, version: str, env: Env | None, *, say: Callable[[str], None] = print) -> BuiltEnv:
        self._check(version)
        return self._built()

    def _check(self, version: str) -> None:
        if version != self.version:
            raise ConfigError(f"this function has version {self.version[:12]}, and not {version[:12]}")

    def _built(self) -> BuiltEnv:
        own = [str(self.folder / name) for name in self._manifest["path"]]
        path = dict.fromkeys([*own, str(self.folder), *(entry for entry in sys.path if entry)])
        return BuiltEnv(sys.executable, str(self.folder), self.version, tuple(path), whole=True)
