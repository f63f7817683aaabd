"""What the composition root fills and lower layers use: it may be imported by all, and imports nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

desk: list[Callable[[Any], Any]] = []
"""Who answers ``runtime.desk`` in a process that is no worker: frame to frame; at most one."""
runs: list[Any] = []
"""Who queues runs for ``job.start()`` where it is not the stage that the settings say: at most one."""
