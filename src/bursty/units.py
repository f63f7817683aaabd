"""Sizes and times as people write them: ``"2 GiB"``, ``"10 min"``; priorities."""

from __future__ import annotations

import math
import re
from numbers import Real

from bursty.errors import ConfigError

BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
SECONDS = {
    "": 1.0,
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "days": 86400.0,
}
MOST = 2.0**63
MOST_PRIORITY = 2**31 - 1
"""What every store can keep and sort."""
_SHAPE = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def _parse(value: str, units: dict[str, float] | dict[str, int], what: str, example: str) -> float:
    match = _SHAPE.fullmatch(value)
    if match is None or match[2].lower() not in units:
        raise ConfigError(f"{value!r} is no {what}", f"Write it like {example}.")
    return float(match[1]) * units[match[2].lower()]


def _number(value: object, units: dict[str, float] | dict[str, int], what: str, example: str) -> float:
    """A finite number above 0, of bytes or seconds."""
    if isinstance(value, str):
        number = _parse(value, units, what, example)
    elif not isinstance(value, bool) and isinstance(value, Real):
        number = float(value) if value < MOST else math.inf
    else:
        raise ConfigError(f"{value!r} is no {what}", f"Write it like {example}.")
    if not 0 < number < MOST:
        raise ConfigError(f"a {what} must be above 0 and not endless, not {value!r}", f"Write it like {example}.")
    return number


def check_priority(value: object) -> int:
    """A whole number, the same in all stores. Raises ``ConfigError``."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MOST_PRIORITY:
        raise ConfigError(
            f"a priority is a whole number from {-MOST_PRIORITY:,} to {MOST_PRIORITY:,}, not {value!r}",
            "0 is usual; higher goes first.",
        )
    return value


def parse_bytes(value: int | float | str | None) -> int | None:
    """``"2 GiB"`` or a number of bytes, as bytes; above 0. Raises ``ConfigError``."""
    if value is None:
        return None
    size = int(_number(value, BYTES, "size", '"512 MiB" or "2 GiB"'))
    if not size:
        raise ConfigError(f"a size must be at least one byte, not {value!r}")
    return value if isinstance(value, int) else size


def parse_seconds(value: float | str | None) -> float | None:
    """``"10 min"`` or a number of seconds, as seconds; above 0. Raises ``ConfigError``."""
    if value is None:
        return None
    return _number(value, SECONDS, "time", '"90 s", "10 min" or "2 h"')


def format_bytes(size: float) -> str:
    """``1536`` as ``1.5 KiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" or size == int(size) else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def format_seconds(seconds: float) -> str:
    """``0.0004`` as ``0.4 ms``, ``75`` as ``1 min 15 s``."""
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
