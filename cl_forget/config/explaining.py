"""A validation error in one plain line that names the field and the cure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cl_forget.ground.hints import nearest


class Misplaced(ValueError):
    """A mistake below the section whose check finds it.

    Args:
        message: one line with the cure.
        location: the parts of the path from that section to it.
    """

    def __init__(self, message: str, *location: str | int) -> None:
        super().__init__(f"{'.'.join(map(str, location))}: {message}" if location else message)
        self.message, self.location = message, location


SPACED = ("train", "text")
"""The sections of a file whose fields a sweep's space may vary."""


def explain(error: ValidationError, model: type[BaseModel], owner: str = "") -> tuple[str, str]:
    """The foremost mistake as (dotted field, one plain line that names the cure).

    Args:
        error: what pydantic found.
        model: the record that was to be made.
        owner: what a sweep's space calls it, where it is a section or a mitigation and no whole file.
    """
    first = foremost(error)
    location = location_of(first)
    dotted = ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        known = list(_fields_of(_kinds_at(model, location[:-1])))
        hint = nearest(dotted, known, _everywhere(model))
        listed = f" Known: {', '.join(known)}." if known else ""
        return dotted, f"unknown field.{hint}{listed}"
    if first["type"] == "missing":
        return dotted, _ended(_missing(first, error))
    given, more = first.get("input"), first.get("ctx", {})
    cause = more.get("error")
    if isinstance(cause, Misplaced):
        return dotted, _ended(cause.message)
    place = [owner, *location] if owner else location
    varied = len(place) == 2 and place[0] in (owner, *SPACED)
    if varied and first["type"] in _OF_ONE_VALUE and isinstance(given, list | dict):
        written = f"{'.'.join(map(str, place))}: {shortened(given)}"
        return dotted, f"takes one value; a sweep tries several: `space: {{{written}}}`."
    if cure := _CURES.get(first["type"]):
        message = cure.format(**more)
    else:
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
    shown = "" if first["type"] == "value_error" else f" (got {shortened(given)})"
    return dotted, _ended(f"{message}{shown}")


def foremost(error: ValidationError) -> Any:
    """The first mistake of pydantic's list; a field that is not known before one beside it that is missing."""
    mistakes = error.errors()
    first = mistakes[0]
    beside = [m for m in mistakes if m["type"] == "extra_forbidden" and m["loc"][:-1] == first["loc"][:-1]]
    return beside[0] if first["type"] == "missing" and beside else first


def location_of(first: Any) -> list[Any]:
    """Where a mistake of pydantic's list is, as the file has it."""
    written = [part for part in first["loc"] if not _is_type_tag(part)]
    if first["type"] == "missing" and isinstance(written[-1], int):  # a value of a pair
        written.pop()
    return [*written, *getattr(first.get("ctx", {}).get("error"), "location", ())]


def _missing(first: Any, error: ValidationError) -> str:
    if not isinstance(first["loc"][-1], int):
        return "is required; add it"
    given, place = first["input"], first["loc"][:-1]
    lacking = sum(one["type"] == "missing" and one["loc"][:-1] == place for one in error.errors())
    return f"takes {len(given) + lacking} values, not {len(given)} (got {shortened(given)})"


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
    "too_short": "should name at least {min_length}, not {actual_length}",
    "too_long": "takes {max_length} values, not {actual_length}",
    "dict_type": "should be a mapping, written {{name: value}}",
    "model_type": "should be a mapping, written {{field: value}}",
    "model_attributes_type": "should be a mapping, written {{field: value}}",
}
"""Types of mistakes for which pydantic speaks to programmers, in the words of YAML."""


_OF_ONE_VALUE = frozenset({"float_type", "int_type", "bool_type", "string_type", "literal_error"})
"""Types of mistakes that a list makes where one value belongs."""

_TYPE_TAG = re.compile(r"str|int|float|(list|dict|literal|union|function|nullable|tagged)[\w-]*\[.*\]")


def _is_type_tag(part: Any) -> bool:
    # pydantic names the branch of a union in the location ("list[...]", "str"); users never wrote that.
    return isinstance(part, str) and _TYPE_TAG.fullmatch(part) is not None


def _kinds_at(kind: Any, location: Sequence[Any]) -> list[type[BaseModel]]:
    """The records that may stand at a place below a type: through fields, mappings, lists and alternatives."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if not location:
            return [kind]
        field = kind.model_fields.get(str(location[0]))
        return [] if field is None else _kinds_at(field.annotation, location[1:])
    arguments = get_args(kind)
    if get_origin(kind) in (dict, list, tuple):  # the location names a key or a position in it
        return _kinds_at(arguments[-1], location[1:]) if arguments and location else []
    return [found for argument in arguments for found in _kinds_at(argument, location)]


def _fields_of(kinds: Sequence[type[BaseModel]]) -> dict[str, Any]:
    return {name: field.annotation for kind in kinds for name, field in kind.model_fields.items()}


def _everywhere(kind: Any, prefix: str = "") -> list[str]:
    """Every field below a record with its place, as an override writes it."""
    found = []
    for name, annotation in _fields_of(_kinds_at(kind, ())).items():
        found += [f"{prefix}{name}", *_everywhere(annotation, f"{prefix}{name}.")]
    return found
