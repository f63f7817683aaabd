"""A job's inputs as options of the command line, made from its form: ``--growth 0.07 --history sales.csv``."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bursty.errors import InputsInvalid
from bursty.forms.parse import parse_text
from bursty.forms.types import Form, FormField
from bursty.forms.validate import validate
from bursty.forms.words import suggestion

Problem = Mapping[str, object]


@dataclass(slots=True)
class Given:
    """What a command line says of inputs. ``texts``: by input, one for each time it is given; ``unset``: those that get
    no value; ``problems``: what can't be read, by input (``""``: by none)."""

    texts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    unset: list[str] = field(default_factory=list[str])
    problems: list[Problem] = field(default_factory=list[Problem])

    def say(self, name: str, message: str) -> None:
        self.problems.append({"field": name, "message": message, "value": None})


def option_of(name: str) -> str:
    """``--yearly-growth`` for ``yearly_growth``."""
    return "--" + name.replace("_", "-")


def read_options(form: Form, arguments: Sequence[str], reserved: Sequence[str] = ()) -> Given:
    """Options for the form's fields. ``reserved``: options that mean something else, so that such an input is given as
    ``--set NAME=VALUE``; so may all others be."""
    fields = {item.get("name", ""): item for item in form["fields"]}
    given = Given()
    rest = deque(arguments)
    while rest:
        argument = rest.popleft()
        option, equals, text = argument.partition("=")
        if not option.startswith("--") or option == "--":
            given.say("", f"{argument!r} belongs to no option")
            continue
        value = text if equals else None
        if option in ("--set", "--unset"):
            _assign(fields, given, option, value if value is not None else _next(rest))
            continue
        name, negated = _name_of(option, fields, reserved)
        if name is None:
            known = [option_of(name) for name in fields]
            given.say("", f"there is no option {option}{suggestion(option, known)}")
            if value is None and rest and not rest[0].startswith("--"):
                rest.popleft()  # rather its value
            continue
        _take(fields[name], given, option, value, negated, rest)
    return given


def _name_of(option: str, fields: Mapping[str, FormField], reserved: Sequence[str]) -> tuple[str | None, bool]:
    """The field that an option names, and whether it says no to it."""
    if option in reserved:
        return None, False
    for name, item in fields.items():
        if option in (option_of(name), f"--{name}"):
            return name, False
        if item.get("kind") == "bool" and option in (f"--no-{option_of(name)[2:]}", f"--no-{name}"):
            return name, True
    return None, False


def _take(item: FormField, given: Given, option: str, value: str | None, negated: bool, rest: deque[str]) -> None:
    name = item.get("name", "")
    if item.get("kind") == "bool" and (value is None or negated):
        if value is not None:
            given.say(name, f"{option} takes no value")
        value = "false" if negated else "true"
    if value is None:
        value = _next(rest)
    if value is None:
        given.say(name, "needs a value")
    else:
        given.texts.setdefault(name, []).append(value)


def _assign(fields: Mapping[str, FormField], given: Given, option: str, value: str | None) -> None:
    name, equals, text = (value or "").partition("=")
    name = name.replace("-", "_") if name not in fields else name
    if option == "--set" and not equals:
        given.say("", "--set wants NAME=VALUE")
    elif option == "--unset" and not name:
        given.say("", "--unset wants the NAME of an input")
    elif name not in fields:
        given.say("", f"there is no input {name!r}{suggestion(name, fields)}")
    elif option == "--set":
        given.texts.setdefault(name, []).append(text)
    else:
        given.unset.append(name)


def _next(rest: deque[str]) -> str | None:
    return rest.popleft() if rest else None


def values_of(form: Form, given: Given, already: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The inputs, not yet validated; files are paths. ``already``: inputs that these change.

    All that is wrong is told at once: raises ``InputsInvalid``.
    """
    problems = list(given.problems)
    values: dict[str, Any] = {}
    for item in form["fields"]:
        name = item.get("name", "")
        if name in given.unset:
            values[name] = None
        elif (texts := given.texts.get(name)) is not None:
            try:
                values[name] = parse_text(item, _text(item, texts), allow_paths=True)
            except InputsInvalid as error:
                problems += error.problems
    inputs = {**(already or {}), **values}
    try:
        validate(form, inputs, allow_paths=True)
    except InputsInvalid as error:
        known = {problem["field"] for problem in problems}
        problems += [problem for problem in error.problems if not problem["field"] or problem["field"] not in known]
    if problems:
        raise refused(problems)
    return inputs


def _text(item: FormField, texts: list[str]) -> str | list[str]:
    """A list's items come one by one; all of it at once as JSON."""
    whole = len(texts) == 1 and (item.get("kind") != "list" or texts[0].lstrip().startswith("["))
    return texts[0] if whole else texts


def refused(problems: Sequence[Problem], limit: int = 20) -> InputsInvalid:
    """The problems in the words of the command line."""
    lines = [
        f"{option_of(str(problem['field']))}: {problem['message']}" if problem["field"] else str(problem["message"])
        for problem in problems[:limit]
    ]
    if len(problems) > limit:
        lines.append(f"and {len(problems) - limit} more")
    what = "an input can't be used" if len(problems) == 1 else f"{len(problems)} inputs can't be used"
    return InputsInvalid("\n  ".join([f"nothing was queued: {what}", *lines]), problems=[dict(p) for p in problems])
