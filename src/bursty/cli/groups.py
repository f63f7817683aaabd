"""The groups of commands: runs, versions, models, schedules. Each parses and delegates."""

from __future__ import annotations

import typer

from bursty.cli import models, runs, schedules, versions


def register(app: typer.Typer) -> None:
    """Add the groups to the command line."""
    for module in (runs, versions, models, schedules):
        app.add_typer(module.app)
