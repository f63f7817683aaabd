"""The console script ``bursty``: parse and delegate."""

from __future__ import annotations


def main() -> None:
    """Run the command line of this process."""
    from bursty.cli.main import run

    run()
