"""``bursty runs``: what became of runs. Parses; ``runviews`` shows, ``runactions`` acts."""

from __future__ import annotations

from typing import Annotated

import typer

from bursty.cli import complete
from bursty.cli.texts import help_of
from bursty.errors import ConfigError

app = typer.Typer(
    name="runs",
    help="Runs of jobs: list, show, logs, cancel, rerun, compare, download.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Id = Annotated[str, typer.Argument(metavar="ID", help="Of a run; its last 8 digits do.", autocompletion=complete.runs)]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
STATUSES = ("queued", "running", "succeeded", "failed", "timed_out", "cancelled", "lost", "open")


def _status(text: str | None) -> str | None:
    if text is not None and text not in STATUSES:
        raise ConfigError(f"there is no status {text!r}", f"Known: {', '.join(STATUSES)} (queued or running).")
    return text


def list_(
    job: Annotated[str | None, typer.Option(help="Only this job's.", autocompletion=complete.jobs)] = None,
    status: Annotated[str | None, typer.Option(help=f"Only these: {', '.join(STATUSES)}.")] = None,
    version: Annotated[str | None, typer.Option(help="Only of this version.", autocompletion=complete.versions)] = None,
    by: Annotated[str | None, typer.Option(help="Only those that this user asked for.")] = None,
    app_name: Annotated[
        str | None, typer.Option("--app", help="Only this app's.", autocompletion=complete.apps)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    before: Annotated[
        str | None, typer.Option(help="Only older ones than this run.", autocompletion=complete.runs)
    ] = None,
    as_json: Json = False,
) -> None:
    """The newest runs.

    [bold]Examples[/]

      bursty runs list --job forecast --status failed

      bursty runs list --limit 1000 --json | jq '.[].metrics.mean'
    """
    from bursty.cli import runviews

    runviews.list_runs(app_name, job, _status(status), version, by, limit, before, as_json)


def show(run: Id, as_json: Json = False) -> None:
    """Everything about a run: inputs, metrics, outputs, error, notes, and what happened when.

    [bold]Example[/]  bursty runs show 3f2a91bc
    """
    from bursty.cli import runviews

    runviews.show_run(run, as_json)


def logs(
    run: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")] = False,
    times: Annotated[bool, typer.Option("--times", "-t", help="With the time of each line.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
) -> None:
    """What a run printed and logged: of its newest attempt; with -f of all that follow, until it is over.

    [bold]Examples[/]

      bursty runs logs -f 3f2a91bc

      bursty runs logs 3f2a91bc --json | jq -r 'select(.level == "warning").text'
    """
    from bursty.cli import runviews

    runviews.show_log(run, follow, times, as_json)


def cancel(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Of runs.", autocompletion=complete.runs)],
    as_json: Json = False,
) -> None:
    """Cancel runs: at once when queued, within seconds when running. One that is over stays as it is.

    [bold]Example[/]  bursty runs cancel 3f2a91bc 77d0e5a1
    """
    from bursty.cli import runactions

    runactions.cancel(ids, as_json)


def rerun(
    run: Id,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change an input; again for others.")
    ] = None,
    unset: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Give an input no value.")] = None,
    version: Annotated[
        str | None,
        typer.Option(help="Another version.", show_default="the run's own", autocompletion=complete.versions),
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Higher goes first.", show_default="the job's own")] = None,
    note: Annotated[str | None, typer.Option(help="A note for whoever looks at the run.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Only queue it: a worker makes it.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No log, no progress; how it ends only if it fails.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON at the end.")] = False,
) -> None:
    """A new run with the same inputs, or with changes; of the same version, or of another one.

    Made here as by bursty run, with the same exit codes.

    [bold]Examples[/]

      bursty runs rerun 3f2a91bc

      bursty runs rerun 3f2a91bc --set growth=0.1 --version 4
    """
    from bursty.cli import runactions

    changes = [part for text in sets or () for part in ("--set", text)]
    changes += [part for name in unset or () for part in ("--unset", name)]
    request = runactions.Rerun(run, changes, version, priority, note, detach, quiet, as_json)
    raise typer.Exit(runactions.rerun(request))


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A run.", autocompletion=complete.runs)],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.", autocompletion=complete.runs)],
    rows: Annotated[int, typer.Option(min=0, max=10_000, help="Differences of each table to show.")] = 10,
    as_json: Json = False,
) -> None:
    """How run B differs from run A: versions, inputs, metrics, tables and files.

    [bold]Example[/]  bursty runs compare 3f2a91bc 77d0e5a1
    """
    from bursty.cli import runviews

    runviews.show_comparison(a, b, rows, as_json)


def download(
    run: Id,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME…]", help="Of outputs.", show_default="all")
    ] = None,
    out: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FOLDER", help="Where to.", show_default="JOB-ID")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--as", metavar="FORMAT", help="Tables as csv, xlsx or parquet.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy the outputs of a run to a folder, their checksums checked.

    [bold]Examples[/]

      bursty runs download 3f2a91bc

      bursty runs download 3f2a91bc forecast --as xlsx -o reports
    """
    from bursty.cli import runactions

    runactions.download(run, names or [], out, form, as_json)


def preview(
    run: Id,
    name: Annotated[str, typer.Argument(help="Of a table among its outputs.")],
    rows: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 10,
    as_json: Json = False,
) -> None:
    """The first rows of a table.

    [bold]Example[/]  bursty runs preview 3f2a91bc forecast --rows 20
    """
    from bursty.cli import runviews

    runviews.show_preview(run, name, rows, as_json)


def note(run: Id, text: Annotated[str, typer.Argument(help="The note.")], as_json: Json = False) -> None:
    """Write a note into a run's audit trail.

    [bold]Example[/]  bursty runs note 3f2a91bc "the one we showed to the board"
    """
    from bursty.cli import runactions

    runactions.note(run, text, as_json)


def rate(
    run: Id,
    rating: Annotated[int, typer.Argument(min=1, max=5, help="From 1 (poor) to 5 (very good).")],
    comment: Annotated[str, typer.Argument(help="Why.", show_default=False)] = "",
    as_json: Json = False,
) -> None:
    """Say how good a run's results are.

    [bold]Example[/]  bursty runs rate 3f2a91bc 4 "summer is too low"
    """
    from bursty.cli import runactions

    runactions.rate(run, rating, comment, as_json)


def retry(run: Id, as_json: Json = False) -> None:
    """Take up a lost run again: one whose workers died until no attempt was left. It is queued for a worker.

    [bold]Example[/]  bursty runs retry 3f2a91bc
    """
    from bursty.cli import runactions

    runactions.retry(run, as_json)


for _command in (list_, show, logs, cancel, rerun, compare, download, preview, note, rate, retry):
    app.command(_command.__name__.rstrip("_"), help=help_of(_command))(_command)
