"""Settings: read once, into one frozen object."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, cast

from bursty.errors import ConfigError

PREFIX = "BURSTY_"


@dataclass(frozen=True, slots=True)
class Settings:
    """Each is also an environment variable ``BURSTY_NAME``, and a key of ``[tool.bursty]`` in pyproject.toml or of
    bursty.toml.

    ``backend``: where calls run. ``home``: the folder of everything bursty keeps for this project. ``blobs``: URL of
    the blob store (default: in ``home``). ``cache``: folder of built Envs (default: the user's cache folder).
    ``state``: URL of the state store (default: SQLite in ``home``). ``app``: the file that declares the app, where a
    command names none. ``notify``: Apprise URLs, separated by spaces, of who is told of failed runs. ``url``: where
    people find the web pages, for links in notices. ``user``: who asks (default: the system's user name). ``answers``:
    URL of the cache of endpoints' answers (default: SQLite in ``home``). ``predictions``: URL of the store of what
    endpoints answered (default: where ``state`` is).
    """

    backend: str = "local"
    home: str = ".bursty"
    blobs: str = ""
    cache: str = ""
    state: str = ""
    app: str = ""
    notify: str = field(default="", repr=False)
    url: str = ""
    user: str = ""
    answers: str = field(default="", repr=False)
    predictions: str = ""

    @property
    def state_url(self) -> str:
        return self.state or f"sqlite:///{Path(self.home).absolute() / 'state.sqlite'}"

    @property
    def predictions_url(self) -> str:
        return self.predictions or self.state_url

    @property
    def answers_url(self) -> str:
        return self.answers or f"sqlite:///{Path(self.home).absolute() / 'answers.sqlite'}"

    @property
    def actor(self) -> str:
        return self.user or _user_name()

    @property
    def blobs_url(self) -> str:
        return self.blobs or str(Path(self.home).absolute() / "blobs")

    @property
    def cache_folder(self) -> str:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return self.cache or str(Path(base) / "bursty")


def _user_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return str(os.getuid())


def load_settings(
    folder: Path | None = None, environment: Mapping[str, str] | None = None, stage: str | None = None, **given: str
) -> Settings:
    """``given`` (command line) before the environment, before the stage's table, before the file, before the defaults.

    Raises ``ConfigError`` for a file that can't be read and for unknown keys.
    """
    environment = os.environ if environment is None else environment
    table = _file_table(folder or Path.cwd())
    stages = _as_table(table.pop("stage", {}), "stage")
    stage = stage or environment.get(PREFIX + "STAGE")
    if stage and stages and stage not in stages:
        raise ConfigError(f"there is no stage {stage!r}", f"Known: {', '.join(sorted(stages))}.")
    known = {item.name for item in fields(Settings)}
    merged: dict[str, Any] = {**table, **(_as_table(stages.get(stage, {}), f"stage.{stage}") if stage else {})}
    unknown = sorted(set(merged) - known)
    if unknown:
        raise ConfigError(f"unknown settings: {', '.join(unknown)}", f"Known: {', '.join(sorted(known))}.")
    for name in known:
        if PREFIX + name.upper() in environment:
            merged[name] = environment[PREFIX + name.upper()]
    merged.update({name: value for name, value in given.items() if value})
    wrong = [name for name, value in merged.items() if not isinstance(value, str)]
    if wrong:
        raise ConfigError(f"settings must be text: {', '.join(wrong)}")
    return replace(Settings(), **merged)


def _as_table(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{what} must be a table, not {value!r}", 'Write it as [tool.bursty] and name = "text".')
    return cast("dict[str, Any]", value)


def _file_table(folder: Path) -> dict[str, Any]:
    """``bursty.toml`` here or above, else ``[tool.bursty]`` of the nearest pyproject.toml."""
    for place in (folder, *folder.parents):
        for name, path in (("bursty.toml", ()), ("pyproject.toml", ("tool", "bursty"))):
            file = place / name
            if not file.is_file():
                continue
            import tomllib

            try:
                table: Any = tomllib.loads(file.read_text("utf-8"))
            except (OSError, ValueError) as error:
                raise ConfigError(f"{file} can't be read: {error}") from error
            for key in path:
                table = _as_table(table.get(key, {}), f"{key} of {file}")
            if table or name == "bursty.toml":
                return dict(table)
    return {}
