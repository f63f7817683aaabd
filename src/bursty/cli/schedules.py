"""``bursty schedules``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bursty.cli import complete
from bursty.cli.bare import list_unless
from bursty.cli.texts import help_of

if TYPE_CHECKING:
    from bursty.jobs.scheduler import ScheduleInfo, Schedules
    from bursty.stage import Stage

app = typer.Typer(
    name="schedules", help="Schedules of current versions: list, pause, resume, run.", rich_markup_mode="rich"
)

Key = Annotated[
    str,
    typer.Argument(metavar="SCHEDULE", help="APP/JOB/NUMBER, or a job's name.", autocompletion=complete.schedules),
]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@app.callback(invoke_without_command=True)
def default(context: typer.Context, as_json: Json = False) -> None:
    list_unless(context, list_, as_json=as_json)


def list_(as_json: Json = False) -> None:
    """All schedules of current versions, and when they fire next. bursty scheduler fires them.

    [bold]Example[/]  bursty schedules list
    """
    from rich.markup import escape

    from bursty.cli.terminal import columns, console, print_json, short_id, show, until
    from bursty.stage import Stage

    with Stage() as stage:
        found = _schedules(stage).list()
        now = stage.state.now()
    if as_json:
        print_json([_json(item) for item in found])
        return
    if not found:
        console(stderr=True).print("no current version declares a schedule")
        return
    table = columns("schedule", "when", "next", "newest run", fold=("when",))
    for item in found:
        following = (
            "[yellow]paused[/]" if item.paused else "never" if item.next_at is None else until(item.next_at, now)
        )
        table.add_row(escape(item.key), escape(item.words), following, short_id(item.run) if item.run else "")
    show(table)


def pause(key: Key, as_json: Json = False) -> None:
    """No fire until it is resumed.

    [bold]Example[/]  bursty schedules pause refresh
    """
    from bursty.stage import Stage

    with Stage() as stage:
        _schedules(stage).pause(key)
        _say(stage, key, "is paused", as_json)


def resume(key: Key, as_json: Json = False) -> None:
    """Fire again, from now on; what passed meanwhile is left out.

    [bold]Example[/]  bursty schedules resume refresh
    """
    from bursty.stage import Stage

    with Stage() as stage:
        _schedules(stage).resume(key)
        _say(stage, key, "is resumed", as_json)


def run(
    key: Key,
    detach: Annotated[bool, typer.Option("--detach", help="Only queue it: a worker makes it.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No log, no progress; how it ends only if it fails.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON at the end.")] = False,
) -> None:
    """A run with the schedule's inputs now, beside its fires. Made here as by bursty run, with the same exit codes.

    [bold]Example[/]  bursty schedules run refresh
    """
    from bursty.cli.run import attend
    from bursty.cli.watch import Voice
    from bursty.stage import Stage

    voice = Voice(quiet)
    with Stage(say=voice) as stage:
        queued = _schedules(stage).run_now(key)
        raise typer.Exit(attend(stage, queued, voice, detach=detach, as_json=as_json))


for _command in (list_, pause, resume, run):
    app.command(_command.__name__.rstrip("_"), help=help_of(_command))(_command)


def _schedules(stage: Stage) -> Schedules:
    from bursty.jobs.scheduler import Schedules

    return Schedules(stage.runs, stage.scheduler())


def _say(stage: Stage, key: str, words: str, as_json: bool) -> None:
    from rich.markup import escape

    from bursty.cli.terminal import console, print_json

    found = [item for item in _schedules(stage).list() if key in (item.key, item.job, f"{item.app}/{item.job}")]
    if as_json:
        print_json(_json(found[0]))
    else:
        console().print(f"[green]✓[/] [bold]{escape(found[0].key)}[/] {words}")


def _json(item: ScheduleInfo) -> dict[str, Any]:
    from bursty.cli.terminal import iso

    return {
        "key": item.key,
        "app": item.app,
        "job": item.job,
        "when": item.words,
        "cron": item.spec.cron,
        "every": item.spec.every,
        "tz": item.spec.tz,
        "inputs": dict(item.spec.inputs),
        "paused": item.paused,
        "next_at": iso(item.next_at),
        "last_at": iso(item.last_at),
        "run": item.run,
    }
