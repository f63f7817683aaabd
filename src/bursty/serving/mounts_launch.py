"""Processes of mounted apps as long calls on workers of a session, so that calls and jobs are at hand inside."""

from __future__ import annotations

import re
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from bursty.endpoints import MountSpec
from bursty.engine.block import Failed, Options, Sealed
from bursty.engine.code import encode_function
from bursty.engine.encode import block_of_calls, encode_call
from bursty.engine.futures import CallFuture, FutureBlock
from bursty.engine.session import Session
from bursty.errors import RemoteError, WorkerLost
from bursty.runtime.faults import describe_error
from bursty.runtime.mounted import run_mounted
from bursty.serving.mounts_child import Launch
from bursty.values import Status, WorkerSpec

TRACEBACK_LINES = 16
CALL_NAME = re.compile(r"^call \d+, .*?\(worker w\d+, attempt \d+\): ", re.DOTALL)
IMPORT_FRAMES = re.compile(r' +File "[^"]*importlib[^"]*", line .*\n(    .*\n)*')


def engine_launch(session: Session, spec: MountSpec, *, target: str, app: str, version: str | None = None) -> Launch:
    """Starts processes of ``spec``'s app: the mount of the App named ``app`` that ``target`` declares.

    ``version``: the digest of the version that runs; ``None``: the code as it lies here. What a process prints has the
    label ``mount NAME NUMBER``. Each has a pool of its own: in one, the second might be queued behind the first, which
    never ends.
    """
    code = replace(encode_function(run_mounted, session.parts), label=f"mount {spec.name}")

    def launch(path: str, number: int) -> Future[Any]:
        variables = (("BURSTY_MOUNT", f"{spec.name}/{number}"),)
        worker = WorkerSpec(spec.function.env, spec.function.memory, variables=variables, version=version)
        session.build(worker)
        args = (target, app, spec.name, path, spec.threads, version or "")
        call = encode_call(code, args, {}, session.parts, None)
        block = block_of_calls(code, [call], Options(0, None, False, worker), number)
        [future] = FutureBlock(block, session.engine).futures()
        session.engine.submit(block)
        return _told(future)

    return launch


def _told(call: CallFuture[Any]) -> Future[Any]:
    """A future that says in words what became of the call: what the child raised is not opened here."""
    told = _Told(call)

    def done(_call: Any) -> None:
        outcome = None if call.cancelled() else call.sealed()
        if isinstance(outcome, Failed):
            told.set_exception(_without_call(outcome.error))
        elif isinstance(outcome, Sealed) and outcome.status is Status.ERROR:
            told.set_exception(_in_words(describe_error(outcome.payload)))
        else:
            told.set_result(None)

    call.add_done_callback(done)
    return told


class _Told(Future[Any]):
    def __init__(self, call: Future[Any]) -> None:
        super().__init__()
        self._call = call

    def cancel(self) -> bool:
        """Kill the process."""
        return self._call.cancel()


def _without_call(error: BaseException) -> BaseException:
    """What became of the process; that it is a call for the engine is of no use to readers."""
    return type(error)(CALL_NAME.sub("", error.message), error.hint) if isinstance(error, WorkerLost) else error


def _in_words(about: dict[str, Any]) -> RemoteError:
    """Errors of ours say what to do; of others, the end of the traceback tells where."""
    if about["type"].startswith("bursty."):
        return RemoteError(about["message"])
    lines = IMPORT_FRAMES.sub("", about["traceback"]).rstrip().splitlines()[-TRACEBACK_LINES:]
    return RemoteError("\n".join([f"{about['type']}: {about['message']}", *lines]))
