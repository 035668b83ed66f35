"""Multiple choice as data sets write it: a list, and the right one by its text, position, label or letter."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cl_forget.ground.errors import UserError
from cl_forget.streams._cells import as_text, is_list, look_up, parsed
from cl_forget.streams._rows import ClassName, Row
from cl_forget.streams._turns import CannotRead


class Listed(NamedTuple):
    """The choices of a row: their texts, their labels where they have some, and whether the source has types.

    A cell of CSV has none: there a 1 may be the text of a choice or its position.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    typed: bool
    numbers: bool

    def unclear(self, value: Any) -> bool:
        """Whether a number may mean the text of a choice as well as its position."""
        return not self.typed or (not self.numbers and isinstance(value, (int, ClassName)))


@dataclass(frozen=True)
class Choices:
    """Where the choices and the right one of them stand.

    Attributes:
        column: the column of the choices.
        response: the column of the right one, or a template.
    """

    column: str
    response: str

    def listed(self, row: Row) -> Listed:
        """The choices of a row: a list, also as text in a cell, or texts with labels, as in ARC.

        Raises:
            CannotRead: no such list.
        """
        value = look_up(row, self.column)
        typed, value = not isinstance(value, str), _as_list(value)
        labels: Sequence[Any] = ()
        if isinstance(value, Mapping) and is_list(value.get("text")):  # {"text": [...], "label": [...]}
            labels, value = value.get("label", ()), value["text"]
        elif isinstance(value, Mapping):  # {"A": ..., "B": ...}
            labels, value = list(value), list(value.values())
        elif is_list(value) and value and all(isinstance(own, Mapping) and "text" in own for own in value):
            labels = [own["label"] for own in value if "label" in own]
            value = [own["text"] for own in value]
        if not is_list(value):
            raise CannotRead(f"column '{self.column}' must hold a list of choices")
        texts = [as_text(own) for own in value]
        if None in texts:
            raise CannotRead(f"column '{self.column}' holds a choice that is not a text")
        named = tuple(str(label) for label in labels) if len(labels) == len(texts) else ()
        numbers = any(isinstance(own, (int, float)) for own in value)
        return Listed(tuple(text for text in texts if text is not None), named, typed, numbers)

    def right(
        self,
        what: str,
        rows: Sequence[Row],
        responses: Sequence[str],
        lists: Sequence[Listed],
        found: Counter[str],
    ) -> list[str]:
        """The text of the right choice of every row; all rows are read in the same way.

        Args:
            what: the table, for messages.
            rows: the rows.
            responses: the responses as texts.
            lists: the choices of each.
            found: counts what was noticed, in words.

        Raises:
            UserError: no way of reading fits every row, or two that disagree do.
        """
        values = [row.get(self.response, text) for row, text in zip(rows, responses, strict=True)]
        readings: dict[str, list[str | None]] = {}
        for name, find in _READINGS.items():
            readings[name] = [
                find(value, text.strip(), own)
                for value, text, own in zip(values, responses, lists, strict=True)
            ]
        whole = {name: own for name, own in readings.items() if None not in own}
        unclear = any(own.unclear(value) for own, value in zip(lists, values, strict=True))
        if unclear and {"by text", "by position"} <= set(whole) and whole["by text"] != whole["by position"]:
            raise UserError(
                f"{what}: '{self.response}' may be the text of a choice or its position, and the two disagree; "
                "write letters (A, B, ...) for positions, or choices that are not numbers."
            )
        if not whole:
            raise self._nothing_fits(what, values, readings, lists)
        name = next(iter(whole))
        if name == "by position" and len(rows) >= SOME and _from_one(values):
            raise UserError(
                f"{what}: '{self.response}' holds positions and none of its {len(rows):,} is 0, so they may be "
                "counted from 1; count from 0, or write letters (A, B, ...) or the text of the choice."
            )
        found[f"right choices are given {name} ('{self.response}')"] += len(rows)
        return [text for text in whole[name] if text is not None]

    def _nothing_fits(
        self,
        what: str,
        values: Sequence[Any],
        readings: Mapping[str, list[str | None]],
        lists: Sequence[Listed],
    ) -> UserError:
        best = max(readings.values(), key=lambda own: sum(text is not None for text in own))
        first = best.index(None)
        sizes = f"{len(lists[first].texts)} choices" if lists[first].texts else "no choices"
        return UserError(
            f"{what}, sample {first + 1}: the response {values[first]!r} is none of its {sizes}, nor the position "
            f"(from 0), label or letter of one; {best.count(None):,} of {len(values):,} rows are so."
        )


# -- ways of saying which one is right; each gives the text of the choice, or None ----------------------------


SOME = 20
"""Among so many right choices the first one is seen."""


def _from_one(values: Sequence[Any]) -> bool:
    positions = [value.position if isinstance(value, ClassName) else value for value in values]
    met = {str(position).strip() for position in positions}
    return len(met) > 1 and not met & {"0", "0.0"}


def _by_label(value: Any, text: str, own: Listed) -> str | None:
    return own.texts[own.labels.index(text)] if text in own.labels else None


def _by_text(value: Any, text: str, own: Listed) -> str | None:
    fitting = [choice for choice in own.texts if choice.strip() == text]
    return fitting[0] if fitting else None


def _by_position(value: Any, text: str, own: Listed) -> str | None:
    position = value.position if isinstance(value, ClassName) else int(text) if text.isdecimal() else -1
    return own.texts[position] if 0 <= position < len(own.texts) else None


def _by_letter(value: Any, text: str, own: Listed) -> str | None:
    letter = text.strip("().: ").upper()
    position = ord(letter) - ord("A") if len(letter) == 1 else -1
    return own.texts[position] if 0 <= position < len(own.texts) else None


_READINGS: dict[str, Callable[[Any, str, Listed], str | None]] = {
    "by label": _by_label,
    "by text": _by_text,
    "by letter": _by_letter,
    "by position": _by_position,
}
"""The first of these that fits every row is taken."""


def _as_list(value: Any) -> Any:
    """A list that a cell holds as JSON, or as Python writes it (which pandas does)."""
    value = parsed(value)
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return value
    return value
