"""Values against a form, anywhere and without the user's code: what comes out is canonical JSON.

Lists, tables, files and choices are checked here; pydantic reads the plain values in them as it would read them for the
function itself. What only the function's own hints can check (fields that are ``custom``), the worker checks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from bursty.errors import ConfigError, InputsInvalid
from bursty.forms.files import file_fields, files_in, local_file, replace_files, uploaded_file
from bursty.forms.parse import parse_cell
from bursty.forms.plain import (
    MAX_DEPTH,
    MAX_INT,
    MIN_INT,
    Refused,
    canonical_json,
    inputs_hash,
    plain,
    short,
    too_large,
    unfit_json,
    unfit_text,
)
from bursty.forms.table import rows_of, text_rows, typed_rows
from bursty.forms.types import File, Form, FormField
from bursty.forms.words import bounds_of, kind_of, not_a_choice, refusal, suggestion
from bursty.units import format_bytes

__all__ = ["canonical", "file_fields", "files_in", "inputs_hash", "replace_files", "validate"]
LIMIT = 256 * 1024
MAX_PROBLEMS = 100
_STAMP = re.compile(r"\s*[-+]?[0-9.]+\s*")


class _Check:
    """Collects the problems of one set of inputs."""

    def __init__(self, allow_paths: bool) -> None:
        self.allow_paths = allow_paths
        self.problems: list[dict[str, object]] = []
        self.more = 0
        self.field = ""

    def say(self, message: str, value: Any, where: str = "") -> None:
        if len(self.problems) >= MAX_PROBLEMS:
            self.more += 1
            return
        text = f"{where}: {message}" if where else message
        self.problems.append({"field": self.field, "message": text, "value": short(value)})

    def all(self, fields: Sequence[FormField], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The canonical inputs; they count when there is no problem."""
        known = {field.get("name", ""): field for field in fields}
        for name in inputs:
            if name not in known:
                names = f"; known: {', '.join(list(known)[:20])}" if len(self.problems) < 3 else ""
                self.field = str(short(name))
                self.say(f"there is no such input{suggestion(name, known)}{names}", inputs[name])
        read: dict[str, Any] = {}
        for name, field in known.items():
            self.field = name
            if name in inputs:
                read[name] = self.value(field, inputs[name])
            elif "default" in field:
                read[name] = deepcopy(field["default"])  # the form stays as it is
            elif field.get("required", True):
                self.say("is required" + (" (null for not set)" if field.get("nullable") else ""), None)
        return read

    def value(self, field: FormField, value: Any, where: str = "") -> Any:
        """The canonical value; ``None`` after a problem was said."""
        value = plain(value)
        if value is None and field.get("nullable"):
            return None
        try:
            return _READERS.get(field.get("kind", ""), _Check.scalar)(self, field, value, where)
        except Refused as refused:
            self.say(str(refused), value, where)
            return None

    def scalar(self, field: FormField, value: Any, where: str) -> Any:
        if value is None:
            raise Refused(f"must be {kind_of(field)}; it can't be left unset")
        adapter = _adapter(*(field.get(key) for key in ("kind", *_BOUNDS)))
        try:
            read = adapter.validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise Refused(refusal(field, first["type"], first["msg"])) from None
        except (ValueError, OverflowError) as error:  # an int of 5,000 digits can't even be shown
            raise Refused(refusal(field, "", str(error))) from None
        if isinstance(read, str) and (wrong := unfit_text(read)):
            raise Refused(wrong)
        return read.isoformat() if isinstance(read, date) else read

    def choice(self, field: FormField, value: Any, where: str) -> Any:
        for choice in field.get("choices", []):
            if type(choice["value"]) is type(value) and choice["value"] == value:
                return choice["value"]
        raise Refused(not_a_choice(field, value))

    def items(self, field: FormField, value: Any, where: str) -> Any:
        if hasattr(value, "tolist"):  # an array of numpy's, a Series
            if getattr(value, "size", 0) > LIMIT:
                raise Refused(f"has {value.size} items; give them as a File")
            value = value.tolist()
        if not isinstance(value, list | tuple | set | frozenset):
            raise Refused(f"must be a list of items, each {kind_of(field.get('items', {}))}")
        items = cast("list[Any]", value)
        self.length(field, len(items))
        prefix = f"{where}, item" if where else "item"
        read = [self.value(field.get("items", {}), item, f"{prefix} {number}") for number, item in enumerate(items, 1)]
        return sorted(read, key=canonical_json) if isinstance(value, set | frozenset) else read

    def length(self, field: FormField, count: int) -> None:
        if not field.get("min_length", 0) <= count <= field.get("max_length", count):
            raise Refused(f"must have {bounds_of(field)}, not {count}")

    def table(self, field: FormField, value: Any, where: str) -> Any:
        columns = {column.get("name", ""): column for column in field.get("columns", [])}
        try:
            given = text_rows(value) if isinstance(value, str) and columns else value
            rows = typed_rows(given) if isinstance(given, str) else rows_of(given)
        except ValueError as error:
            raise Refused(str(error)) from None
        self.length(field, len(rows))
        return [
            self.row(columns, row, f"row {number}") if columns else self.free_row(row, f"row {number}")
            for number, row in enumerate(rows, 1)
        ]

    def row(self, columns: dict[str, FormField], row: dict[str, Any], where: str) -> dict[str, Any]:
        for name in (name for name in row if name not in columns):
            self.say(f"there is no column {short(name)!r}{suggestion(name, columns)}", row[name], where)
        read: dict[str, Any] = {}
        for name, column in columns.items():
            if name in row:
                read[name] = self.cell(column, row[name], f"{where}, column {name!r}")
            elif column.get("required"):
                self.say(f"column {name!r} is missing", None, where)
            elif "default" in column:
                read[name] = column["default"]
        return read

    def cell(self, column: FormField, value: Any, where: str) -> Any:
        try:
            return self.value(column, parse_cell(column, value) if isinstance(value, str) else value, where)
        except ValueError as error:
            self.say(str(error), value, where)
            return None

    def free_row(self, row: dict[str, Any], where: str) -> dict[str, Any]:
        read: dict[str, Any] = {}
        for name, given in row.items():
            cell = plain(given)
            cell = cell.isoformat() if isinstance(cell, date) else cell
            nested = isinstance(cell, list | dict)
            wrong = "must be text, a number, true, false or nothing" if nested else unfit_json([name, cell])
            if wrong:
                self.say(wrong, cell, f"{where}, column {short(name)!r}")
            read[name] = cell
        return read

    def file(self, field: FormField, value: Any, where: str) -> Any:
        if isinstance(value, File):
            value = {"path": value.path, "name": value.name}
        elif isinstance(value, str | os.PathLike):
            value = {"path": os.fspath(cast("str | os.PathLike[str]", value))}
        if not isinstance(value, dict):
            raise Refused("must be a file")
        given = cast("dict[str, Any]", value)
        return local_file(given, self.allow_paths) if "path" in given else uploaded_file(given)

    def any_json(self, field: FormField, value: Any, where: str) -> Any:
        try:
            value = to_jsonable_python(value, inf_nan_mode="constants")
        except (ValueError, RecursionError) as error:  # PydanticSerializationError is a ValueError
            raise Refused(f"can't be written as JSON: {error}") from None
        if wrong := unfit_json(value):
            raise Refused(wrong)
        return value


_READERS: dict[str, Callable[[_Check, FormField, Any, str], Any]] = {
    "choice": _Check.choice,
    "list": _Check.items,
    "table": _Check.table,
    "file": _Check.file,
    "json": _Check.any_json,
}


_BOUNDS = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")


@lru_cache(maxsize=1024)
def _adapter(kind: str, *bounds: Any) -> TypeAdapter[Any]:
    """pydantic's reader of a plain kind within bounds. Thread-safe: at worst it is made twice."""
    given: dict[str, Any] = {key: bound for key, bound in zip(_BOUNDS, bounds, strict=True) if bound is not None}
    field: Any = Field(**{key: _bound(kind, bound) for key, bound in given.items()})
    match kind:
        case "int":
            hint: Any = Annotated[int, Field(ge=MIN_INT, le=MAX_INT), field]
        case "float":
            hint = Annotated[float, Field(allow_inf_nan=False), field]
        case "bool":
            hint = bool
        case "str":
            hint = Annotated[str, field]
        case "date":
            hint = Annotated[date, field, BeforeValidator(_no_stamp)]
        case "datetime":
            hint = Annotated[datetime, field, BeforeValidator(_no_stamp), AfterValidator(_writable)]
        case _:
            raise ConfigError(f"a form has the kind {kind!r}, which this bursty doesn't know", "Update bursty.")
    return TypeAdapter(hint)


def _bound(kind: str, bound: Any) -> Any:
    read = {"date": date.fromisoformat, "datetime": datetime.fromisoformat}.get(kind)
    return read(bound) if read else bound


def _no_stamp(value: Any) -> Any:
    """pydantic takes ``20261121`` for seconds since 1970; nobody who types it means that."""
    if isinstance(value, int | float | bytes) or (isinstance(value, str) and _STAMP.fullmatch(value)):
        raise ValueError("must be written like 2026-11-21")
    return value


def _writable(value: datetime) -> datetime:
    """RFC 3339 has no nanoseconds (of a pandas Timestamp) and no offsets with seconds (local mean times)."""
    value = datetime.combine(value.date(), value.timetz())
    offset = value.utcoffset()
    return value.astimezone(UTC) if offset is not None and offset.seconds % 60 else value


def validate(form: Form, inputs: Mapping[str, Any], *, limit: int = LIMIT, allow_paths: bool = False) -> dict[str, Any]:
    """Inputs as canonical JSON data, defaults filled in. Raises ``InputsInvalid`` with all that is wrong.

    ``limit``: bytes of JSON that all inputs may have. ``allow_paths``: a file may be a path on this machine; it comes
    out as ``{"path", "name"}``, for ``replace_files`` to upload. Never set it for values that come from elsewhere: a
    path would read this machine's files.
    """
    check = _Check(allow_paths)
    _refuse_monsters(check, inputs, limit)
    read = {} if check.problems else check.all(form["fields"], inputs)
    _refuse_too_much(check, read, limit)
    if check.problems:
        raise _invalid(check)
    return read


def canonical(field: FormField, value: Any) -> Any:
    """One value as canonical JSON data. Raises ``InputsInvalid``."""
    check = _Check(allow_paths=False)
    check.field = field.get("name", "")
    read = check.value(field, value)
    if check.problems:
        raise _invalid(check)
    return read


def _refuse_monsters(check: _Check, inputs: Mapping[str, Any], limit: int) -> None:
    """Before anything else looks at them: values that would cost more than they are worth."""
    if not (why := too_large(inputs, limit)):
        return
    check.field = next((str(short(name)) for name, value in inputs.items() if too_large(value, limit)), "")
    if why == "depth":
        check.say(f"nested more than {MAX_DEPTH} levels deep", None)
    else:
        check.say(f"more than {format_bytes(limit)}; give large data as a File", None)


def _refuse_too_much(check: _Check, read: dict[str, Any], limit: int) -> None:
    if check.problems:
        return
    sizes = {name: len(canonical_json(value).encode()) for name, value in read.items()}
    if sum(sizes.values()) > limit:
        check.field = max(sizes, key=sizes.__getitem__)
        size = format_bytes(sizes[check.field])
        check.say(f"is {size}; all inputs together may have {format_bytes(limit)}. Give it as a File", None)


def _invalid(check: _Check) -> InputsInvalid:
    count = len(check.problems) + check.more
    lines = [f"{problem['field']}: {problem['message']}".removeprefix(": ") for problem in check.problems[:10]]
    if count > len(lines):
        lines.append(f"and {count - len(lines)} more")
    what = "the inputs do not fit the form" + (f", {count} problems" if count > 1 else "")
    return InputsInvalid(f"{what}:\n  " + "\n  ".join(lines), problems=check.problems)
