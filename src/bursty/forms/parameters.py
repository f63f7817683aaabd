"""What every parameter must be that people or programs fill in: of jobs and of endpoints."""

from __future__ import annotations

import inspect

from bursty.errors import ConfigError


def check_parameter(where: str, parameter: inspect.Parameter, example: str) -> None:
    """``where``: names it in words; ``example``: hints that would do. Raises ``ConfigError``."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise ConfigError(f"{where} takes any number of values", "Name each, or take a list or a dict.")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise ConfigError(f"{where} can't be given by name", "Inputs are given by name: remove the '/'.")
    if parameter.annotation is parameter.empty:
        raise ConfigError(f"{where} has no type hint", f"Write what it is: {example}")
