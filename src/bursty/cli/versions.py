"""``bursty versions`` and ``bursty snapshot``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bursty.cli import complete
from bursty.cli.bare import list_unless
from bursty.cli.texts import help_of

if TYPE_CHECKING:
    from bursty.jobs.versions import Version
    from bursty.stage import Stage

app = typer.Typer(name="versions", help="Versions of an app: list, show, promote, back.", rich_markup_mode="rich")

App = Annotated[
    str | None, typer.Option("--app", help="Of this app, if there are several.", autocompletion=complete.apps)
]
Ref = Annotated[str, typer.Argument(metavar="VERSION", help="A number or digest.", autocompletion=complete.versions)]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@app.callback(invoke_without_command=True)
def default(context: typer.Context, app_name: App = None, as_json: Json = False) -> None:
    list_unless(context, list_, app_name=app_name, as_json=as_json)


def list_(app_name: App = None, as_json: Json = False) -> None:
    """All versions of the app, or of all apps, the newest first. ✓ marks the current one.

    [bold]Example[/]  bursty versions list
    """
    from bursty.cli.terminal import ago, columns, console, print_json
    from bursty.cli.terminal import show as show_table
    from bursty.stage import Stage

    with Stage() as stage:
        apps = [app_name] if app_name else stage.versions.apps()
        found = [version for name in apps for version in stage.versions.list(name)]
    if as_json:
        print_json([_json(version) for version in found])
        return
    if not found:
        console(stderr=True).print("no versions yet; [bold]bursty snapshot FILE[/] takes one")
        return
    from rich.markup import escape

    table = columns("", "app", "version", "digest", "message", "taken", "by", right=("version",))
    for version in found:
        mark = "[green]✓[/]" if version.is_current else ""
        cells = (version.app, str(version.number), version.digest[:8], version.message)
        table.add_row(mark, *map(escape, cells), ago(version.created_at), escape(version.created_by))
    show_table(table)


def show(ref: Ref, app_name: App = None, as_json: Json = False) -> None:
    """What a version is: commit, Python, jobs, and when it was current.

    [bold]Example[/]  bursty versions show 3
    """
    from rich.markup import escape

    from bursty.cli.terminal import clock, console, pairs, print_json
    from bursty.cli.terminal import show as show_table
    from bursty.stage import Stage

    with Stage() as stage:
        version = stage.versions.get(choose_app(stage, app_name), ref)
        promoted = [
            (event.at, event.actor)
            for event in stage.versions.history(version.app)
            if event.kind == "promoted" and event.data.get("version") == version.digest
        ]
    if as_json:
        print_json(_json(version))
        return
    rows = [
        ("digest", version.digest),
        ("message", version.message),
        ("taken", f"{clock(version.created_at)} by {version.created_by}"),
        ("commit", version.commit or "not in git"),
        ("Python", version.python),
        ("jobs", ", ".join(version.jobs) or "none"),
        *[("promoted", f"{clock(at)} by {actor}") for at, actor in promoted],
    ]
    out = console()
    out.print(f"[bold]{escape(version.app)}[/] version {version.number}{_current(version)}")
    show_table(pairs([(name, escape(text)) for name, text in rows]))


def promote(ref: Ref, app_name: App = None, as_json: Json = False) -> None:
    """Make a version the current one: new runs and schedules use it. Also the way to any older one.

    [bold]Example[/]  bursty versions promote 4
    """
    from bursty.stage import Stage

    with Stage() as stage:
        _say(stage.versions.promote(choose_app(stage, app_name), ref), "is current", as_json)


def back(app_name: App = None, as_json: Json = False) -> None:
    """Make the version current that was so before the current one. Twice is there and back again.

    [bold]Example[/]  bursty versions back
    """
    from bursty.stage import Stage

    with Stage() as stage:
        name = choose_app(stage, app_name)
        _say(stage.versions.promote(name, stage.versions.before(name).digest), "is current again", as_json)


for _command in (list_, show, promote, back):
    app.command(_command.__name__.rstrip("_"), help=help_of(_command))(_command)


def choose_app(stage: Stage, given: str | None) -> str:
    """The app that is meant. Raises ``ConfigError`` when that can't be told."""
    from bursty.errors import ConfigError

    apps = stage.versions.apps()
    if given is not None or len(apps) == 1:
        return given or apps[0]
    if not apps:
        raise ConfigError("no app is known here", "bursty snapshot FILE records one.")
    raise ConfigError(f"there are several apps: {', '.join(apps)}", "Say which: --app NAME.")


def take(file: str | None, message: str, promote: bool, as_json: bool) -> None:
    """``bursty snapshot``."""
    import sys

    from bursty.cli.terminal import print_json
    from bursty.errors import ConfigError
    from bursty.stage import Stage

    with Stage(say=lambda line: print(line, file=sys.stderr, flush=True)) as stage:
        target = file or stage.settings.app
        if not target:
            raise ConfigError(
                "which file declares the app?", 'bursty snapshot FILE, or app = "app.py" in [tool.bursty].'
            )
        if not Path(target).is_file():
            raise ConfigError(f"there is no file {target!r}", "Name the Python file that declares the app.")
        known = [version.digest for name in stage.versions.apps() for version in stage.versions.list(name)]
        version, snapshot = stage.versions.take(target, message, promote=promote or None)
    is_new = version.digest not in known
    if as_json:
        left_out = [{"file": name, "why": why} for name, why in snapshot.left_out]
        print_json({**_json(version), "is_new": is_new, "left_out": left_out})
        return
    _say(version, "is new" if is_new else "was there already", False)
    _warn(snapshot.left_out)


def _warn(left_out: tuple[tuple[str, str], ...], shown: int = 5) -> None:
    from rich.markup import escape

    from bursty.cli.terminal import console

    err = console(stderr=True)
    for name, why in left_out[:shown]:
        err.print(f"[yellow]![/] left out: {escape(name)} [dim]({escape(why)})[/]", soft_wrap=True)
    if len(left_out) > shown:
        err.print(f"[dim]  and {len(left_out) - shown} more files[/]")


def _say(version: Version, words: str, as_json: bool) -> None:
    from rich.markup import escape

    from bursty.cli.terminal import console, print_json

    if as_json:
        print_json(_json(version))
        return
    out = console()
    about = f"{version.digest[:8]} {version.message}".strip()
    current = "" if words.startswith("is current") else _current(version)
    out.print(
        f"[green]✓[/] [bold]{escape(version.app)}[/] version [bold]{version.number}[/] {words}{current}"
        f" [dim]· {escape(about)}[/]",
        soft_wrap=True,
    )
    if not version.is_current:
        out.print(f"[dim]  → bursty versions promote {version.number} makes it the current one[/]", soft_wrap=True)


def _current(version: Version) -> str:
    return ", the current one" if version.is_current else ""


def _json(version: Version) -> dict[str, Any]:
    from bursty.cli.terminal import iso

    return {
        "app": version.app,
        "version": version.number,
        "digest": version.digest,
        "message": version.message,
        "created_at": iso(version.created_at),
        "created_by": version.created_by,
        "commit": version.commit,
        "python": version.python,
        "jobs": list(version.jobs),
        "is_current": version.is_current,
    }
