"""What ``App.endpoint`` and ``App.mount`` are given, as specs; and specs as JSON, for a version's description."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from bursty.endpoints import DAY, Auth, Batching, Default, EndpointSpec, Fallback, Log, MountSpec
from bursty.errors import ConfigError
from bursty.units import parse_bytes, parse_seconds
from bursty.values import FunctionSpec

DEADLINE = 10.0
LEAST_LIMIT = 1.0
LIMIT_FACTOR = 10
"""The hard limit of an endpoint that names none: ten times its deadline, a second at least."""
RESERVED = ("/docs", "/health", "/labels", "/metrics", "/openapi.json", "/ready")
_PATH = re.compile(r"/|(/([A-Za-z0-9._~-]+|\{[A-Za-z_][A-Za-z0-9_]*\}))+")


def endpoint_spec(function: FunctionSpec, path: str, options: Mapping[str, Any], doc: str) -> EndpointSpec:
    """Raises ``ConfigError``."""
    check_path(path)
    deadline = _seconds(options.get("deadline"), DEADLINE)
    limit = function.timeout or max(LEAST_LIMIT, LIMIT_FACTOR * deadline)
    if limit < deadline:
        raise ConfigError(f"timeout={limit:g} s is shorter than deadline={deadline:g} s", "Make it longer.")
    return EndpointSpec(
        replace(function, timeout=limit),
        path,
        deadline,
        fallback=_fallbacks(options.get("fallback")),
        batch=_batching(options.get("batch")),
        concurrency=_at_least("concurrency", options.get("concurrency"), 1),
        spares=_at_least("spares", options.get("spares"), 0) or 0 if options.get("spares") is not None else 1,
        cache_ttl=_seconds(options.get("cache_ttl"), DAY),
        auth=_auth(options.get("auth", "token")),
        log=_log(options.get("log", True)),
        max_body=parse_bytes(options.get("max_body")) or 16 << 20,
        chunk=_at_least("chunk", options.get("chunk"), 1) or 2_000,
        title=options.get("title") or function.name.replace("_", " ").capitalize(),
        description=options.get("description") or doc,
    )


def mount_spec(function: FunctionSpec, path: str, app: Any, options: Mapping[str, Any]) -> MountSpec:
    """Raises ``ConfigError``."""
    check_path(path)
    if "{" in path:
        raise ConfigError(f"a mounted app can't lie at {path!r}", "Mount it at a plain path such as /tools.")
    if not callable(app):
        raise ConfigError(f"{app!r} is no web app", "Mount a WSGI app (Flask, Django) or an ASGI app (FastAPI).")
    kind = options.get("kind") or ("asgi" if _is_asgi(app) else "wsgi")
    if kind not in ("wsgi", "asgi"):
        raise ConfigError(f"kind can't be {kind!r}", "Known: wsgi, asgi.")
    return MountSpec(
        function,
        path,
        kind,
        processes=_at_least("processes", options.get("processes"), 1) or 1,
        threads=_at_least("threads", options.get("threads"), 1) or 8,
        auth=_auth(options.get("auth", "token")),
    )


def check_path(path: str) -> None:
    """``/predict``, ``/rank/{user}``. Raises ``ConfigError``."""
    if not isinstance(path, str) or not _PATH.fullmatch(path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"{path!r} can't be a path", 'Write it like "/predict" or "/rank/{user}", without a / at its end.'
        )
    if path in RESERVED:
        raise ConfigError(f"{path} is bursty's own", f"Choose another path than {', '.join(RESERVED)}.")


def _is_asgi(app: Any) -> bool:
    return inspect.iscoroutinefunction(app) or (
        not inspect.isfunction(app) and inspect.iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004
    )


def _seconds(value: float | str | None, default: float) -> float:
    found = parse_seconds(value)
    return default if found is None else found


def _at_least(what: str, value: Any, least: int) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise ConfigError(f"{what} must be a whole number from {least}, not {value!r}")
    return value


def _auth(value: Any) -> Auth:
    if value not in ("token", "public"):
        raise ConfigError(f"auth can't be {value!r}", 'Known: "token" (the default), "public".')
    return value


def _fallbacks(value: Any) -> tuple[Fallback, ...]:
    """One or several; a plain string is the name of one."""
    several = cast("list[Any]", value) if isinstance(value, list | tuple) else [value]
    found: list[Fallback] = []
    for one in several if value is not None else ():
        if isinstance(one, Default):
            try:
                json.dumps(one.value, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"the default {one.value!r:.80} is no JSON: {error}", "Use plain data.") from None
        elif one not in ("last_good", "last_good_any"):
            raise ConfigError(
                f"fallback can't be {one!r:.80}",
                'Known: "last_good", "last_good_any", Default(VALUE), or a list of them.',
            )
        found.append(one)
    return tuple(found)


def _batching(value: Any) -> Batching | None:
    """``True``, a size, or ``Batching``."""
    match value:
        case None | False:
            return None
        case True:
            return Batching()
        case Batching(size, wait):
            batching = Batching(_at_least("the size of a batch", size, 1) or 1, parse_seconds(wait) if wait else 0.0)  # pyright: ignore[reportArgumentType]
        case _:
            batching = Batching(_at_least("batch", value, 1) or 1)
    return batching


def _log(value: Any) -> Log | None:
    match value:
        case None | False:
            return None
        case True:
            return Log()
        case Log():
            return replace(
                value, redact=tuple(value.redact), key=tuple(value.key), keep=_seconds(value.keep, value.keep)
            )
        case _:
            raise ConfigError(f"log can't be {value!r:.80}", "Known: True, False, Log(...).")


def to_json(spec: EndpointSpec | MountSpec) -> dict[str, Any]:
    """As plain data; ``msgspec.convert`` gives it back."""
    import msgspec

    return msgspec.to_builtins(spec)
