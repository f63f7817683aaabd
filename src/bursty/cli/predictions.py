"""``bursty predictions``: what endpoints answered, and the truth for it."""

from __future__ import annotations

from typing import Annotated

import typer

from bursty.cli import complete
from bursty.cli.texts import help_of

app = typer.Typer(
    name="predictions",
    help="What endpoints answered: list it, label it with the truth.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
Since = Annotated[str | None, typer.Option(help='From then on: "2 h" (ago), 2026-11-03, 2026-11-03T12:00Z.')]


def list_(
    endpoint: Annotated[
        str | None, typer.Argument(help="Its name; without it, how many there are.", autocompletion=complete.predicting)
    ] = None,
    since: Since = None,
    until: Annotated[str | None, typer.Option(help="Before then.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="How many.", show_default="20; all with --csv")
    ] = None,
    csv: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Write them there, with inputs; - is standard output.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON, with inputs.")] = False,
) -> None:
    """The newest predictions of an endpoint, each with the newest label that it has.

    [bold]Examples[/]

      bursty predictions list

      bursty predictions list rank --since "2 h"

      bursty predictions list rank --since 2026-11-01 --csv november.csv
    """
    from bursty.cli import predictionviews

    if endpoint is None:
        predictionviews.show_endpoints(since, until, as_json)
    elif csv is not None:
        predictionviews.write_csv(endpoint, since, until, limit, csv)
    else:
        predictionviews.show_list(endpoint, since, until, limit or 20, as_json)


def label(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Of labels: .csv, .json, or - for a CSV.")],
    as_json: Json = False,
) -> None:
    """Say what the truth was, by a file of labels.

    A row names a prediction by its prediction_id, or by its endpoint and the fields of the business key that
    Log(key=…) declares. It says y: a number, true or false, yes or no; perhaps ts (a time; else now) and source. Of
    several labels of a prediction the newest by ts counts. A label of a prediction that is not there yet waits for it.
    To send a file again changes nothing. Exit code: 1 when rows were refused; the others are kept.

    [bold]Examples[/]

      bursty predictions label truth.csv

      printf 'endpoint,user,y\\nrank,7,yes\\n' | bursty predictions label -
    """
    from bursty.cli import predictionviews

    raise typer.Exit(predictionviews.take_file(file, as_json))


for _command in (list_, label):
    app.command(_command.__name__.rstrip("_"), help=help_of(_command))(_command)
