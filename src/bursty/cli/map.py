"""``bursty map``: a function of a file over the rows of a table."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bursty.cli.ending import Ending
from bursty.cli.outputs import Failures, Writer
from bursty.cli.rows import Row, Table, format_of, open_table
from bursty.cli.writers import open_writer
from bursty.config import load_settings
from bursty.engine.executor import Executor
from bursty.errors import BackendError, BurstyError, ConfigError, EnvError, RemoteError, ResumeMismatch, StoreError
from bursty.runtime.rows import Noted, Problem, RowCaller, RowTarget, describe_rows
from bursty.values import Env

MAX_GROUPS = 1000
FATAL = (BackendError, EnvError, StoreError, ResumeMismatch)
"""What a result may be that says that no call will go better."""


@dataclass(frozen=True, slots=True)
class MapRequest:
    """The command line."""

    target: str
    inputs: str
    output: str
    failures: str | None = None
    in_format: str | None = None
    out_format: str | None = None
    retries: int | None = None
    timeout: str | None = None
    memory: str | None = None
    workers: int | None = None
    backend: str | None = None
    requirements: str | None = None
    resume: str | None = None
    limit: int | None = None


@dataclass(slots=True)
class Summary:
    """What became of a map. ``groups``: failures by kind and message, with their number and first row."""

    output: str
    failures: str
    resume: str | None
    rows: int = 0
    failed: int = 0
    nulls: int = 0
    seconds: float = 0.0
    groups: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    first: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "succeeded": self.rows - self.failed,
            "failed": self.failed,
            "nulls": self.nulls,
            "seconds": round(self.seconds, 3),
            "output": self.output,
            "failures": self.failures if self.failed else None,
        }


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a map, with what was done until then."""

    def __init__(self, summary: Summary) -> None:
        super().__init__()
        self.summary = summary


def run_map(request: MapRequest) -> Summary:
    """Raises ``BurstyError`` when nothing could be done, ``Interrupted`` after Ctrl-C; then there is no output."""
    target = parse_target(request.target)
    out_format = format_of(request.output, request.out_format, "--out-format")
    failures = request.failures or _failures_path(request.output, target)
    _check_paths(request, failures)
    table = open_table(request.inputs, request.in_format)
    summary = Summary(request.output, failures, request.resume)
    with contextlib.ExitStack() as stack:
        writer = open_writer(request.output, out_format, table)
        stack.callback(writer.discard)
        failed = Failures(failures, table)
        stack.callback(failed.discard)
        # What calls print goes to stderr: stdout is for results and summaries.
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        ending = Ending()
        stack.enter_context(ending.listening())
        began = time.perf_counter()
        try:
            _run(request, target, table, writer, failed, summary, ending)
        except KeyboardInterrupt:
            raise Interrupted(summary) from None
        finally:
            summary.seconds = time.perf_counter() - began
        writer.finish()
        failed.finish()
    return summary


def parse_target(text: str) -> RowTarget:
    """``path/to/file.py::function`` or ``package.module::function``."""
    module, mark, function = text.partition("::")
    if not mark or not module or not function:
        raise ConfigError(f"{text!r} names no function", "Write FILE::FUNCTION, such as app.py::simulate.")
    if not module.endswith(".py"):
        if "/" in module or Path(module).exists():
            raise ConfigError(f"{module!r} is no Python file", "Name a .py file, or a module such as package.module.")
        return RowTarget(module, function, str(Path.cwd()))
    path = Path(module).absolute()
    if not path.is_file():
        raise ConfigError(f"there is no file {module!r}", "Name the Python file that holds the function.")
    return RowTarget(str(path), function, str(path.parent))


def _failures_path(output: str, target: RowTarget) -> str:
    return f"{target.function if output == '-' else output}.failures.jsonl"


def _check_paths(request: MapRequest, failures: str) -> None:
    places = {"the output": request.output, "the file of failures": failures}
    if os.path.realpath(failures) == os.path.realpath(request.output):
        raise ConfigError("failures and results can't go to the same file", "Name another one with --failures.")
    for what, path in places.items():
        if "-" not in (path, request.inputs) and os.path.realpath(path) == os.path.realpath(request.inputs):
            raise ConfigError(f"{what} would replace the inputs, {request.inputs!r}", "Name another file.")


def _run(
    request: MapRequest,
    target: RowTarget,
    table: Table,
    writer: Writer,
    failed: Failures,
    summary: Summary,
    ending: Ending,
) -> None:
    own_env = Env(request.requirements) if request.requirements else None
    with Executor(_backend(request), env=own_env, progress=False) as first:
        about = _describe(first, target, table, request)
        spec: dict[str, Any] = about["spec"] or {}
        caller = RowCaller(
            target,
            table.kind,
            all_columns=table.columns or (),
            columns=about["columns"] or (),
            typed=writer.typed,
            source=about["source"],
        )
        executor = first.options(
            retries=request.retries if request.retries is not None else spec.get("retries"),
            timeout=request.timeout or spec.get("timeout"),
            memory=request.memory or spec.get("memory"),
            env=own_env or _env_of(spec, target),
            idempotent=spec.get("idempotent"),
            progress=None,
        )
        pending: deque[Row] = deque()
        # Counting reads the file once more: only for a bar that somebody sees.
        count = table.count() if sys.stderr.isatty() else None
        limit = request.limit
        inputs = _Inputs(ending.reading(itertools.islice(table, limit)), pending)
        if count is not None:
            inputs = _Counted(inputs, count if limit is None else min(limit, count))
        results = executor.map(caller, inputs, buffersize=table.ahead, return_exceptions=True, resume=request.resume)
        with ending.killing(first.kill):
            for result in results:
                ending.check()
                _take(pending.popleft(), result, writer, failed, summary)


class _Inputs:
    """What the engine pulls. It keeps each row until its result is there."""

    def __init__(self, rows: Iterable[Row], pending: deque[Row]) -> None:
        self._rows = rows
        self._pending = pending

    def __iter__(self) -> Iterator[Any]:
        for row in self._rows:
            self._pending.append(row)
            yield row.item


class _Counted:
    """Inputs whose number is known, for the progress bar."""

    def __init__(self, inputs: _Inputs, count: int) -> None:
        self._inputs = inputs
        self._count = count

    def __iter__(self) -> Iterator[Any]:
        return iter(self._inputs)

    def __len__(self) -> int:
        return self._count


def _take(row: Row, result: Any, writer: Writer, failed: Failures, summary: Summary) -> None:
    """One result, in the order of the inputs: to the output or to the failures."""
    summary.rows += 1
    if isinstance(result, BaseException):
        if not isinstance(result, Exception) or isinstance(result, FATAL):
            raise result
        problem = _in_words(result)
    elif isinstance(result, Noted):
        summary.nulls += result.nulls
        result, problem = result.value, None
    elif isinstance(result, Problem):
        problem = (result.kind, result.message, "")
    else:
        problem = None
    if problem is None:
        writer.add(row, result)
        return
    kind, message, trace = problem
    failed.add(row, kind, message, trace)
    summary.failed += 1
    key = kind, (message.splitlines() or [""])[0][:200]
    if key in summary.groups or len(summary.groups) < MAX_GROUPS:
        summary.groups[key] += 1
        summary.first.setdefault(key, row.number)


_WHICH_CALL = re.compile(r"call \d+.*?\(worker \w+, attempt \d+\): ", re.DOTALL)
"""How the engine begins what it says of a lost call; its row is known better here."""


def _in_words(error: Exception) -> tuple[str, str, str]:
    if isinstance(error, RemoteError) and error.type_name:
        return error.type_name, error.message, error.remote_traceback
    message = str(error)
    if isinstance(error, BurstyError):
        message = _WHICH_CALL.sub("", str(error), count=1)
    trace = error.__cause__.remote_traceback if isinstance(error.__cause__, RemoteError) else ""
    return type(error).__name__, message, trace


def _backend(request: MapRequest) -> str:
    url = load_settings(backend=request.backend or "").backend
    if request.workers is None:
        return url
    if request.workers < 1:
        raise ConfigError(f"--workers must be 1 or more, not {request.workers}")
    base, _, query = url.partition("?")
    options = [option for option in query.split("&") if option and not option.startswith("workers=")]
    return f"{base}?{'&'.join([*options, f'workers={request.workers}'])}"


def _env_of(spec: dict[str, Any], target: RowTarget) -> Env | None:
    env: dict[str, Any] | None = spec.get("env")
    if not env:
        return None
    requirements: Any = env["requirements"]
    beside = Path(target.folder) / requirements if isinstance(requirements, str) else None
    if beside is not None and not Path(requirements).exists() and beside.exists():
        requirements = str(beside)
    return Env(requirements, python=env["python"], files=env["files"])


def _describe(executor: Executor, target: RowTarget, table: Table, request: MapRequest) -> dict[str, Any]:
    """Ask a worker about the function: only workers import user modules."""
    about: dict[str, Any] = executor.submit(describe_rows, target, table.columns).result()
    if "problem" in about:
        raise _problem(about, request)
    unused = [name for name in table.columns or () if name not in about["columns"]]
    if unused:
        shown = ", ".join(unused[:8]) + (f" and {len(unused) - 8} more" if len(unused) > 8 else "")
        print(f"not passed to {target.function}(), which has no such parameters: {shown}", file=sys.stderr)
    return about


def _problem(about: dict[str, Any], request: MapRequest) -> BurstyError:
    module, _, function = request.target.partition("::")
    if about["problem"] == "import":
        lines = "\n".join(f"    {line}" for line in about["traceback"].rstrip().splitlines()[-8:])
        hint = "Correct it, then run this again; no row was touched."
        if about["type"] == "ModuleNotFoundError":
            hint = "Install that package here, or name the file that requires it: --requirements requirements.txt."
        return ConfigError(f"{module} can't be imported:\n{lines}", hint)
    if about["problem"] == "name":
        import difflib

        functions: list[str] = about["functions"]
        close = difflib.get_close_matches(function, functions, 1)
        known = ", ".join(functions) or "none"
        hint = f"Did you mean {close[0]}?" if close else f"Its functions: {known}."
        return ConfigError(f"{module} has no function {function!r}", hint)
    if about["problem"] == "columns":
        missing = ", ".join(about["missing"])
        return ConfigError(
            f"{function}() needs {missing}, and {request.inputs} has no such column",
            f"Columns become arguments by name. The function's parameters: {', '.join(about['parameters'])}.",
        )
    return ConfigError(f"{function}() can't be mapped: {about['message']}")
