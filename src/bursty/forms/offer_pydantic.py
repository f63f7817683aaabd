"""Types of pydantic's: read, written and described by pydantic itself. Imported when a hint needs it, not before."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, SchemaError

from bursty.errors import ConfigError
from bursty.forms.offer_read import Fault, NoJson, Refused, no_json, refuse_nonfinite, said
from bursty.forms.offer_signature import pointer


def adapter_of(hint: Any) -> TypeAdapter[Any]:
    """Raises ``ConfigError``."""
    try:
        return cast(Any, TypeAdapter)(hint)
    except (PydanticUserError, SchemaError, NameError, TypeError) as error:
        says = str(error).split("\n\nFor further", 1)[0]
        raise ConfigError(
            f"pydantic can't read {hint!r:.200}: {says}", "Types of pydantic's and of msgspec's don't mix in one hint."
        ) from error


class PydanticReader:
    def __init__(self, hint: Any) -> None:
        self._adapter = adapter_of(hint)
        self._validate = self._adapter.validator.validate_json

    def read(self, data: bytes | msgspec.Raw) -> Any:
        raw = bytes(data)
        if _has(raw, b"NaN") or _has(raw, b"Infinity"):  # pydantic takes them, JSON has none
            try:
                msgspec.json.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise no_json(error) from None
        try:
            return self._validate(raw)
        except ValidationError as error:
            raise _refusal(error) from None
        except Exception as error:  # a validator of the user's
            raise Refused([Fault("", said(error))]) from None

    def convert(self, value: Any) -> Any:
        try:
            found = self._adapter.validate_python(value)
        except ValidationError as error:
            raise _refusal(error) from None
        refuse_nonfinite(found)
        return found


def _has(data: bytes, word: bytes) -> bool:
    """A single byte is found many times faster than a word."""
    return word[0] in data and word in data


def _refusal(error: ValidationError) -> Refused | NoJson:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        message = faults[0]["msg"].removeprefix("Invalid JSON: ")
        return NoJson("it is nested too deeply" if message.startswith("recursion limit") else message)
    return Refused([Fault(pointer(*one["loc"]), _message(one["msg"])) for one in faults[:100]])


def _message(text: str) -> str:
    return text.removeprefix("Value error, ").removeprefix("Assertion failed, ")


class PydanticWriter:
    """Values as JSON, by the serialisers of pydantic's types. Fields that a return hint doesn't have are left out."""

    def __init__(self, hint: Any) -> None:
        adapter = adapter_of(hint)
        self._serializer = adapter.serializer
        self.bare: type | None = hint if _is_bare(cast("dict[str, Any]", adapter.core_schema)) else None

    def json(self, value: Any) -> bytes:
        try:
            return self._serializer.to_json(value, by_alias=True, warnings=False)
        except PydanticSerializationError as error:
            raise ValueError(str(error)) from None

    def plain(self, value: Any) -> Any:
        try:
            return self._serializer.to_python(value, by_alias=True, warnings=False)
        except PydanticSerializationError as error:
            raise ValueError(str(error)) from None


_KNOWN = {
    "model": {"type", "cls", "schema", "config", "ref", "metadata", "custom_init", "post_init"},
    "model-fields": {"type", "fields", "model_name", "metadata"},
    "model-field": {"type", "schema", "metadata", "validation_alias", "frozen"},
}


def _is_bare(core: dict[str, Any]) -> bool:
    """Whether it is a model of numbers and texts, and nothing of the user's writes, renames or leaves out a field."""
    kind, inner = core["type"], core.get("schema", {"type": ""})
    told = {key for key, value in core.items() if value}
    if "serialization" in told or told - _KNOWN.get(kind, told):
        return False
    if kind == "model":
        config: dict[str, Any] = core.get("config", {})
        strange = config.get("extra_fields_behavior") == "allow" or any(key.startswith("ser") for key in config)
        return not strange and inner["type"] == "model-fields" and _is_bare(inner)
    if kind == "model-fields":
        return all(map(_is_bare, core["fields"].values()))
    if kind in ("model-field", "nullable", "default"):
        return not inner["type"].startswith("model") and _is_bare(inner)
    return kind in ("str", "int", "float", "bool")


def schemas_of(hints: list[tuple[Any, bool]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """JSON schemas of hints (with: is it a result's?), and what they refer to under ``#/$defs``."""
    inputs = [
        (number, "serialization" if result else "validation", adapter_of(hint))
        for number, (hint, result) in enumerate(hints)
    ]
    found, definitions = TypeAdapter.json_schemas(cast(Any, inputs), ref_template="#/$defs/{model}")
    return [dict(found[key[0], cast(Any, key[1])]) for key in inputs], dict(definitions.get("$defs", {}))
