"""Losses in words: what happened to a worker, with which call, and what the user can change."""

from __future__ import annotations

import signal

from bursty.engine.block import Block
from bursty.errors import BackendError, BurstyError, CallTimeout, MemoryLimit, WorkerLost
from bursty.units import format_bytes, format_seconds
from bursty.values import Layout, Loss

SHOWN = 200


def describe_input(block: Block, index: int) -> str:
    """The call's position and arguments; of encoded ones what was noted before (values are not opened here)."""
    if block.layout is Layout.EACH:
        return f"call {block.first + index}, {block.code.label}({block.arguments[index].shown})"
    value = block.arguments[index]
    text = f"{block.code.label}({value!r})" if block.layout is Layout.ITEMS else f"{block.code.label}{value!r}"
    if len(text) > SHOWN:
        text = text[:SHOWN] + "…"
    return f"call {block.first + index}, {text}"


def loss_error(loss: Loss, block: Block, index: int, worker: int, attempt: int) -> BurstyError:
    """The error that is the outcome of a call whose worker was lost."""
    call = f"{describe_input(block, index)} (worker w{worker}, attempt {attempt})"
    output = f"\n  Last words of the worker:\n{_indent(loss.output)}" if loss.output.strip() else ""
    match loss.kind:
        case "timeout":
            limit = format_seconds(loss.limit or 0)
            return CallTimeout(
                f"{call}: killed after its time limit of {limit}{output}",
                "Give it more time (timeout=), or less work a call.",
            )
        case "memory":
            limit = format_bytes(loss.limit or 0)
            return MemoryLimit(
                f"{call}: its worker went over the memory limit of {limit} and was killed{output}",
                "Give workers more memory (memory=), or less data a call.",
            )
        case "signal":
            return WorkerLost(f"{call}: {_signal_words(loss.code or 0)}{output}", _signal_hint(loss.code or 0))
        case "exit":
            return WorkerLost(
                f"{call}: its worker exited with code {loss.code} in the middle of it{output}",
                "Something called os._exit; return a value or raise an error instead.",
            )
        case "start" if loss.limit:
            return WorkerLost(
                f"{call}: its worker began no call within {format_seconds(loss.limit)}{output}",
                "The import of the function's module hangs or takes very long: try it in a fresh python.",
            )
        case "start":
            return WorkerLost(
                f"{call}: no worker could be started: {loss.detail or 'it ended before it was ready'}{output}",
                "See the words above; often a module that can't be imported, or a full process table.",
            )
        case _:
            return WorkerLost(
                f"{call}: its worker went away ({loss.kind}{': ' + loss.detail if loss.detail else ''}){output}",
                "Run it again; if it stays so, look at the machine (memory, disk, network).",
            )


def _signal_words(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number == signal.SIGSEGV:
        return f"its worker crashed ({name}: a memory fault in C code)"
    return f"its worker was killed by {name}"


def _signal_hint(number: int) -> str:
    if number == signal.SIGKILL:
        return "Often the system ran out of memory: use fewer workers, or set memory= to see which call it is."
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT):
        return "A package's C code failed; try the call alone, and another version of the package."
    return "Look for who sends it."


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-20:])


def closed_error(label: str) -> BurstyError:
    """For calls that are asked for when the executor is closed or broken."""
    return BackendError(f"{label}: the executor was shut down before this call had an outcome")
