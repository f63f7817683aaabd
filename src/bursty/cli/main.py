"""The commands: parse and delegate. Whatever is heavy is imported by the command that needs it."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, NoReturn

import typer

from bursty.cli import groups, jobcommands
from bursty.cli.texts import APP_HELP, MAP_HELP, PRUNE_HELP, flowing
from bursty.errors import BurstyError

SOME_FAILED, USAGE, CTRL_C = 1, 2, 130

app = typer.Typer(
    name="bursty",
    help=flowing(APP_HELP),
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from bursty import __version__

        print(f"bursty {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of bursty's own errors (BURSTY_DEBUG=1).")
    ] = False,
) -> None:
    if debug:
        os.environ["BURSTY_DEBUG"] = "1"


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Folder for the table and the picture.")] = "out/demo",
    paths: Annotated[int, typer.Option(min=100, help="How many futures to simulate.")] = 2000,
) -> None:
    """Forecast real sales by simulation, and test the forecast on years that it has not seen."""
    from bursty.demo import run

    run(out, paths)


@app.command()
def init(name: Annotated[str | None, typer.Argument(help="A new folder; without it, this one.")] = None) -> None:
    """Write a small project that runs: a function, its test, a table of inputs."""
    from bursty.cli import init

    init.run(name)


@app.command("map", help=flowing(MAP_HELP))
def map_(
    target: Annotated[str, typer.Argument(metavar="FILE::FUNCTION", help="The function.")],
    inputs: Annotated[str, typer.Argument(help="The rows: .jsonl, .csv, .tsv, .parquet, or -.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="OUTPUTS", help="Where results go, or -.")],
    failures: Annotated[
        str | None, typer.Option(help="Where failed rows go.", show_default="OUTPUTS.failures.jsonl")
    ] = None,
    in_format: Annotated[str | None, typer.Option(help="jsonl, csv, tsv or parquet, whatever the ending.")] = None,
    out_format: Annotated[str | None, typer.Option(help="The same for OUTPUTS.")] = None,
    retries: Annotated[int | None, typer.Option(min=0, help="How often a failed call is tried again.")] = None,
    timeout: Annotated[str | None, typer.Option(help='Of one call: "30 s", "10 min".')] = None,
    memory: Annotated[str | None, typer.Option(help='Of one worker: "2 GiB".')] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many calls run at once.")] = None,
    backend: Annotated[str | None, typer.Option(help="Where calls run.", show_default="local")] = None,
    requirements: Annotated[
        str | None, typer.Option(help="A requirements file: run in an Env of its own that holds it.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Keep results under this name; run again, only the missing are made."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on standard output.")] = False,
) -> None:
    from bursty.cli.map import Interrupted, MapRequest, run_map
    from bursty.errors import ConfigError

    if as_json and output == "-":
        raise ConfigError("--json and -o - both want standard output", "Write the results to a file.")
    request = MapRequest(
        target=target,
        inputs=inputs,
        output=output,
        failures=failures,
        in_format=in_format,
        out_format=out_format,
        retries=retries,
        timeout=timeout,
        memory=memory,
        workers=workers,
        backend=backend,
        requirements=requirements,
        resume=resume,
        limit=limit,
    )
    try:
        summary = run_map(request)
    except Interrupted as stop:
        from bursty.cli.summary import show_interrupted

        show_interrupted(stop.summary)
        raise typer.Exit(CTRL_C) from None
    except BrokenPipeError:
        _reader_gone()
    if as_json:
        print(json.dumps(summary.as_json()))
    else:
        from bursty.cli.summary import show

        show(summary)
    raise typer.Exit(SOME_FAILED if summary.failed else 0)


@app.command(help=flowing(PRUNE_HELP))
def prune(
    older_than: Annotated[
        str, typer.Option(help='What bursty can make again, not used for so long: "12 h", "7 days".')
    ] = "7 days",
    runs_older_than: Annotated[str, typer.Option(help="Runs that ended before, and their uploads.")] = "90 days",
    inputs_older_than: Annotated[
        str | None, typer.Option(help="Inputs of predictions that stay.", show_default="as old as their predictions")
    ] = None,
    versions: Annotated[bool, typer.Option("--versions", help="Also versions that old that no run needs.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    from bursty.cli import prune

    ages = prune.Ages(older_than, runs_older_than, inputs_older_than)
    prune.run(ages, versions=versions, dry_run=dry_run, as_json=as_json)


jobcommands.register(app)
groups.register(app)


def run() -> None:
    """The command line of this process; ends it."""
    try:
        app()
    except (BurstyError, OSError) as error:
        if os.environ.get("BURSTY_DEBUG", "") not in ("", "0"):
            raise
        _complain(error)


def _complain(error: Exception) -> NoReturn:
    """An error of ours: what happened and what to do, no traceback."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    message = str(error)
    if isinstance(error, BurstyError):
        message = error.message
    elif isinstance(error, OSError) and error.filename:
        message = f"{error.filename}: {error.strerror}"
    console.print(f"[bold red]✗[/] {escape(message or type(error).__name__)}")
    if isinstance(error, BurstyError) and error.hint:
        console.print(f"  [dim]→[/] {escape(error.hint)}")
    raise SystemExit(USAGE)


def _reader_gone() -> NoReturn:
    """``| head`` has seen enough: end in silence, as other tools do."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(141)
