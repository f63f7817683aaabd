"""A job's inputs: the form that hints make, validation without user code, and the arguments that come out."""

import enum
import json
import pickle
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, AwareDatetime, Field, TypeAdapter, ValidationError, ValidationInfo

from bursty.errors import ConfigError, InputsInvalid
from bursty.forms.convert import check, run_parameter, to_arguments
from bursty.forms.schema import form_of
from bursty.forms.table import Table
from bursty.forms.types import File, Form, Unit
from bursty.forms.validate import validate
from bursty.forms.words import bounds_of
from form_jobs import Item, Point, Run, Scenario, checked, converted, field_of, forecast, with_hint

NAIVE = datetime.fromisoformat("2026-01-02T03:04:05")


def test_the_form_of_a_job() -> None:
    common = {"description": "", "required": False, "nullable": False, "custom": False}
    assert form_of(forecast) == {
        "fields": [
            {**common, "name": "growth", "kind": "float", "title": "Yearly growth", "description": "Of revenue."}
            | {"ge": -1, "le": 5, "unit": "%", "default": 0.05},
            {**common, "name": "scenario", "kind": "choice", "title": "Scenario", "default": "base"}
            | {"choices": [{"value": value, "label": value} for value in ("base", "bull", "bear")]},
            {**common, "name": "history", "kind": "file", "title": "History", "nullable": True, "default": None},
            {**common, "name": "start_day", "kind": "date", "title": "Start day", "default": "2026-01-01"},
        ],
        "custom": False,
    }
    assert run_parameter(forecast) == "run"


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (int, {"kind": "int"}),
        (Annotated[int, Field(gt=0, lt=9, multiple_of=2)], {"kind": "int", "gt": 0, "lt": 9, "multiple_of": 2}),
        (Annotated[float, Field(ge=0), Unit("kg")] | None, {"kind": "float", "nullable": True, "unit": "kg"}),
        (Annotated[float | None, Field(le=1)], {"kind": "float", "nullable": True, "le": 1}),
        (Annotated[float, Field(json_schema_extra={"unit": "m"})], {"kind": "float", "unit": "m"}),
        (Annotated[str, Field(min_length=1, pattern="^a+$")], {"kind": "str", "min_length": 1, "pattern": "^a+$"}),
        (bool, {"kind": "bool"}),
        (Scenario, {"kind": "choice", "choices": [("base", "Base case"), ("bull", "Bull")]}),
        (Literal["a", None], {"kind": "choice", "nullable": True, "choices": [("a", "a")]}),
        (Annotated[date, Field(ge=date(2020, 1, 1))], {"kind": "date", "ge": "2020-01-01"}),
        (datetime, {"kind": "datetime", "custom": False}),
        (Annotated[list[int], Field(max_length=3)], {"kind": "list", "max_length": 3, "items": {"kind": "int"}}),
        (list[Annotated[str, Field(max_length=2)]], {"kind": "list", "items": {"kind": "str", "max_length": 2}}),
        (set[int], {"kind": "list", "custom": False}),
        (tuple[int, ...], {"kind": "list", "custom": False}),
        (File, {"kind": "file", "custom": False}),
        (list[File], {"kind": "list", "items": {"kind": "file"}}),
        (Table, {"kind": "table", "custom": False}),
        (dict[str, int], {"kind": "json", "custom": True}),
        (Any, {"kind": "json", "custom": False}),
        (int | str, {"kind": "json", "custom": True}),
        (Item, {"kind": "json", "custom": True}),
        # More than a form can say: the worker checks it too.
        (Annotated[int, AfterValidator(abs)], {"kind": "int", "custom": True}),
        (AwareDatetime, {"kind": "datetime", "custom": True}),
        (list[Annotated[int, AfterValidator(abs)]], {"kind": "list", "custom": True}),
    ],
    ids=count(),
)
def test_hints_as_fields(hint: Any, expected: dict[str, Any]) -> None:
    field: dict[str, Any] = json.loads(json.dumps(field_of(hint)))
    if "choices" in field:
        field["choices"] = [(choice["value"], choice["label"]) for choice in field["choices"]]
    if "items" in expected:
        expected = {**expected, "items": {**field["items"], **expected["items"]}}
    assert {**field, **expected} == field


def test_columns_of_a_table_are_fields() -> None:
    for row in (Item, Point):
        assert field_of(Table[row])["custom"] is False
    columns = field_of(Table[Item])["columns"]
    assert [(column["name"], column["kind"], column["title"]) for column in columns] == [
        ("item_id", "int", "Item id"),
        ("price", "float", "Net price"),
        ("since", "date", "Since"),
    ]
    assert columns[1]["unit"] == "EUR"
    assert [column["required"] for column in columns] == [True, False, False]


def later(run: "Run", growth: "Annotated[float, Field(ge=0)]" = 0.5) -> "Nowhere": ...  # noqa: F821


def sloppy(run, seed: int = None) -> None: ...  # noqa: RUF013


def fastapi_style(seed: int = Field(3, gt=2), day: date = Field(default_factory=date.today)) -> None: ...  # noqa: B008


def test_hints_as_text_and_defaults_as_fields() -> None:
    assert [field["name"] for field in form_of(later)["fields"]] == ["growth"]
    assert run_parameter(later) == "run"
    assert form_of(sloppy)["fields"][0]["nullable"] is True
    assert to_arguments(sloppy, validate(form_of(sloppy), {})) == {"seed": None}
    inputs = validate(form_of(fastapi_style), {})
    assert inputs == {"seed": 3}
    assert isinstance(to_arguments(fastapi_style, inputs)["day"], date)


def no_hint(seed) -> None: ...


def many(*seeds: int) -> None: ...


def positional(seed: int, /) -> None: ...


def unknown(seed: "Nowhere") -> None: ...  # noqa: F821


class Odd(enum.Enum):
    A = (1, 2)


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (no_hint, "'seed' of no_hint has no type hint"),
        (many, "'seeds' of many takes any number"),
        (positional, "'seed' of positional can't be given by name"),
        (unknown, "'seed' of unknown, 'Nowhere', can't be resolved"),
        (with_hint(Annotated[int, Field(le=3)], 9), "default of parameter 'x' .*at most 3"),
        (with_hint(File, "/etc/hosts"), "default of parameter 'x' .*not a path"),
        (with_hint(Odd), "choice of Odd"),
        (with_hint(object()), "can't be an input"),
        (with_hint(json.JSONDecoder), "can't be an input"),
        (with_hint(Table[dict[str, int]]), "can't be an input"),
        (with_hint(Annotated[str, Field(pattern="a(?=b)")]), "look-around"),
    ],
    ids=count(),
)
def test_what_can_be_no_input_is_named(job: Callable[..., Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        form_of(job)


@pytest.mark.parametrize(
    ("hint", "value", "canonical", "argument"),
    [
        (int, "7", 7, 7),
        (float, 3, 3.0, 3.0),
        (bool, "yes", True, True),
        (Scenario, Scenario.BULL, "bull", Scenario.BULL),
        (Scenario, "bull", "bull", Scenario.BULL),
        (date, date(2026, 1, 2), "2026-01-02", date(2026, 1, 2)),
        (datetime, "2026-01-02T03:04Z", "2026-01-02T03:04:00+00:00", datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        (datetime, pd.Timestamp("2026-01-02T03:04:05.000000999"), "2026-01-02T03:04:05", NAIVE),
        (float, np.float32(0.5), 0.5, 0.5),
        (int, np.int64(3), 3, 3),
        (list[float], np.array([1, 2]), [1.0, 2.0], [1.0, 2.0]),
        (set[str], {"b", "a"}, ["a", "b"], {"a", "b"}),
        (tuple[int, ...], [1, 2], [1, 2], (1, 2)),
        (int | None, None, None, None),
        (dict[str, date], {"a": date(2026, 1, 2)}, {"a": "2026-01-02"}, {"a": date(2026, 1, 2)}),
        (Item, Item(item_id=1), {"item_id": 1, "price": 1.0, "since": None}, Item(item_id=1)),
        (Annotated[date, Field(strict=True)], "2026-01-02", "2026-01-02", date(2026, 1, 2)),
    ],
    ids=count(),
)
def test_values_there_and_back(hint: Any, value: Any, canonical: Any, argument: Any) -> None:
    assert checked(hint, value) == canonical
    assert type(checked(hint, value)) is type(canonical)
    assert converted(hint, value) == argument


@pytest.mark.parametrize(
    ("hint", "value", "says"),
    [
        (int, "x", "must be a whole number"),
        (int, 1.5, "must be a whole number"),
        (Annotated[int, Field(ge=1, le=9)], 10, "must be at least 1 and at most 9"),
        (Annotated[float, Field(gt=0), Unit("kg")], 0, "must be more than 0 kg"),
        (float, float("nan"), "finite"),
        (float, "inf", "finite"),
        (int, 2**63, "fits 64 bits"),
        (int, 10**5000, "64 bits"),
        (int, "9" * 5000, "whole number"),
        (float, 10**400, "must be a number"),
        (bool, "maybe", "true or false"),
        (str, 5, "must be text"),
        (Annotated[str, Field(pattern="^a+$")], "b", "matching"),
        (Annotated[str, Field(min_length=2, max_length=3)], "b", "2 to 3 characters"),
        (str, "a\0b", "control character"),
        (str, "\x1b[31m", "control character"),
        (str, "\ud800", "control character"),
        (Literal["base", "bull"], "bul", "one of base, bull; did you mean 'bull'"),
        (Literal[1, 2], True, "one of 1, 2"),
        (Scenario, "BULL", "one of base, bull"),
        (date, "2026-02-30", "a date like 2026"),
        (date, 20260101, "a date like 2026"),
        (date, "20260101", "a date like 2026"),
        (datetime, "now", "a date and time like"),
        (Annotated[date, Field(ge=date(2026, 1, 1))], "2025-12-31", "at least 2026-01-01"),
        (list[int], "1,2", "must be a list"),
        (list[int], [1, "x"], "item 2: must be a whole number"),
        (list[list[int]], [[1], [2, "x"]], "item 2, item 2: must be a whole number"),
        (Annotated[list[int], Field(min_length=1)], [], "at least 1 item, not 0"),
        (int, None, "can't be left unset"),
        (int, object(), "must be a whole number"),
        (Any, float("nan"), "not finite"),
        (Any, {"a": [2**70]}, "64 bits"),
        (Any, {"a": "\0"}, "control character"),
        (Any, object(), "can't be written as JSON"),
        (File, "/etc/hosts", "not a path"),
        (File, {"path": "/etc/hosts"}, "not a path"),
        (File, Path("/etc/hosts"), "not a path"),
        (File, {"upload": "../../x", "name": "x", "size": 1}, "64 digits of hex"),
        (File, {"upload": "a" * 64, "name": "../x", "size": 1}, "file name"),
        (File, {"upload": "a" * 64, "name": "x" * 256, "size": 1}, "255 bytes"),
        (File, {"upload": "a" * 64, "name": "x", "size": -1}, "size"),
        (File, 5, "must be a file"),
        (Table, "a,a\n1,2", "two columns named 'a'"),
        (Table, "", "is empty"),
        (Table, "a,b\n1,2,3", "line 2 has 3 cells"),
        (Table, 'a\n"x', "line 2 is no CSV"),
        (Table, 5, "must be a table"),
        (Table, [5], "a row must be a dict"),
        (Table, [{"a": [1]}], "row 1, column 'a': must be text"),
        (Table, [{"a": "\0"}], "row 1, column 'a': .*control"),
        (Table[Item], [{"item_id": "x"}], "row 1, column 'item_id': must be a whole number"),
        (Table[Item], [{"price": 1}], "row 1: column 'item_id' is missing"),
        (Table[Item], "item_id,prise\n1,2", "row 1: there is no column 'prise'; did you mean 'price'"),
        (Table[Item], "item_id,price\n1,", "row 1, column 'price': must not be empty"),
    ],
    ids=count(),
)
def test_bad_values_are_told_in_words(hint: Any, value: Any, says: str) -> None:
    with pytest.raises(InputsInvalid) as caught:
        checked(hint, value)
    (only,) = caught.value.problems
    assert only["field"] == "x"
    assert re.search(says, str(only["message"])), only["message"]
    assert len(json.dumps(only)) < 1000


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InputsInvalid) as caught:
        validate(form_of(forecast), {"grwth": 1, "growth": 9, "scenario": "bul", "start_day": "tomorrow"})
    found = {problem["field"]: problem["message"] for problem in caught.value.problems}
    assert list(found) == ["grwth", "growth", "scenario", "start_day"]
    assert "did you mean 'growth'" in str(found["grwth"])
    assert "do not fit the form, 4 problems:" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.problems == caught.value.problems
    assert str(again) == str(caught.value)


def test_a_missing_input_is_told() -> None:
    with pytest.raises(InputsInvalid, match=r"x: is required$"):
        validate(form_of(with_hint(int)), {})
    with pytest.raises(InputsInvalid, match="null for not set"):
        validate(form_of(with_hint(int | None)), {})


def test_defaults_are_copies() -> None:
    form = form_of(with_hint(list[int], [1]))
    validate(form, {})["x"].append(2)
    assert validate(form, {}) == {"x": [1]}


# What a form takes and what the function's own hints take are the same, for all kinds that a form can say in full.
HINTS = st.sampled_from(
    [
        int,
        Annotated[int, Field(ge=-5, lt=100)],
        Annotated[int, Field(multiple_of=3)],
        float,
        Annotated[float, Field(gt=-1.5, le=1e6)],
        bool,
        str,
        Annotated[str, Field(min_length=1, max_length=5)],
        Annotated[str, Field(pattern="^[a-z0-9]*$")],
        Literal["a", "1", 1, 2, True],
        date,
        Annotated[date, Field(ge=date(2000, 1, 1))],
        datetime,
        Annotated[datetime, Field(lt=datetime(2030, 1, 1, tzinfo=UTC))],
    ]
)
ALL_HINTS = st.recursive(
    HINTS,
    lambda inner: st.one_of(
        inner.map(lambda hint: hint | None),
        inner.map(lambda hint: list[hint]),
        inner.map(lambda hint: Annotated[list[hint], Field(min_length=1, max_length=2)]),
    ),
    max_leaves=3,
)
EARLY, LATE = datetime.fromisoformat("0001-01-03"), datetime.fromisoformat("9999-12-29")
ZONES = st.none() | st.timezones() | st.just(timezone(timedelta(seconds=61)))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-10, 10),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(
        ["a", "1", "1.5", "true", "no", "2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T00:00", " 7 ", "1e3"]
    ),
    st.integers(-(2**70), 2**70).map(str),
    st.dates(),
    st.datetimes(EARLY, LATE, timezones=ZONES),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner), max_leaves=4)


def ours_alone(hint: Any, value: Any) -> bool:
    """Whether we refuse on purpose what pydantic takes: NaN, huge numbers, control characters, dates as numbers."""
    if isinstance(value, list | tuple):
        return any(ours_alone(hint, item) for item in value)
    if isinstance(value, int | float):
        return "date" in str(hint) or not -(2**63) <= value < 2**63
    return isinstance(value, str) and bool(
        re.search("[\x00-\x1f\x7f\ud800-\udfff]|inf|nan|^[-+ ]?[0-9.]+$", value, re.I)
    )


def validated(form: Form, value: Any) -> dict[str, Any] | InputsInvalid:
    try:
        return validate(form, {"x": value})
    except InputsInvalid as error:
        return error


@given(ALL_HINTS, VALUES)
def test_what_the_form_takes_the_function_takes(hint: Any, value: Any) -> None:
    job = with_hint(hint)
    form = form_of(job)
    assert not form["custom"]
    inputs = validated(form, value)
    if isinstance(inputs, InputsInvalid):
        assert json.loads(json.dumps(inputs.problems)) == inputs.problems
        return
    assert json.loads(json.dumps(inputs, allow_nan=False)) == inputs
    assert validate(form, inputs) == inputs
    argument = to_arguments(job, inputs)["x"]
    assert validate(form, {"x": argument}) == inputs


@given(ALL_HINTS, VALUES)
def test_what_the_function_takes_the_form_takes(hint: Any, value: Any) -> None:
    try:
        expected = TypeAdapter(hint).validate_python(value)
    except ValidationError:
        return
    if not ours_alone(hint, value):
        assert converted(hint, value) == expected


def test_units_and_bounds_in_words() -> None:
    growth = form_of(forecast)["fields"][0]
    assert bounds_of(growth) == "at least -1 and at most 5 %"
    assert bounds_of(field_of(Literal["a", "b"])) == "one of a, b"
    assert bounds_of(field_of(Annotated[list[float], Field(max_length=1)])) == "at most 1 item"
    assert bounds_of(field_of(str)) == ""


def even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


def test_the_function_has_the_last_word() -> None:
    job = with_hint(Annotated[int, AfterValidator(even)])
    form = form_of(job)
    assert form["custom"]
    inputs = validate(form, {"x": 3})
    for refuse in (check, to_arguments):
        with pytest.raises(InputsInvalid) as caught:
            refuse(job, inputs)
        assert caught.value.problems == [{"field": "x", "message": "must be even", "value": 3}]
    check(job, {"x": 4})
    with pytest.raises(ConfigError, match="no input y"):
        to_arguments(job, {"x": 4, "y": 1})


def not_before_first(last: date, info: ValidationInfo) -> date:
    if last < info.context["first"]:
        raise ValueError(f"must not be before {info.context['first']}")
    return last


def test_a_validator_sees_the_inputs_before_its_own() -> None:
    def job(first: date, last: Annotated[date, AfterValidator(not_before_first)]) -> None: ...

    inputs = validate(form_of(job), {"first": "2026-12-02", "last": "2026-12-01"})
    with pytest.raises(InputsInvalid, match="last: must not be before 2026-12-02"):
        check(job, inputs)
    assert to_arguments(job, {**inputs, "last": "2026-12-02"})["last"] == date(2026, 12, 2)


def test_a_validator_that_misses_a_refused_input_hides_nothing() -> None:
    def same(value: int, info: ValidationInfo) -> int:
        assert value == info.context["x"]
        return value

    def job(x: Annotated[int, AfterValidator(even)], y: Annotated[int, AfterValidator(same)]) -> None: ...

    with pytest.raises(InputsInvalid) as caught:
        check(job, {"x": 3, "y": 3})
    assert [problem["field"] for problem in caught.value.problems] == ["x"]
    with pytest.raises(KeyError):
        check(job, {"y": 3})
