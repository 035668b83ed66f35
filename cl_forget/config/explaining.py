"""A validation error in one plain line that names the field and the cure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cl_forget.ground.registry import closest


class Misplaced(ValueError):
    """A mistake below the section whose check finds it.

    Args:
        message: one line with the cure.
        location: the parts of the path from that section to it.
    """

    def __init__(self, message: str, *location: str) -> None:
        super().__init__(f"{'.'.join(location)}: {message}" if location else message)
        self.message, self.location = message, location


def explain(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    """The first mistake as (dotted field, one plain line that names the cure)."""
    first = error.errors()[0]
    location = location_of(first)
    dotted = ".".join(str(part) for part in location)
    given = first.get("input")
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        return dotted, f"unknown field.{closest(str(location[-1]), known)} Known: {', '.join(known)}."
    if first["type"] == "missing":
        return dotted, "is required; add it to the experiment."
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, Misplaced):
        return dotted, _ended(cause.message)
    message = _CURES.get(first["type"]) or first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    shown = "" if first["type"] == "value_error" else f" (got {shortened(given)})"
    return dotted, _ended(f"{message}{shown}")


def location_of(first: Any) -> list[Any]:
    """Where a mistake of pydantic's list is, as the file has it."""
    written = [part for part in first["loc"] if not _is_type_tag(part)]
    return [*written, *getattr(first.get("ctx", {}).get("error"), "location", ())]


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."


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


_TYPE_TAG = re.compile(r"str|int|float|(list|dict|union|function|nullable|tagged)[\w-]*\[.*\]")


def _is_type_tag(part: Any) -> bool:
    # pydantic names the branch of a union in the location ("list[...]", "str"); users never wrote that.
    return isinstance(part, str) and _TYPE_TAG.fullmatch(part) is not None


def _fields_at(model: type[BaseModel], location: Sequence[Any]) -> list[str]:
    """The fields of the section at `location`; none where there is no section."""
    here: Any = model
    for part in location:
        if get_origin(here) is dict:  # a mapping of names
            here = _section_in(get_args(here)[-1])
        elif here is not None:
            field = here.model_fields.get(str(part))
            here = None if field is None else _section_in(field.annotation)
    return list(getattr(here, "model_fields", ()))


def _section_in(annotation: Any) -> Any:
    """The section, or mapping of sections, that a field of this type may hold; None if there is none."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _section_in(get_args(annotation)[0])
    if origin in (Union, UnionType):
        found = (_section_in(member) for member in get_args(annotation))
        return next((section for section in found if section is not None), None)
    if origin is dict:
        return annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
