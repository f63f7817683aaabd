"""Futures as arguments: the payload that fills a slot."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import Any

from bursty.engine.block import Failed, Sealed
from bursty.engine.block import payload_of as plain_payload
from bursty.engine.futures import CallFuture
from bursty.values import Payload, Status


def payload_of(future: CallFuture[Any]) -> Payload:
    """The value of a done future as bytes or references. Raises what the call raised, or ``CancelledError``."""
    if future.cancelled():
        raise CancelledError("a call that this one depends on was cancelled")
    result = future.sealed()
    if isinstance(result, Failed):
        raise result.error
    if isinstance(result, Sealed):
        if result.status is Status.ERROR:
            result.open()
        return result.payload
    return plain_payload(result)
