"""Rows of one table that a column divides into splits."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from cl_forget.streams._image_rows import Rows
from cl_forget.streams._rows import SPLIT_COLUMNS, SPLITS, names_no_split


class Part(Rows):
    """Some rows of a table, without the column that chose them."""

    def __init__(self, what: str, rows: Rows, places: list[int], column: str) -> None:
        self.what, self.images, self.classes = what, rows.images, rows.classes
        self.columns = tuple(name for name in rows.columns if name != column)
        self.format = f"{rows.format}, splits by column '{column}'"
        self._rows, self._places = rows, places

    def __len__(self) -> int:
        return len(self._places)

    def number(self, position: int) -> int:
        return self._rows.number(self._places[position])

    def column(self, name: str) -> list[Any]:
        every = self._rows.column(name)
        return [every[place] for place in self._places]

    def cell(self, name: str, row: int) -> Any:
        return self._rows.cell(name, self._places[row])

    def held(self, name: str) -> list[Any]:
        every = self._rows.held(name)
        return [every[place] for place in self._places]


def by_column(what: str, rows: Rows, used: Collection[str | None], notes: list[str]) -> dict[str, Rows]:
    """The rows by the split that a column names; all of them as train where none does.

    Args:
        what: the table, for messages.
        rows: all of its rows.
        used: columns that hold something else.
        notes: gets what has to be said.

    Raises:
        UserError: a column names splits, but not in every row.
    """
    by_name = {name.lower(): name for name in reversed(rows.columns) if name not in used}
    named = {by_name[name]: _splits(rows, by_name[name]) for name in SPLIT_COLUMNS if name in by_name}
    for column, splits in named.items():
        if None not in splits:
            places: dict[str, list[int]] = {}
            for place, split in enumerate(splits):
                places.setdefault(str(split), []).append(place)
            return {split: Part(f"{what}, {split}", rows, own, column) for split, own in places.items()}
    for column, splits in named.items():
        if any(splits):
            first = splits.index(None)
            raise names_no_split(rows.row(first), column, rows.column(column)[first], splits)
        notes.append(f"column '{column}' is not used: it names no split ({', '.join(SPLITS)})")
    return {"train": rows}


def _splits(rows: Rows, column: str) -> list[str | None]:
    names = rows.classes.get(column)
    values = rows.column(column)
    if names is not None:
        values = [None if value is None or value < 0 else names[value] for value in values]
    return [SPLITS.get(str(value).strip().lower()) for value in values]
