"""``bursty models``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bursty.cli import complete
from bursty.cli.bare import list_unless
from bursty.cli.texts import help_of

if TYPE_CHECKING:
    from bursty.jobs.models import ModelVersion

app = typer.Typer(name="models", help="Trained models: list, show, promote.", rich_markup_mode="rich")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the model.", autocompletion=complete.models)]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@app.callback(invoke_without_command=True)
def default(context: typer.Context, as_json: Json = False) -> None:
    list_unless(context, list_, as_json=as_json)


def list_(as_json: Json = False) -> None:
    """All models, with their current and newest versions.

    [bold]Example[/]  bursty models list
    """
    from rich.markup import escape

    from bursty.cli.terminal import ago, columns, console, print_json
    from bursty.cli.terminal import show as show_table
    from bursty.stage import Stage

    with Stage() as stage:
        found = {name: stage.models.versions(name) for name in stage.models.names()}
    if as_json:
        print_json([_json(version) for versions in found.values() for version in versions])
        return
    if not found:
        console(stderr=True).print('no models yet; [bold]Model("name").save(obj)[/] in a job makes one')
        return
    table = columns("model", "current", "newest", "saved", "by", right=("current", "newest"))
    for name, versions in found.items():
        current = next((str(item.version) for item in versions if item.is_current), "none")
        newest = versions[0] if versions else None
        cells = (str(newest.version), ago(newest.created_at), newest.created_by) if newest else ("", "", "")
        table.add_row(escape(name), current, cells[0], cells[1], escape(cells[2]))
    show_table(table)


def show(name: Name, as_json: Json = False) -> None:
    """A model's versions, the newest first, with their metrics. ✓ marks the current one.

    [bold]Example[/]  bursty models show classifier
    """
    from rich.markup import escape

    from bursty.cli.terminal import ago, columns, print_json
    from bursty.cli.terminal import show as show_table
    from bursty.errors import ConfigError
    from bursty.stage import Stage
    from bursty.units import format_bytes

    with Stage() as stage:
        versions = stage.models.versions(name)
        if not versions:
            known = ", ".join(stage.models.names()) or "none yet"
            raise ConfigError(f"there is no model {name!r}", f"Known: {known}.")
    if as_json:
        print_json([_json(version) for version in versions])
        return
    table = columns(
        "", "version", "size", "metrics", "note", "saved", "by", right=("version", "size"), fold=("metrics",)
    )
    for version in versions:
        table.add_row(
            "[green]✓[/]" if version.is_current else "",
            str(version.version),
            format_bytes(version.size),
            escape(_metrics(version)),
            escape(str(version.metadata.get("note") or "")),
            ago(version.created_at),
            escape(version.created_by),
        )
    show_table(table)


def promote(
    name: Name, version: Annotated[int, typer.Argument(min=1, help="Its number.")], as_json: Json = False
) -> None:
    """Make a version of a model the current one: what load() gives from now on. Also the way back to an older one.

    [bold]Example[/]  bursty models promote classifier 3
    """
    from rich.markup import escape

    from bursty.cli.terminal import console, print_json
    from bursty.stage import Stage

    with Stage() as stage:
        stage.models.promote(name, version)
        found = stage.models.find(name, version)
    if as_json:
        print_json(_json(found))
    else:
        console().print(f"[green]✓[/] [bold]{escape(name)}[/] version [bold]{version}[/] is current")


for _command in (list_, show, promote):
    app.command(_command.__name__.rstrip("_"), help=help_of(_command))(_command)


def _metrics(version: ModelVersion) -> str:
    from bursty.cli.outcome import number_words

    metrics: dict[str, Any] = version.metadata.get("metrics") or {}
    return ", ".join(
        f"{name} {number_words(value) if isinstance(value, int | float) else value}" for name, value in metrics.items()
    )


def _json(version: ModelVersion) -> dict[str, Any]:
    from bursty.cli.terminal import iso

    return {
        "name": version.name,
        "version": version.version,
        "sha256": version.digest,
        "bytes": version.size,
        "created_at": iso(version.created_at),
        "created_by": version.created_by,
        "is_current": version.is_current,
        **dict(version.metadata),
    }
