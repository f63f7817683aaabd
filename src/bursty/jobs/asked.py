"""What is asked of ``Runs``, checked before anything is done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from bursty.errors import ConfigError
from bursty.records import RunRecord
from bursty.units import check_priority

MAX_KEY = 500
"""Characters of an idempotency key."""
OWN_KEYS = "bursty:"
"""What the keys begin with that bursty gives itself: to a schedule's fires, to runs that runs start."""


def check_asked(inputs: object, key: object, priority: object, delay: object, *, own_key: bool) -> None:
    """The arguments of a submit, whatever came in. ``own_key``: the key is one that bursty made.

    Raises ``ConfigError``.
    """
    if inputs is not None and not isinstance(inputs, Mapping):
        raise ConfigError(f"inputs are names and values, not {inputs!r:.100}", 'Give a dict: {"growth": 0.1}.')
    for name in cast("Mapping[object, object]", inputs or {}):
        if not isinstance(name, str):
            raise ConfigError(f"the name of an input is text, not {name!r:.100}")
    if priority is not None:
        check_priority(priority)
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < math.inf:
        raise ConfigError(f"a delay is a number of seconds from 0, not {delay!r:.100}")
    if key is not None:
        _check_key(key, own_key)


def _check_key(key: object, own: bool) -> None:
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY or "\0" in key:
        raise ConfigError(
            f"a key is text of 1 to {MAX_KEY} characters, not {key!r:.100}", "Say, what the run is of: order-4711."
        )
    if key.startswith(OWN_KEYS) and not own:
        raise ConfigError(f"{key!r:.100} can't be a key: those with {OWN_KEYS!r} are bursty's own", "Take another one.")


def check_same(found: RunRecord, asked: RunRecord) -> None:
    """Whether the run that has the key already is what was asked for. Raises ``ConfigError``."""
    if (found.job, found.inputs_hash) == (asked.job, asked.inputs_hash):
        return
    what = "other inputs" if found.job == asked.job else f"another job, {found.job!r}"
    raise ConfigError(
        f"the key {asked.idempotency_key!r} belongs to run {found.id} with {what}",
        "Take another key, or ask for the same again to get that run.",
    )
