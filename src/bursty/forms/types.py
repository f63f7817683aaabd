"""What users write in the hints of a job: ``File``, ``Unit`` (``Table`` has its own module); and what a form is."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict, cast

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

KINDS = ("str", "int", "float", "bool", "choice", "list", "date", "datetime", "file", "table", "json")
MARK = "bursty_kind"  # in a core schema's metadata: which of our types it is


class Choice(TypedDict):
    """One of a choice's values, and how a page shows it."""

    value: Any
    label: str


class FormField(TypedDict, total=False):
    """One input. ``name`` to ``custom`` are always there; ``default`` when there is one; the others when declared."""

    name: str
    kind: str
    title: str
    description: str
    required: bool
    nullable: bool
    custom: bool  # the hint says more than the form can: only the worker can check all of it
    default: Any
    ge: Any
    gt: Any
    le: Any
    lt: Any
    multiple_of: float
    min_length: int
    max_length: int
    pattern: str
    unit: str
    choices: list[Choice]
    items: FormField
    columns: list[FormField]
    json_schema: dict[str, Any]


class Form(TypedDict):
    """The inputs of a job as data, stored with its version. ``custom``: one of its fields is."""

    fields: list[FormField]
    custom: bool


@dataclass(frozen=True, slots=True)
class Unit:
    """What a number counts, shown beside it: ``Annotated[float, Unit("EUR")]``."""

    name: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "unit": self.name}


class File:
    """A file given to a job. In the job it lies on the local disk; ``open(file)`` and pathlib take it as a path.

    ``path``: where it lies. ``name``: as the user had it. ``size``: bytes. ``digest``: SHA-256 of the content, in hex.
    """

    __slots__ = ("_digest", "_size", "name", "path")

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        size: int | None = None,
        digest: str | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.name = name or os.path.basename(self.path)
        self._size = size
        self._digest = digest

    @property
    def size(self) -> int:
        """Bytes; raises ``OSError`` when the file is not there."""
        if self._size is None:
            self._size = os.stat(self.path).st_size
        return self._size

    @property
    def digest(self) -> str:
        """SHA-256 of the content in hex, read in pieces when it is not known yet."""
        if self._digest is None:
            with open(self.path, "rb") as stream:
                self._digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return self._digest

    def open(self, mode: str = "rb", **options: Any) -> IO[Any]:
        """As the builtin, in binary when no mode is named."""
        return Path(self.path).open(mode, **options)

    def read_bytes(self) -> bytes:
        return Path(self.path).read_bytes()

    def read_text(self, encoding: str = "utf-8") -> str:
        return Path(self.path).read_text(encoding)

    def __fspath__(self) -> str:
        return self.path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, File) and (self.path, self.name) == (other.path, other.name)

    def __hash__(self) -> int:
        return hash((self.path, self.name))

    def __repr__(self) -> str:
        return f"File({self.path!r}, name={self.name!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls._from_input,
            metadata={MARK: "file"},
            serialization=core_schema.plain_serializer_function_ser_schema(os.fspath),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "format": "path"}

    @classmethod
    def _from_input(cls, value: Any) -> File:
        if isinstance(value, File):
            return value
        if isinstance(value, str | os.PathLike):
            return cls(cast("str | os.PathLike[str]", value))
        if isinstance(value, dict) and isinstance((given := cast("dict[str, Any]", value)).get("path"), str):
            return cls(given["path"], name=given.get("name"), size=given.get("size"), digest=given.get("digest"))
        raise ValueError("must be a file: a path, or what an upload gave")
