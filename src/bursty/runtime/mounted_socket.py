"""What the processes of WSGI and of ASGI apps share: the socket that they listen at, and what they print."""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Any

BACKLOG = 1024
LOG_SECONDS = 5.0
"""How often what is printed gets a new allowance: calls have one (see ``supervise.link``), and this call is long."""


def listen(path: str) -> socket.socket:
    """Where the server connects to: it tries until this is there, so it comes when the app is ready."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(BACKLOG)
    return listener


def is_ours(connection: socket.socket) -> bool:
    """Whether a process of our own user is at the other end. (The socket lies in a folder that others can't enter.)"""
    if sys.platform == "linux":
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    else:  # LOCAL_PEERCRED of SOL_LOCAL gives a struct xucred, see unix(4)
        _, uid = struct.unpack("2I", connection.getsockopt(0, 1, 76)[:8])
    return uid == os.getuid()


def print_rest() -> None:
    """Pass on what was printed, lines without an end, too, and begin a new count of it."""
    for stream in (sys.stdout, sys.stderr):
        end: Any = getattr(stream, "end_call", stream.flush)
        end()
