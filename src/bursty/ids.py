"""Ids of runs and requests: UUIDv7 (RFC 9562, section 5.7), so that order by id is order by time."""

from __future__ import annotations

import os
import threading
import time
import uuid

_lock = threading.Lock()
_last = [0]


def new_id() -> str:
    """A new one, larger than all that this process made before.

    48 bits of milliseconds, 12 of their fraction (RFC 9562, section 6.2, method 3), 62 of chance.
    """
    with _lock:
        ticks = max(time.time_ns() * 4096 // 1_000_000, _last[0] + 1)  # milliseconds with 12 bits behind the point
        _last[0] = ticks
    random = int.from_bytes(os.urandom(8)) & ((1 << 62) - 1)
    value = (ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0b10 << 62 | random
    return str(uuid.UUID(int=value))
