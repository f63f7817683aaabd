"""The desk: where code in a worker asks for what lies outside (a run's outputs, cached data, models).

A question is a ``Frame`` whose meta names its ``kind``; large data travels as a path in a folder that both sides see.
In a worker it goes through the host; in a user's own process to the desk that the composition root installed.
"""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Any

from bursty import slots
from bursty.errors import DeskError
from bursty.runtime.host import current_host
from bursty.values import Buffer, Frame


def ask(kind: str, parts: Sequence[Buffer] = (), /, **meta: Any) -> Frame:
    """Ask and wait for the answer. Raises ``DeskError``; in a process that is no worker what the desk itself raises."""
    question = Frame({**meta, "kind": kind}, parts)
    host = current_host()
    if host is None:
        if not slots.desk:
            raise DeskError(f"nobody answers {kind!r} here", "import bursty first")
        return slots.desk[0](question)
    answers: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    number = host.ask(question, answers.put)
    answer = answers.get()
    host.forget(number)
    if (error := answer.meta.get("error")) is not None:
        raise DeskError(error, answer.meta.get("hint", ""))
    return answer


def tell(kind: str, /, **meta: Any) -> None:
    """Say something that needs no answer."""
    host = current_host()
    if host is not None:
        host.forget(host.ask(Frame({**meta, "kind": kind}), _ignore))
    elif slots.desk:
        slots.desk[0](Frame({**meta, "kind": kind}))


def _ignore(_answer: Frame) -> None:
    pass
