"""A job's inputs as options: the same form, said on a command line."""

import datetime as dt
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from bursty import File, InputsInvalid, Run, Table, Unit
from bursty.cli.jobhelp import describe
from bursty.cli.options import read_options, values_of
from bursty.forms.schema import form_of
from bursty.forms.types import Form


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


def job(
    run: Run,
    growth: Annotated[float, Field(ge=-1, le=5, title="Yearly growth"), Unit("per year")],
    years: int = 5,
    scenario: Literal["base", "bull"] = "base",
    colour: Colour = Colour.RED,
    dry: bool = False,
    start_day: dt.date | None = None,
    regions: list[str] = [],  # noqa: B006
    history: File | None = None,
    prices: Table | None = None,
    extra: dict[str, Any] | None = None,
    note: str = "",
) -> None: ...


FORM: Form = form_of(job)


def read(*arguments: str, reserved: tuple[str, ...] = ("--note",)) -> dict[str, Any]:
    return values_of(FORM, read_options(FORM, arguments, reserved))


def problems(*arguments: str) -> dict[str, list[str]]:
    with pytest.raises(InputsInvalid) as caught:
        read(*arguments)
    found: dict[str, list[str]] = {}
    for problem in caught.value.problems:
        found.setdefault(str(problem["field"]), []).append(str(problem["message"]))
    for messages in found.values():
        for message in messages:
            assert message in caught.value.message, "people see all of it"
    return found


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["--growth", "0.07"], {"growth": "0.07"}),
        (["--growth=0.07"], {"growth": "0.07"}),
        (["--growth", "-0.5"], {"growth": "-0.5"}),
        (["--growth", "1", "--dry"], {"growth": "1", "dry": "true"}),
        (["--dry", "--growth", "1", "--no-dry"], None),
        (["--growth", "1", "--no-dry"], {"growth": "1", "dry": "false"}),
        (["--growth", "1", "--dry=false"], {"growth": "1", "dry": "false"}),
        (["--growth", "1", "--start-day", "2026-11-21"], {"growth": "1", "start_day": "2026-11-21"}),
        (["--growth", "1", "--start_day=2026-11-21"], {"growth": "1", "start_day": "2026-11-21"}),
        (["--growth", "1", "--unset", "start-day"], {"growth": "1", "start_day": None}),
        (["--growth", "1", "--regions", "a,b"], {"growth": "1", "regions": ["a,b"]}),
        (["--growth", "1", "--regions", "a,b", "--regions", "c"], {"growth": "1", "regions": ["a,b", "c"]}),
        (["--growth", "1", "--regions", "[]"], {"growth": "1", "regions": []}),
        (["--growth", "1", "--colour", "Blue"], {"growth": "1", "colour": "blue"}),
        (["--growth", "1", "--extra", '{"a": [1]}'], {"growth": "1", "extra": {"a": [1]}}),
        (["--growth", "1", "--set", "note=a=b"], {"growth": "1", "note": "a=b"}),
        (["--set=growth=1", "--set", "regions=a", "--set", "regions=b"], {"growth": "1", "regions": ["a", "b"]}),
    ],
)
def test_options_are_inputs(arguments: list[str], values: dict[str, Any] | None) -> None:
    if values is None:
        assert "dry" in problems(*arguments)
    else:
        assert read(*arguments) == values


def test_files_and_tables_are_paths(folder: Path) -> None:
    (folder / "sales.csv").write_text("year,sales\n2025,10\n2026,12.5\n")
    values = read("--growth", "1", "--history", "sales.csv", "--prices", "sales.csv")
    assert values["history"] == "sales.csv"
    assert values["prices"] == [{"year": 2025, "sales": 10}, {"year": 2026, "sales": 12.5}]


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = problems(
        *("--growth", "7", "--grwth", "3", "--years", "many", "--scenario", "bul", "--history", "no.csv"),
        *("--prices", "none.csv", "--set", "x", "--set", "nowhere=1", "--unset", "years", "stray", "--dry=maybe"),
        *("--note", "hello", "--extra", "{", "--start-day", "tomorrow", "--colour"),
    )
    assert "at most 5" in found["growth"][0]
    assert "did you mean 'bull'" in found["scenario"][0]
    assert "no.csv" in found["history"][0]
    assert "none.csv" in found["prices"][0]
    assert "can't be left unset" in found["years"][0]
    assert "true or false" in found["dry"][0]
    assert "JSON" in found["extra"][0]
    assert "a date" in found["start_day"][0]
    assert "needs a value" in found["colour"][0]
    general = " ".join(found[""])
    for words in ("--grwth; did you mean '--growth'", "NAME=VALUE", "'nowhere'", "'stray'", "--note"):
        assert words in general


def test_a_missing_input_is_one_of_the_problems() -> None:
    assert problems("--years", "3") == {"growth": ["is required"]}
    assert problems() == {"growth": ["is required"]}


def test_an_input_that_could_not_be_read_is_told_of_once() -> None:
    assert len(problems("--growth")["growth"]) == 1


def test_an_unknown_option_takes_its_value_with_it() -> None:
    assert list(problems("--growth", "1", "--yeers", "3", "--years", "4")) == [""]


def test_a_run_is_made_again_with_changes() -> None:
    already = {"growth": 0.5, "years": 3, "history": {"upload": "a" * 64, "name": "h.csv", "size": 3}}
    given = read_options(FORM, ["--set", "years=4", "--unset", "history"])
    assert values_of(FORM, given, already) == {"growth": 0.5, "years": "4", "history": None}


@given(st.lists(st.text(max_size=12) | st.sampled_from(["--growth", "--dry", "--set", "--unset", "--regions=", "--"])))
def test_no_command_line_is_a_traceback(arguments: list[str]) -> None:
    try:
        values = read(*arguments)
    except InputsInvalid as error:
        values = {"growth": error.problems}
    assert values["growth"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("growth", "Yearly growth; at least -1 and at most 5 per year (required)"),
        ("years", "Years (default: 5)"),
        ("scenario", "Scenario (default: base)"),
        ("dry", "Dry (default: false)"),
        ("start_day", "Start day (not set unless given)"),
        ("regions", "Regions; give it again for each item (empty by default)"),
    ],
)
def test_help_says_what_an_input_takes(name: str, words: str) -> None:
    assert describe(next(item for item in FORM["fields"] if item.get("name") == name)) == words
