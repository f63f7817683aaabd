"""What state stores keep as text: strings that every database takes, and small JSON objects."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bursty.changes import Change
from bursty.records import RUN_FIELDS, RunRecord

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """The text with what PostgreSQL or UTF-8 can't hold (NUL, half a surrogate pair) replaced by U+FFFD: an error
    message with binary garbage in it must not keep a run from ending."""
    return text if text.isascii() and "\0" not in text else _UNSTORABLE.sub("�", text)


def storable_run(run: RunRecord) -> RunRecord:
    """The run with all its texts storable."""
    texts = {name: value for name in RUN_FIELDS if isinstance(value := getattr(run, name), str)}
    changed = {name: fit for name, value in texts.items() if (fit := storable(value)) is not value}
    return replace(run, **changed) if changed else run


def storable_then(change: Change) -> dict[str, Any]:
    """What a change assigns, all its texts storable."""
    return {name: storable(value) if isinstance(value, str) else value for name, value in change.then.items()}


def to_json(data: Mapping[str, Any]) -> str:
    """JSON in ASCII, so that it is storable whatever is in it. ``TypeError`` for what isn't JSON-able."""
    return json.dumps(dict(data), separators=(",", ":"))


def from_json(text: str) -> dict[str, Any]:
    """What ``to_json`` was given."""
    return json.loads(text)
