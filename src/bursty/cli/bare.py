"""A group of commands without one of them: its list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from bursty.errors import ConfigError


def list_unless(context: typer.Context, listing: Callable[..., None], **options: Any) -> None:
    """``bursty versions --json`` is ``bursty versions list --json``. Raises ``ConfigError`` for options before a
    command, which would be lost."""
    if context.invoked_subcommand is None:
        listing(**options)
    elif any(options.values()):
        raise ConfigError(
            f"options stand before {context.invoked_subcommand!r}",
            f"Write them behind it: {context.command_path} {context.invoked_subcommand} …",
        )
