"""Ids of runs and requests: UUIDv7 (RFC 9562, section 5.7), so that order by id is order by time."""

from __future__ import annotations

import os
import struct
import threading
import time

_lock = threading.Lock()
_last = [0]
_chance: list[int] = []
"""Random numbers of 64 bits, not used yet: asking the system for each one would cost more than all the rest."""
_STOCK = 512


def new_id() -> str:
    """A new one, larger than all that this process made before.

    48 bits of milliseconds, 12 of their fraction (RFC 9562, section 6.2, method 3), 62 of chance.
    """
    with _lock:
        ticks = max(time.time_ns() * 4096 // 1_000_000, _last[0] + 1)  # milliseconds with 12 bits behind the point
        _last[0] = ticks
        if not _chance:
            _chance.extend(struct.unpack(f"{_STOCK}Q", os.urandom(8 * _STOCK)))
        random = _chance.pop() & ((1 << 62) - 1)
    text = f"{(ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0b10 << 62 | random:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


os.register_at_fork(after_in_child=_chance.clear)  # or parent and child would go on with the same
