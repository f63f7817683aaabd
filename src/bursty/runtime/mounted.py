"""A mounted web app in a process of its own: it is spoken to over a Unix socket (see ``core.asgiframes``).

The server's first connection is the leash: when it closes, nothing new is begun, and once every other connection is
closed, too, the process ends.
"""

from __future__ import annotations

from typing import Any, cast

from bursty import slots
from bursty.errors import ConfigError
from bursty.runtime.describe import load_module
from bursty.runtime.host import current_host, importing
from bursty.runtime.mounted_socket import print_rest


def run_mounted(target: str, app: str, name: str, socket_path: str, threads: int, version: str = "") -> None:
    """Serve the web app ``name`` of the ``App`` named ``app`` at ``socket_path`` until the server lets go of it.

    ``target``: the module or file that declares it. ``threads``: what the server keeps to for a WSGI app. ``version``:
    the digest of the version whose code this is. Raises what importing the module raises, and ``ConfigError``.
    """
    from bursty.runtime.starts import DeskRuns

    if (host := current_host()) is not None:
        host.leave()  # what a module that failed has half set up must not be there when it is tried again
    slots.runs[:] = [DeskRuns(f"mount {name}", version)]
    with importing(f"the app {app!r}"):
        web_app, kind = find_app(load_module(target), app, name)
    if kind == "asgi":
        import asyncio

        from bursty.runtime.mounted_asgi import serve_asgi

        asyncio.run(serve_asgi(web_app, name, socket_path))
    else:
        from bursty.runtime.mounted_wsgi import serve_wsgi

        serve_wsgi(web_app, name, socket_path, threads)
    print_rest()


def find_app(module: Any, app: str, name: str) -> tuple[Any, str]:
    """The web app that the App named ``app`` mounts as ``name``, and its kind."""
    members: dict[str, Any] = {**vars(module)}
    for value in members.values():
        if hasattr(cast(Any, type)(value), "__bursty_describe__") and value.name == app and name in value.mounts:
            return value.offered[name], value.mounts[name].kind
    raise ConfigError(
        f"{module.__name__} has no App {app!r} that mounts {name!r}",
        "Is the version that is served older than this file?",
    )
