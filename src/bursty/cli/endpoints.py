"""``bursty endpoint try``: one request to an endpoint, without a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from bursty.cli.terminal import console
from bursty.cli.texts import help_of
from bursty.errors import ConfigError

app = typer.Typer(name="endpoint", help="Try an endpoint by hand.", no_args_is_help=True, rich_markup_mode="rich")
REFUSED = 1


def try_(
    target: Annotated[str, typer.Argument(metavar="FILE::ENDPOINT", help="The endpoint.")],
    body: Annotated[str, typer.Argument(metavar="[JSON]", help="The body; - reads it from standard input.")] = "",
    query: Annotated[
        list[str] | None, typer.Option("--query", "-q", metavar="NAME=VALUE", help="A parameter. May be repeated.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the answer.")] = False,
) -> None:
    """Ask an endpoint once, on a worker of this machine, and print its answer.

    The answer goes to standard output, its status and what the endpoint prints to standard error. No deadline, no
    fallback, nothing is logged.
    Exit code 0 for an answer, 1 for a problem.

    [bold]Examples[/]

      bursty endpoint try app.py::predict '[{"price": 3.5, "colour": "red"}]'

      bursty endpoint try app.py::classify -q feature_1=0.3 -q feature_2=1.2

      bursty endpoint try app.py::predict - < request.json
    """
    content = sys.stdin.buffer.read() if body == "-" else body.encode()
    pairs = [_pair(text) for text in query or ()]
    status, answer = ask(target, content, urlencode(pairs).encode(), quiet=quiet)
    sys.stdout.write(answer.decode() + "\n")
    if not quiet:
        colour = "green" if status < 400 else "red"
        console(stderr=True).print(f"[{colour}]{status}[/]")
    raise typer.Exit(0 if status < 400 else REFUSED)


app.command("try", help=help_of(try_))(try_)


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark:
        raise ConfigError(f"{text!r} is no parameter", "Write it NAME=VALUE.")
    return name, value


def ask(target: str, body: bytes, query: bytes = b"", *, quiet: bool = False) -> tuple[int, bytes]:
    """Status and body of the answer to one request. Raises ``BurstyError`` when there is no such endpoint."""
    from bursty.cli.watch import Voice
    from bursty.core.answers import SPLIT, unpack_answer
    from bursty.jobs.launch import call_version
    from bursty.runtime.endpoint import try_endpoint
    from bursty.serving.infos import endpoints_of
    from bursty.stage import Stage
    from bursty.values import WorkerSpec

    file, mark, name = target.partition("::")
    if not mark or not Path(file).is_file():
        raise ConfigError(f"{target!r} names no endpoint of a file that is here", "Write FILE.py::ENDPOINT.")
    voice = Voice(quiet)
    with Stage(say=voice) as stage:
        snapshot = stage.versions.snapshot(file, say=voice)
        infos = {info.spec.name: info for info in endpoints_of(snapshot.manifest, snapshot.digest)}
        if name not in infos:
            raise ConfigError(f"{file} has no endpoint {name!r}", f"It has: {', '.join(infos) or 'none'}.")
        info = infos[name]
        function = info.spec.function
        worker = WorkerSpec(function.env, function.memory, version=info.version)
        asked = (info.target, info.app, name, body, query)
        found = call_version(stage.session, worker, try_endpoint, *asked, label=f"endpoint {name}", once=True)
        answer = unpack_answer(found)
        if answer.flags & SPLIT:
            raise ConfigError(
                f"a list of {answer.items} items is shared out among a server's workers", "Try it with a shorter one."
            )
        return answer.status, bytes(answer.body)
