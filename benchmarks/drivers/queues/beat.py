"""What every peer's no-op run does: tell the driver its number and the time, through a named pipe.

A monotonic clock counts the same in all processes of a machine. Standard library only.
"""

import os
import struct
import time

PIPE = "BURSTY_BENCH_BEATS"
BEAT = struct.Struct("<qq")

_open: list[int] = []


def beat(number: int) -> None:
    """The run with this number has begun."""
    if not _open:
        _open.append(os.open(os.environ[PIPE], os.O_WRONLY))
    os.write(_open[0], BEAT.pack(number, time.monotonic_ns()))
