"""A run made in this process, or by others, while somebody looks: its log as it comes, how far it is, Ctrl-C.

What the job prints goes to stdout and stderr as it would without bursty (with ``--json`` all of it to stderr); our own
words go to stderr.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sys
import threading
import time
from collections.abc import Generator
from typing import Any

from bursty.cli.ending import heard_by
from bursty.cli.terminal import console, short_id
from bursty.errors import StoreError
from bursty.jobs.logs import LogLine, Tail
from bursty.jobs.worker import Worker, WorkerPlan
from bursty.records import RunRecord, RunStatus
from bursty.stage import Stage

LOOK_SECONDS = 0.1
READ_SECONDS = 0.5
"""How often the stores are asked for news."""
ENDED = 0
"""Among signals: the worker has ended."""
AT_ONCE = 0.0
"""As the time at which a child is killed."""


class Voice:
    """Tells in lines what takes long, and of trouble. ``hidden``: lines that others tell better."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.hidden: set[str] = set()

    def __call__(self, line: str) -> None:
        if not self.quiet and line not in self.hidden:
            print(line, file=sys.stderr, flush=True)


class Bar:
    """How far the run is, on the last line of a terminal; nothing elsewhere."""

    def __init__(self, shown: bool) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self.shown = shown and sys.stderr.isatty()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=console(stderr=True),
            transient=True,
            redirect_stdout=False,  # stdout may be a file
            disable=not self.shown,
        )
        self._task = self._progress.add_task("queued", total=None, count="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, words: str, told: str | None) -> None:
        """``told``: the run's own progress, as JSON."""
        from rich.markup import escape

        data: dict[str, Any] = json.loads(told) if told else {}
        done, total = data.get("done", 0), data.get("total")
        label = data.get("label") or words
        count = "" if not data else f"{done:,g}" + (f"/{total:,g}" if total else "")
        self._progress.update(
            self._task, description=escape(label[:40]), total=total, completed=done if total else 0, count=count
        )

    def print(self, text: str, stderr: bool) -> None:
        """A line above it."""
        stream = sys.stderr if stderr else sys.stdout
        if self.shown and stream.isatty():
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=stream, flush=True)


class Watch:
    """Makes one run here, and follows it to its end, also when others have begun it; a store that is away for a while
    is asked again. ``all_stderr``: stdout is for JSON."""

    def __init__(self, stage: Stage, voice: Voice, *, all_stderr: bool = False) -> None:
        self._stage = stage
        self._voice = voice
        self._all_stderr = all_stderr
        self._failed: list[BaseException] = []
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.interrupted: int | None = None
        """The signal that asked for an end, if one did."""

    def follow(self, run: RunRecord) -> RunRecord:
        """The run once it is over; as it is, when somebody insisted on an end. Raises what the worker raised."""
        self._voice.hidden = {f"{run.job} {run.id}: {status}" for status in RunStatus}
        worker, thread = self._start(run)
        try:
            with heard_by(self._take), Bar(not self._voice.quiet) as bar:
                return self._loop(run, bar, worker)
        finally:
            worker.stop()
            thread.join(15)

    def _start(self, run: RunRecord) -> tuple[Worker, threading.Thread]:
        worker = self._stage.worker(WorkerPlan(only=run.id, secrets=self._stage.secrets()))

        def work() -> None:
            try:
                worker.run()
            except BaseException as error:
                self._failed.append(error)
            finally:
                self._signals.put(ENDED)

        thread = threading.Thread(target=work, name="bursty-worker", daemon=True)
        thread.start()
        return worker, thread

    def _loop(self, run: RunRecord, bar: Bar, worker: Worker) -> RunRecord:
        tail, looked, ended = Tail(self._stage.blobs, run.id), 0.0, False
        while True:
            if ended or time.monotonic() - looked >= READ_SECONDS:
                looked = time.monotonic()
                with self._patience():
                    run = self._stage.runs.get(run.id)
                    for line in tail.read(run.attempt):
                        self._print(bar, line)
                if run.is_final:
                    return run
                if self._failed:
                    raise self._failed[0]
                if ended and self.interrupted is not None:
                    return run
            attempt = worker.attempts.get((run.id, run.attempt))
            bar.show(_words(run), attempt.progress if attempt is not None else run.progress)
            with contextlib.suppress(queue.Empty):
                number = self._signals.get(timeout=LOOK_SECONDS)
                ended = ended or number == ENDED
                if number != ENDED:
                    self._end(run, number, worker)

    @contextlib.contextmanager
    def _patience(self) -> Generator[None]:
        try:
            yield
        except StoreError as error:
            self._voice(f"trying again: {error.message}")

    def _print(self, bar: Bar, line: LogLine) -> None:
        if not self._voice.quiet:
            prefix = "" if line.level in ("", "info") else f"{line.level}: "
            bar.print(prefix + line.text, self._all_stderr or line.stream == "stderr")

    # Signals

    def _take(self, number: int, _frame: object) -> None:
        self._signals.put(number)

    def _end(self, run: RunRecord, number: int, worker: Worker) -> None:
        """The first asks for an end, the second kills, the third leaves."""
        if self.interrupted is None:
            with self._patience():
                self._stage.runs.cancel(run.id)
                self.interrupted = number
                print(f"\rcancelling run {short_id(run.id)}; Ctrl-C again kills it", file=sys.stderr, flush=True)
            return
        attempts = list(worker.attempts.values())
        if not attempts or all(attempt.cancel_at == AT_ONCE for attempt in attempts):
            worker.stop()
        for attempt in attempts:
            attempt.cancel_at = AT_ONCE
            if attempt.future is not None:
                attempt.future.cancel()


def _words(run: RunRecord) -> str:
    """What a run does that says nothing itself."""
    if run.cancel_requested:
        return f"cancelling {run.job}"
    if run.status == RunStatus.QUEUED:
        return f"{run.job} is queued" if run.attempt == 0 else f"{run.job} will be tried again"
    return run.job
