"""One attempt at a run, in the child: the job's function with its inputs and its ``Run``."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from bursty.errors import ConfigError
from bursty.runtime.describe import load_module
from bursty.runtime.execute import resolve
from bursty.runtime.run import Run
from bursty.runtime.strays import no_strays


def run_job(target: str, reference: str, about: str, files: Mapping[str, str]) -> None:
    """Call a job.

    ``target``: the module or file that declares it; ``reference``: ``module:qualname`` of its function. ``about``: JSON
    (id, job, app, version, attempt, inputs, folder). ``files``: local paths of uploaded inputs by their digest.
    """
    from bursty.forms.convert import run_parameter, to_arguments

    facts: dict[str, Any] = json.loads(about)
    load_module(target)
    function: Callable[..., Any] = resolve(reference)
    run = Run(**facts)
    arguments = to_arguments(function, run.inputs, files)
    name = run_parameter(function)
    with no_strays():
        result = function(**arguments, **({name: run} if name else {}))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if inspect.iscoroutine(result):
        result.close()
        raise ConfigError("a job can't be an async function", "Wrap it: def job(run): asyncio.run(coroutine(run)).")
    if result is not None:
        _save_result(run, result)


def _save_result(run: Run, result: Any) -> None:
    """What a job returns is kept too: as a table when it is one, else as JSON."""
    if hasattr(result, "columns") or hasattr(result, "to_batches"):
        run.save_table("result", result)
        return
    try:
        run.save_json("result", result)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the job returned {type(result).__name__}, which can't be kept: {error}",
            "Return nothing, a table or plain data; save anything else by run.save_file, run.save_table …",
        ) from error


def check_inputs(target: str, reference: str, inputs: Mapping[str, Any]) -> None:
    """Have the function's own types check validated inputs before a run is queued. Raises ``InputsInvalid``.

    Uploaded files are not brought here, so they are not looked at.
    """
    from bursty.forms.convert import check

    load_module(target)
    check(resolve(reference), inputs)
