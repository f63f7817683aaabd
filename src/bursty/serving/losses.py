"""Why a worker is gone, in words."""

from __future__ import annotations

from bursty.units import format_bytes
from bursty.values import Loss


def words_of(loss: Loss) -> str:
    """Why a worker is gone, for whoever asked: nothing that it printed."""
    match loss.kind:
        case "signal":
            return f"its worker was killed by signal {loss.code}"
        case "exit":
            return f"its worker ended itself with code {loss.code}"
        case "memory":
            return f"its worker needed more than its {format_bytes(loss.limit or 0)} of memory"
        case "timeout":
            return f"its worker was stopped after {loss.limit or 0:g} s"
        case _:
            return f"its worker was lost ({loss.kind})"


def with_output(loss: Loss) -> str:
    """The same for the server's log, with the last that it wrote."""
    more = "\n".join(filter(None, (loss.detail, loss.output.strip())))
    return f"{words_of(loss)}\n{more}" if more else words_of(loss)
