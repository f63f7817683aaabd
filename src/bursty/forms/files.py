"""Files among inputs: ``{"path", "name"}`` where the run is asked for, ``{"upload", "name", "size"}`` once uploaded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from bursty.forms.plain import MAX_INT, Refused, short, unfit_text
from bursty.forms.types import Form, FormField

_DIGEST = re.compile(r"[0-9a-f]{64}")


def local_file(given: dict[str, Any], allow_paths: bool) -> dict[str, Any]:
    """``{"path", "name"}`` of a file on this machine. Raises ``Refused``."""
    path, name = given["path"], given.get("name")
    if not allow_paths:
        raise Refused("must be an uploaded file, not a path")
    if not isinstance(path, str) or not os.path.isfile(path):
        raise Refused(f"is a folder, not a file: {path}" if os.path.isdir(path) else f"there is no file {short(path)}")
    return {"path": path, "name": _file_name(name or os.path.basename(path))}


def uploaded_file(given: dict[str, Any]) -> dict[str, Any]:
    """``{"upload", "name", "size"}``. Raises ``Refused``."""
    digest, size = given.get("upload"), given.get("size")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise Refused("must be an uploaded file: its 'upload' is the SHA-256 of the content, 64 digits of hex")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_INT:
        raise Refused("must be an uploaded file with its 'size' in bytes")
    return {"upload": digest, "name": _file_name(given.get("name")), "size": size}


def _file_name(name: Any) -> str:
    """A name that can be shown and that leads out of no folder."""
    if not isinstance(name, str) or not name or len(name.encode("utf-8", "replace")) > 255:
        raise Refused("must have a file name of 1 to 255 bytes")
    if unfit_text(name) or "/" in name or "\\" in name or name in (".", ".."):
        raise Refused(f"has a file name that can't be used: {short(name)!r}")
    return name


def file_fields(form: Form) -> list[str]:
    """The names of the fields that hold a file or a list of files."""
    return [field.get("name", "") for field in form["fields"] if _holds_files(field)]


def _holds_files(field: FormField) -> bool:
    return field.get("kind") == "file" or (field.get("kind") == "list" and _holds_files(field.get("items", {})))


def files_in(form: Form, inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All files among validated inputs: ``{"upload", "name", "size"}``, or ``{"path", "name"}`` before their upload."""
    found: list[dict[str, Any]] = []

    def note(file: dict[str, Any]) -> dict[str, Any]:
        found.append(file)
        return file

    replace_files(form, inputs, note)
    return iter(found)


def replace_files(
    form: Form, inputs: Mapping[str, Any], replace: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """Validated inputs with every file as ``replace`` gives it, say with ``{"path"}`` uploaded to ``{"upload"}``."""

    def of(value: Any) -> Any:
        if isinstance(value, list):
            return [of(item) for item in cast("list[Any]", value)]
        return value if value is None else replace(value)

    names = file_fields(form)
    return {name: of(value) if name in names else value for name, value in inputs.items()}
