"""The value of a cell as the text that a person would write for it."""

from __future__ import annotations

import datetime
import json
import math
import string
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from cl_forget.ground.errors import UserError

MISSING = object()
"""Stands for the value of a column that a row does not have."""


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: no such key, null, or the NaN that pandas writes for null."""
    return value is MISSING or value is None or (isinstance(value, float) and math.isnan(value))


def as_text(value: Any) -> str | None:
    """A text, number, truth value or date as text; None for what no prompt can hold (lists, bytes)."""
    if isinstance(value, str):
        text = str(value)
        return text if _is_whole(text) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):  # `Infinity`, or a number too large to be one
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # a column of integers becomes one of floats where a single cell is empty
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time() and value.tzinfo is None:
        return value.date().isoformat()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return None


def columns_of(pattern: str) -> list[str]:
    """The columns that a column's name or a template such as "Question: {question}" needs.

    Raises:
        UserError: a template that cannot be read, or that asks for more than the text of a column.
    """
    if "{" not in pattern:
        return [pattern] if pattern else []
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise UserError(f"template '{pattern}' cannot be read ({error}); write {{{{ for a brace.") from None
    for _, field, form, conversion in parts:
        if field is not None and (not field or form or conversion):
            raise UserError(
                f"template '{pattern}' cannot be read: between braces stands the name of a column and nothing "
                "else; write {{ for a brace."
            )
    return [field for _, field, _, _ in parts if field is not None]


def fill(pattern: str, texts: Mapping[str, str]) -> str:
    """A template with the texts of its columns; they are put in as they are, braces and all."""
    if "{" not in pattern:
        return texts[pattern]
    parts = string.Formatter().parse(pattern)
    return "".join(literal + (texts[field] if field is not None else "") for literal, field, _, _ in parts)


def parsed(value: Any) -> Any:
    """A list or an object that a cell of CSV holds as JSON; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def is_list(value: Any) -> bool:
    """Whether a value is a list and not a text."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_whole(text: str) -> bool:
    """Whether no character is half of a pair, as a text cut in the middle of an emoji has it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def look_up(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column, or of a place inside it: "answers.text.0"; `MISSING` where the row has none."""
    if name in row:
        return row[name]
    value: Any = row
    for step in name.split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif is_list(value) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return MISSING
    return value
