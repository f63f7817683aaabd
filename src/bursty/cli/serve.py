"""``bursty worker`` and ``bursty scheduler``: what goes on until it is done, or until a signal asks for its end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Generator
from dataclasses import asdict

from bursty.cli.ending import SIGNALS
from bursty.cli.outcome import numbers_of, run_json
from bursty.cli.telling import say, told
from bursty.cli.terminal import console, print_json
from bursty.jobs.worker import WorkerPlan
from bursty.stage import Stage


@contextlib.contextmanager
def stopping(stop: Callable[[], None]) -> Generator[None]:
    """Inside, the first signal calls ``stop`` (on a thread: handlers must not wait for locks); a second one ends the
    process as it would without us."""
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def take(number: int, _frame: object) -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        say(f"{signal.Signals(number).name}: ending in good order; again ends it at once")
        threading.Thread(target=stop, name="bursty-stop", daemon=True).start()

    for number in SIGNALS:
        signal.signal(number, take)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def work(*, stay: bool, slots: int, app: str | None, as_json: bool) -> None:
    """``bursty worker``."""
    with told(), Stage(slots=slots, say=say) as stage:
        worker = stage.worker(WorkerPlan(slots=slots, stay=stay, app=app, secrets=stage.secrets()))
        say(f"working: {slots} run{'s' * (slots != 1)} at once, state {stage.state.url}")
        with stopping(worker.stop):
            tally = worker.run()
        left = stage.state.pending(app)
    if as_json:
        print_json({**asdict(tally), "left": left.due + left.later + left.running})
        return
    parts = [f"[bold]{tally.ended:,}[/] run{'s' * (tally.ended != 1)} ended"]
    if tally.retried:
        parts.append(f"{tally.retried:,} queued again")
    if tally.stale:
        parts.append(f"{tally.stale:,} taken over by others")
    parts.append("nothing is left" if left.idle else f"{left.due + left.later + left.running:,} left")
    console(stderr=True).print(f"[green]✓[/] {', '.join(parts)}")


def schedule(*, once: bool, as_json: bool) -> None:
    """``bursty scheduler``."""
    with told(), Stage(say=say) as stage:
        scheduler = stage.scheduler()
        if not once:
            say(f"scheduling: {sum(1 for _ in scheduler.declared())} schedules, state {stage.state.url}")
            with stopping(scheduler.stop):
                scheduler.run()
            return
        queued = scheduler.tick()
        stage.outbox.deliver()
        numbers = numbers_of(stage, queued)
    if as_json:
        print_json([run_json(run, numbers.get(run.version)) for run in queued])
    else:
        words = f"{len(queued)} run{'s' * (len(queued) != 1)}" if queued else "nothing was due"
        console(stderr=True).print(f"[green]✓[/] {f'queued {words}' if queued else words}")
