"""``bursty tokens``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bursty.cli import complete
from bursty.cli.bare import list_unless
from bursty.cli.texts import help_of

if TYPE_CHECKING:
    from bursty.core.tokens import Token

app = typer.Typer(name="tokens", help="Tokens for what is served: create, list, revoke.", rich_markup_mode="rich")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the token.")]
Known = Annotated[str, typer.Argument(metavar="NAME", help="Of the token.", autocompletion=complete.tokens)]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@app.callback(invoke_without_command=True)
def default(context: typer.Context, as_json: Json = False) -> None:
    list_unless(context, list_, as_json=as_json)


def create(
    name: Name,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", "-s", metavar="SCOPE", help="What it allows; may be repeated.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help='When it ends: "90 days", "12 h".', show_default="never")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it, on stdout and nothing else there. It is shown this once: only its SHA-256 is kept.

    Endpoints, /labels and /metrics want one from everybody who does not ask from this machine itself, unless an
    endpoint is declared public: [bold]Authorization: Bearer TOKEN[/].

    [bold]Scopes[/] predict (all endpoints), predict:/path (one), labels, metrics, mount (all mounted apps),
    mount:/path (one), * (everything).

    [bold]Examples[/]

      bursty tokens create website --scope predict:/rank --expires "90 days"

      bursty tokens create prometheus --scope metrics > token.txt
    """
    from bursty.cli.terminal import console, print_json
    from bursty.stage import Stage
    from bursty.units import parse_seconds

    with Stage() as stage:
        token, text = stage.tokens.create(name, scope or (), parse_seconds(expires))
    if as_json:
        print_json({"token": text, **_json(token)})
        return
    print(text, flush=True)
    console(stderr=True).print(
        f"[green]✓[/] [bold]{token.name}[/] allows {', '.join(token.scopes)}, {_ends(token)}. Keep it well: it is not "
        "shown again. Servers know it within 2 s."
    )


def list_(as_json: Json = False) -> None:
    """All tokens: what they allow, how they end, who made them. Of the token itself its last four characters are shown.

    [bold]Example[/]  bursty tokens list
    """
    from rich.markup import escape

    from bursty.cli.terminal import ago, columns, console, print_json, show
    from bursty.stage import Stage

    with Stage() as stage:
        found = stage.tokens.list()
    if as_json:
        print_json([_json(token) for token in found])
        return
    if not found:
        console(stderr=True).print("no tokens yet; [bold]bursty tokens create NAME --scope predict[/] makes one")
        return
    table = columns("token", "ends in", "scopes", "state", "made", "by", fold=("scopes",))
    for token in found:
        state = f"[green]✓[/] {_ends(token)}" if token.is_live(time.time()) else f"[red]✗[/] {_ends(token)}"
        scopes = escape(", ".join(token.scopes))
        table.add_row(token.name, f"…{token.last}", scopes, state, ago(token.created_at), escape(token.created_by))
    show(table)


def revoke(name: Known, as_json: Json = False) -> None:
    """Make a token count no more. Servers take note within 2 s; one that can't reach the state store then goes on
    taking it, for 5 min at most, and after that takes none at all.

    [bold]Example[/]  bursty tokens revoke website
    """
    from bursty.cli.terminal import console, print_json
    from bursty.stage import Stage

    with Stage() as stage:
        token = stage.tokens.revoke(name)
    if as_json:
        print_json(_json(token))
    else:
        console().print(f"[green]✓[/] [bold]{token.name}[/] (…{token.last}) is revoked; servers refuse it within 2 s")


for _command in (create, list_, revoke):
    app.command(_command.__name__.rstrip("_"), help=help_of(_command))(_command)


def _ends(token: Token) -> str:
    """In words, as of now."""
    from bursty.cli.terminal import ago, until

    if token.revoked_at is not None:
        return f"revoked {ago(token.revoked_at)}"
    if token.expires_at is None:
        return "does not expire"
    return f"expires {until(token.expires_at)}" if token.is_live(time.time()) else f"expired {ago(token.expires_at)}"


def _json(token: Token) -> dict[str, Any]:
    from bursty.cli.terminal import iso

    return {
        "name": token.name,
        "scopes": list(token.scopes),
        "last": token.last,
        "created_at": iso(token.created_at),
        "created_by": token.created_by,
        "expires_at": iso(token.expires_at),
        "revoked_at": iso(token.revoked_at),
        "revoked_by": token.revoked_by,
    }
