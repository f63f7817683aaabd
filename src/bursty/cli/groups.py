"""The groups of commands: runs, versions, models, schedules and more. Each parses and delegates."""

from __future__ import annotations

import typer

from bursty.cli import endpoints, models, predictions, runs, schedules, tokens, versions


def register(app: typer.Typer) -> None:
    """Add the groups to the command line."""
    for module in (runs, versions, models, schedules, endpoints, predictions, tokens):
        app.add_typer(module.app)
