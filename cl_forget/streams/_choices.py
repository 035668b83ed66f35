"""Multiple choice as data sets write it: a list, and the right one by its text, position, label or letter."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any, NamedTuple

from cl_forget.ground.errors import UserError
from cl_forget.streams._cells import as_text, is_list, is_missing, look_up, parsed
from cl_forget.streams._rows import ClassName, Row, Table
from cl_forget.streams._turns import CannotRead
from cl_forget.streams.text import Prompt

EXAMPLE = '["one", "two"]'


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


class Part(NamedTuple):
    """What was read of one split, before it is known how the right choices are given.

    Attributes:
        what: the split, for messages.
        table: its rows.
        positions: of the rows that are used.
        pairs: their prompts and responses.
        lists: the choices of each; empty without.
        found: what was noticed, in words, and how often.
    """

    what: str
    table: Table
    positions: list[int]
    pairs: list[tuple[Prompt, str]]
    lists: list[Listed]
    found: Counter[str]

    @property
    def rows(self) -> list[Row]:
        """The rows that are used."""
        return [self.table.rows[i] for i in self.positions]


@dataclass(frozen=True)
class Choices:
    """Where the choices and the right one of them stand.

    Attributes:
        columns: the column of the choices, or one for each of them.
        response: the column of the right one, or a template.
    """

    columns: Sequence[str]
    response: str

    def listed(self, row: Row) -> Listed:
        """The choices of a row: a list, also as text in a cell, or texts with labels, as in ARC.

        Raises:
            CannotRead: no such list.
        """
        if len(self.columns) > 1:
            return _one_each(row, self.columns)
        (column,) = self.columns
        value = look_up(row, column)
        typed, value = not isinstance(value, str), _as_list(column, value)
        labels: Sequence[Any] = ()
        if isinstance(value, Mapping) and is_list(value.get("text")):  # {"text": [...], "label": [...]}
            labels, value = value.get("label", ()), value["text"]
        elif isinstance(value, Mapping):  # {"A": ..., "B": ...}
            labels, value = list(value), list(value.values())
        elif is_list(value) and value and all(isinstance(own, Mapping) and "text" in own for own in value):
            labels = [own["label"] for own in value if "label" in own]
            value = [own["text"] for own in value]
        if not is_list(value):
            said = " and no text" if isinstance(value, str) else ""
            raise CannotRead(f"column '{column}' must hold a list of choices{said}, such as {EXAMPLE}")
        texts = [as_text(own) for own in value]
        if None in texts:
            raise CannotRead(f"column '{column}' holds a choice that is not a text")
        named = tuple(str(label) for label in labels) if len(labels) == len(texts) else ()
        numbers = any(isinstance(own, (int, float)) for own in value)
        return Listed(tuple(text for text in texts if text is not None), named, typed, numbers)

    def right(self, what: str, parts: Mapping[str, Part]) -> dict[str, list[str]]:
        """The text of the right choice of every row of every split; all rows are read in the same way.

        Args:
            what: the data, for messages.
            parts: split -> its rows; what was noticed is counted there.

        Raises:
            UserError: no way of reading fits every row, or two that disagree do.
        """
        given = [
            (row.get(self.response, text), text.strip(), own)
            for part in parts.values()
            for row, (_, text), own in zip(part.rows, part.pairs, part.lists, strict=True)
        ]
        readings = {name: [find(*own) for own in given] for name, find in _READINGS.items()}
        whole = {name: own for name, own in readings.items() if None not in own}
        unclear = any(own.unclear(value) for value, _, own in given)
        if unclear and {"by text", "by position"} <= set(whole) and whole["by text"] != whole["by position"]:
            raise UserError(
                f"{what}: '{self.response}' may be the text of a choice or its position, and the two disagree; "
                "write letters (A, B, ...) for positions, or choices that are not numbers."
            )
        if not whole:
            raise self._nothing_fits(parts, readings)
        name = next(iter(whole))
        if name == "by position" and _from_one([value for value, _, _ in given]):
            raise UserError(
                f"{what}: '{self.response}' holds positions and none of its {len(given):,} is 0, so they may be "
                "counted from 1; count from 0, or write letters (A, B, ...) or the text of the choice."
            )
        texts = (text for text in whole[name] if text is not None)
        right = {}
        for split, part in parts.items():
            part.found[f"right choices are given {name} ('{self.response}')"] += len(part.pairs)
            right[split] = [next(texts) for _ in part.pairs]
        return right

    def _nothing_fits(self, parts: Mapping[str, Part], readings: Mapping[str, list[str | None]]) -> UserError:
        best = max(readings.values(), key=lambda own: sum(text is not None for text in own))
        failed, first = best.count(None), best.index(None)
        part = next(iter(parts.values()))
        for part in parts.values():
            if first < len(part.pairs):
                break
            first -= len(part.pairs)
        value = part.rows[first].get(self.response, part.pairs[first][1])
        count = len(part.lists[first].texts)
        sizes = f"{count} choices" if count else "no choices"
        return UserError(
            f"{part.what}, sample {first + 1}: the response {value!r} is none of its {sizes}, nor the position (from "
            f"0), label or letter of one (row {part.table.number(part.positions[first])}); {failed:,} of "
            f"{len(best):,} rows are so."
        )


# -- ways of saying which one is right; each gives the text of the choice, or None ----------------------------


def _from_one(values: Sequence[Any]) -> bool:
    """Whether positions differ and none is 0; one position alone is not counted, it is the same everywhere."""
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


def _as_list(column: str, value: Any) -> Any:
    """A list that a cell holds as JSON, or as Python writes it (which pandas does).

    Raises:
        CannotRead: texts without commas, as NumPy writes arrays, which Python would join to one.
    """
    value = parsed(value)
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            read = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return value
        kinds = [own.type for own in tokenize.generate_tokens(io.StringIO(value.strip()).readline)]
        kinds = [kind for kind in kinds if kind not in (tokenize.NL, tokenize.NEWLINE)]
        if (tokenize.STRING, tokenize.STRING) in pairwise(kinds):
            raise CannotRead(
                f"column '{column}' holds {value[:60]!r}, which has no commas and is no list; write {EXAMPLE}"
            )
        return read
    return value


def spread_choices(columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that hold one choice each: A, B, C; option_a, option_b; choice1, choice2; () where none do."""
    single = {name: name for name in columns if len(name) == 1}
    longer = {name.lower().replace("_", "").replace(" ", ""): name for name in columns}
    letters = _row(single, "ABCDEFGHIJ")
    rows = [letters] if len(letters) > 2 else []  # two may be the numbers of a sum
    for stem in ("option", "opt", "op", "choice", "sol", "ending"):
        rows += [
            _row(longer, [stem + sign for sign in signs])
            for signs in ("abcdefghij", "123456789", "0123456789")
        ]
    return next((row for row in rows if len(row) > 1), ())


def _row(by_name: Mapping[str, str], names: Sequence[str]) -> tuple[str, ...]:
    """The columns of these names up to the first that is missing."""
    return tuple(by_name[name] for name in takewhile(by_name.__contains__, names))


def _one_each(row: Row, columns: Sequence[str]) -> Listed:
    """Choices in columns of their own; a row may have fewer than others, the last ones being empty."""
    values = [look_up(row, column) for column in columns]
    while values and (is_missing(values[-1]) or not str(values[-1]).strip()):
        values.pop()
    texts = [as_text(own) for own in values]
    for column, own, text in zip(columns, values, texts, strict=False):
        if is_missing(own) or text is None or not text.strip():
            raise CannotRead(f"column '{column}' holds no choice, and others after it do; fill it in")
    typed, numbers = (
        not all(isinstance(own, str) for own in values),
        any(isinstance(own, (int, float)) for own in values),
    )
    return Listed(
        tuple(text for text in texts if text is not None), tuple(columns[: len(texts)]), typed, numbers
    )
