"""The manifest of a version: what it is, as JSON. Its digest is the version's name.

    {"format": 1, "app", "target", "python", "path": [folders of the import path],
     "source": {"key", "digest", "size", "files": [[path, digest, size], …]},
     "envs": {DIGEST: {"python", "platform", "lock": [pins], "local": [packages that no index has],
                       "packed": {"key", "digest", "size"} or null}},
     "files": {how the code writes an Env: {"key", "digest", "size"}},
     "env_of": {name of a function or job: DIGEST}, "declared": {how the code writes an Env: DIGEST},
     "describe": what ``bursty.runtime.describe`` told}

In the blob store it lies at ``versions/DIGEST/manifest.json``, archives at ``sources/DIGEST.tar.gz`` and
``envs/DIGEST.tar.gz``. Message, creator, commit and time are labels, and no part of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, cast

from bursty.errors import ConfigError, DigestMismatch, EnvError
from bursty.packaging.lock import Lock
from bursty.values import Env

FORMAT = 1

Manifest = Mapping[str, Any]


def canonical(manifest: Manifest) -> bytes:
    """The one spelling whose hash counts."""
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest_of(manifest: Manifest) -> str:
    return hashlib.sha256(canonical(manifest)).hexdigest()


def manifest_key(digest: str) -> str:
    """Where the manifest lies in the blob store. Raises ``ConfigError`` for what is no digest."""
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ConfigError(
            f"{digest!r} is no version", "A version is 64 hexadecimal digits: bursty versions lists them."
        )
    return f"versions/{digest}/manifest.json"


def archive_key(kind: str, digest: str) -> str:
    """``kind``: ``sources`` or ``envs``."""
    return f"{kind}/{digest}.tar.gz"


def read_manifest(data: bytes, digest: str) -> Manifest:
    """Check and open. Raises ``DigestMismatch``, and ``ConfigError`` for the format of a newer bursty."""
    if hashlib.sha256(data).hexdigest() != digest:
        raise DigestMismatch(
            f"the manifest of version {digest[:12]} is not the one that was stored",
            "It is damaged or somebody changed it: restore the blob store, or take a new snapshot.",
        )
    manifest = cast("dict[str, Any]", json.loads(data))
    if manifest["format"] != FORMAT:
        raise ConfigError(f"version {digest[:12]} was taken by a newer bursty", "Upgrade bursty here.")
    return manifest


def declared_key(env: Env | None) -> str:
    """How the code writes an Env, as text; ``""`` for none."""
    if env is None:
        return ""
    return json.dumps([env.requirements, env.python, env.files])


def find_env(manifest: Manifest, env: Env | None) -> str:
    """Digest of the locked Env that stands for ``env``. Raises ``EnvError`` when the version has none."""
    found = manifest["declared"].get(declared_key(env))
    if found is None:
        what = "no Env" if env is None else f"the Env {declared_key(env)}"
        raise EnvError(
            f"a call with {what} can't run in this version of {manifest['app']}: only Envs that its functions and jobs "
            "declare were locked with it",
            "Declare it at the function, @app.function(env=…), or at the App, and take a new snapshot.",
        )
    return found


def lock_of(env: Mapping[str, Any]) -> Lock:
    """The lock of an entry of ``envs``."""
    return Lock(env["python"], env["platform"], tuple(env["lock"]), (), tuple(env["local"]))
