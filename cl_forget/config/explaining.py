"""A validation error in one plain line that names the field and the cure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from cl_forget.ground.registry import closest


def explain(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    """The first mistake as (dotted field, one plain line that names the cure)."""
    first = error.errors()[0]
    location = [part for part in first["loc"] if not _is_type_tag(part)]
    dotted = ".".join(str(part) for part in location)
    given = first.get("input")
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        return dotted, f"unknown field.{closest(str(location[-1]), known)} Known: {', '.join(known)}."
    if first["type"] == "missing":
        return dotted, "is required; add it to the experiment."
    message = _CURES.get(first["type"]) or first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    shown = "" if first["type"] == "value_error" else f" (got {shortened(given)})"
    return dotted, f"{message}{shown}".rstrip(".") + "."


def shortened(value: Any, limit: int = 80) -> str:
    """A value as Python writes it, the middle of a long one left out."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-limit // 4 :]}"


_CURES = {
    "string_type": "should be text",
    "string_too_short": "should not be empty",
    "list_type": "should be a list, written [a, b]",
    "tuple_type": "should be a list, written [a, b]",
    "dict_type": "should be a mapping, written {name: value}",
    "model_type": "should be a mapping, written {field: value}",
    "model_attributes_type": "should be a mapping, written {field: value}",
}
"""Types of mistakes for which pydantic speaks to programmers, in the words of YAML."""


def _is_type_tag(part: Any) -> bool:
    # pydantic names the branch of a union in the location ("list[...]", "str"); users never wrote that.
    return isinstance(part, str) and (part in ("str", "int", "float") or "[" in part)


def _fields_at(model: type[BaseModel], location: Sequence[Any]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        if (
            field is None
            or not isinstance(field.annotation, type)
            or not issubclass(field.annotation, BaseModel)
        ):
            return []
        model = field.annotation
    return list(model.model_fields)
