"""Envs made from a lock: the same packages as when the version was taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bursty.errors import EnvError
from bursty.packaging import place as places
from bursty.packaging.interpreters import find_python
from bursty.packaging.resolve import UvBuilder, advice, is_built, python_of, uv_words


def build_locked(
    builder: UvBuilder,
    digest: str,
    locked: Mapping[str, Any],
    fetch: Callable[[str], Iterable[bytes]],
    say: Callable[[str], None],
) -> str:
    """Path of the interpreter of the Env ``digest``, built if need be."""
    place = builder.cache_dir / "envs" / digest[:32]
    places.private(place.parent)
    with places.locked(place, lambda: say(f"waiting for another process that builds env {digest[:8]}")):
        if not is_built(place):
            started = time.monotonic()
            say(f"building env {digest[:8]} ({len(locked['lock'])} packages for Python {locked['python']})")
            _build(place, locked)
            say(f"env {digest[:8]} is ready ({time.monotonic() - started:.1f} s)")
        builder.uses.hold(place)
    return str(python_of(place))


def _build(place: Path, locked: Mapping[str, Any]) -> None:
    python = find_python(locked["python"])
    places.clear(place)
    place.mkdir(mode=0o700)
    try:
        (place / "requirements.txt").write_text("\n".join((*locked["lock"], "")))
        _uv(locked, "venv", "--no-project", "--python", python, str(place / "venv"))
        texts = ["--no-deps", "-r", str(place / "requirements.txt")]
        _uv(locked, "pip", "install", "--python", str(python_of(place)), *texts)
    except BaseException:
        places.clear(place)
        raise
    (place / ".ready").touch()


def _uv(locked: Mapping[str, Any], *arguments: str) -> None:
    words = uv_words(arguments)
    if words is not None:
        raise EnvError(
            f"can't build a version's Env from its lock for Python {locked['python']}:\n{words}", advice(words)
        )
