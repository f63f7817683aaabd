"""The commands of jobs that stand by themselves: run, snapshot, worker, scheduler."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bursty.cli import complete
from bursty.cli.texts import RUN_HELP, flowing, help_of

OWN = ("--app", "--version", "--key", "--priority", "--note", "--detach", "--quiet", "--json", "--help")
"""Options of ``bursty run`` itself. A job's input of that name is given with --set."""
USAGE = 2

Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    context: dict[str, Any] = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    app.command("run", help=flowing(RUN_HELP), context_settings=context, add_help_option=False)(run)
    for command in (snapshot, serve, worker, scheduler):
        app.command(command.__name__, help=help_of(command))(command)


def run(
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="FILE::JOB|JOB", help="The job.", autocompletion=complete.targets)
    ] = "",
    app: Annotated[
        str | None, typer.Option(help="The app of JOB, if there are several.", autocompletion=complete.apps)
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            help="Of JOB: a number or digest.", show_default="the current one", autocompletion=complete.versions
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="A second run with the same key is not queued: the first is shown.")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Higher goes first.", show_default="the job's own")] = None,
    note: Annotated[str | None, typer.Option(help="A note for whoever looks at the run.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Only queue it: a worker makes it.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No log, no progress; how it ends only if it fails.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the run as JSON on stdout at the end; its log goes to stderr.")
    ] = False,
    wants_help: Annotated[
        bool, typer.Option("--help", "-h", help="Show this; behind a job's name, its inputs.")
    ] = False,
) -> None:
    if not target or target.startswith("-"):
        if wants_help or not target:
            typer.echo(context.get_help())
            raise typer.Exit(0 if wants_help else USAGE)
        from bursty.errors import ConfigError

        raise ConfigError(f"the job comes before its options, not {target!r}", "bursty run FILE::JOB --growth 0.07")
    from bursty.cli import run as command

    request = command.RunRequest(
        target, tuple(context.args), app, version, key, priority, note, detach, quiet, as_json, OWN
    )
    raise typer.Exit(command.show_job_help(request) if wants_help else command.run(request))


def snapshot(
    file: Annotated[str | None, typer.Argument(help="The file that declares the app.")] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="What is new in it.")] = "",
    promote: Annotated[bool, typer.Option("--promote", help="Make it the current version.")] = False,
    as_json: Json = False,
) -> None:
    """Record the app as a version: its code, locked packages, Python, and declarations.

    The same content is the same version. An app's first version becomes the current one, which new runs and schedules
    use; later ones do when they are promoted.

    [bold]Examples[/]

      bursty snapshot app.py -m "growth by region"

      bursty snapshot -m "new prices" --promote      FILE from BURSTY_APP or pyproject.toml
    """
    from bursty.cli import versions

    versions.take(file, message, promote, as_json)


def serve(
    file: Annotated[str | None, typer.Argument(help="The file that declares the app.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    app: Annotated[
        str | None, typer.Option(help="Instead of FILE: an app that is known.", autocompletion=complete.apps)
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            help="Of APP: a number or digest.", show_default="the current one", autocompletion=complete.versions
        ),
    ] = None,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="A line of JSON on stderr for each request.")
    ] = False,
) -> None:
    """Put the app's endpoints and mounted web apps online, from this machine.

    FILE is recorded as a version, as bursty snapshot does, and that is what is served. Off this machine a bearer token
    is needed (bursty tokens), but for what is declared auth="public". Ctrl-C and SIGTERM end it in good order:
    requests under way are answered. /docs shows and tries the endpoints; /health, /ready and /metrics are for machines.

    [bold]Examples[/]

      bursty serve app.py

      bursty serve app.py --host 0.0.0.0 --port 80 --access-log

      bursty serve --app shop --version 3
    """
    from bursty.cli import serving

    serving.serve(serving.ServeRequest(file, host, port, app, version, access_log))


def worker(
    stay: Annotated[bool, typer.Option("--stay", help="Wait for more runs when nothing is left.")] = False,
    slots: Annotated[int, typer.Option(min=1, max=1000, help="How many runs at once.")] = 1,
    app: Annotated[str | None, typer.Option(help="Only runs of this app.", autocompletion=complete.apps)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what it did as JSON at the end.")] = False,
) -> None:
    """Make the runs that are queued, until nothing is queued, due later or under way; then end.

    Any number of workers may work at once, on this machine and on others with the same state and blobs. Ctrl-C and
    SIGTERM end it in good order: what it was making is queued again. Exit code 0.

    [bold]Examples[/]

      bursty worker                      drain the queue and end

      bursty worker --stay --slots 4     for ever, four runs at once
    """
    from bursty.cli import serve

    serve.work(stay=stay, slots=slots, app=app, as_json=as_json)


def scheduler(
    once: Annotated[bool, typer.Option("--once", help="Queue what is due now, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print the queued runs as JSON.")] = False,
) -> None:
    """Queue a run at each fire of the schedules of all current versions. A worker makes the runs.

    However many schedulers there are, a fire is one run. Ctrl-C and SIGTERM end it in good order.

    [bold]Examples[/]

      bursty scheduler & bursty worker --stay

      bursty scheduler --once && bursty worker      say, from cron
    """
    from bursty.cli import serve

    serve.schedule(once=once, as_json=as_json)
