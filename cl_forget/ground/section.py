"""A part of a configuration file: typed, frozen, without unknown fields, and of values as they are written."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

_POWER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
"""`1e-4`, which YAML 1.1 takes for text as there is no point in it."""
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")


class Exact(BaseModel):
    """A record whose fields are converted where nothing is lost: 1 is 1.0, but true is not 1 and "3" is not 3."""

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        return as_written(value, cls.model_fields[info.field_name or ""].annotation)


class Section(Exact):
    """A part of a file: frozen, no field that is not known, and no number without an end."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def as_written(value: Any, annotation: Any) -> Any:
    """The value, with numbers like `1e-4` read as what they are.

    Args:
        value: from a file, a command line or a program.
        annotation: the type it is meant for; whatever else is wrong with it, pydantic says.

    Raises:
        PydanticCustomError: true or false for a number, quoted numbers, another word for true or false, no path.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return as_written(value, arguments[0])
    if origin in (Union, types.UnionType):
        return _one_of(value, arguments)
    if isinstance(value, list | tuple) and _is_series(origin):
        kinds = arguments if origin is tuple and Ellipsis not in arguments else arguments[:1] * len(value)
        items = [as_written(item, kind) for item, kind in zip(value, kinds, strict=False)]
        return type(value)([*items, *value[len(items) :]])
    if (
        isinstance(value, dict)
        and isinstance(origin, type)
        and issubclass(origin, Mapping)
        and len(arguments) > 1
    ):
        return {key: as_written(item, arguments[1]) for key, item in value.items()}
    return _scalar(value, annotation)


def is_number(value: Any) -> bool:
    """Whether it is a number in quotes."""
    return isinstance(value, str) and _NUMBER.fullmatch(value) is not None


def power(value: Any) -> Any:
    """`1e-4`, which YAML takes for text, as the number it is; everything else as it is."""
    return float(value) if isinstance(value, str) and _POWER.fullmatch(value) else value


def _is_series(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Sequence | Set)


def _one_of(value: Any, kinds: Sequence[Any]) -> Any:
    """The reading of the first kind that takes the value as it is written."""
    refused: PydanticCustomError | None = None
    for kind in kinds:
        if _may_take(kind, value):
            try:
                return as_written(value, kind)
            except PydanticCustomError as error:
                refused = refused or error
    if refused is not None:
        raise refused
    return value


def _may_take(kind: Any, value: Any) -> bool:
    origin = get_origin(kind)
    if origin is Annotated:
        return _may_take(get_args(kind)[0], value)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(kind))
    if kind is type(None) or kind is str:
        return isinstance(value, kind)
    return not isinstance(origin, type) or isinstance(value, dict | list | tuple | set)


def _scalar(value: Any, kind: Any) -> Any:
    if kind in (int, float):
        if isinstance(value, bool):
            raise PydanticCustomError("as_written", "should be a number, not true or false")
        value = power(value)
        if is_number(value):
            raise PydanticCustomError("as_written", "should be a number, written without quotes")
    if kind is bool and isinstance(value, int | float | str) and not isinstance(value, bool):
        raise PydanticCustomError("as_written", "should be true or false, written without quotes")
    if kind is Path and isinstance(value, str) and not value.strip():
        raise PydanticCustomError("as_written", "should be a path, and is empty")
    return value
