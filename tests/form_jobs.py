"""Jobs with inputs of all kinds, and short ways to send values through their forms."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from bursty.errors import InputsInvalid
from bursty.forms.convert import to_arguments
from bursty.forms.schema import form_of
from bursty.forms.types import File, FormField, Unit
from bursty.forms.validate import validate


class Run:
    __bursty_run__ = True


class Scenario(enum.Enum):
    BASE_CASE = "base"
    BULL = "bull"


class Item(BaseModel):
    item_id: int
    price: Annotated[float, Field(ge=0, title="Net price"), Unit("EUR")] = 1.0
    since: date | None = None


@dataclass
class Point:
    x: float
    label: str = "none"


def with_hint(hint: Any, default: Any = None) -> Callable[..., Any]:
    """A job with one input ``x``; a ``default`` of ``None`` means none."""

    def job(x: Any) -> None: ...

    job.__annotations__ = {"x": hint}
    job.__defaults__ = None if default is None else (default,)
    return job


def field_of(hint: Any, default: Any = None) -> FormField:
    return form_of(with_hint(hint, default))["fields"][0]


def checked(hint: Any, value: Any, **options: Any) -> Any:
    return validate(form_of(with_hint(hint)), {"x": value}, **options)["x"]


def converted(hint: Any, value: Any, **options: Any) -> Any:
    job = with_hint(hint)
    return to_arguments(job, validate(form_of(job), {"x": value}, **options))["x"]


def problem(hint: Any, value: Any, **options: Any) -> str:
    with pytest.raises(InputsInvalid) as caught:
        checked(hint, value, **options)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0]["field"] == "x"
    return str(caught.value.problems[0]["message"])


def forecast(
    run: Run,
    growth: Annotated[float, Field(ge=-1, le=5, title="Yearly growth", description="Of revenue."), Unit("%")] = 0.05,
    scenario: Literal["base", "bull", "bear"] = "base",
    history: File | None = None,
    start_day: date = date(2026, 1, 1),
) -> None: ...
