"""What the composition root fills and lower layers use: it may be imported by all, and imports nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

desk: list[Callable[[Any], Any]] = []
"""Who answers ``runtime.desk`` in a process that is no worker: frame to frame; at most one."""
