"""The quantities that a comparison shows, with their units and definitions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Frame = dict[str, list[Any]]
"""A table by columns of equal length, one entry per observation."""


Unit = Literal["percent", "points", "change", "nats", "seconds", "ratio", "count", "megabytes", "number"]


PRETRAINED = "pre-trained"
"""How the untouched model (row 0) is called in every figure and table."""


@dataclass(frozen=True)
class Measure:
    """One quantity.

    Attributes:
        name: its key in frames and CSV files.
        title: its name for people.
        unit: how it is shown: "percent" and "points" (a loss in percentage points) are fractions times 100,
            "change" is the same with its sign always written.
        definition: one line that says exactly what was computed.
        better: which direction is better; None if neither is.
        group: what it belongs to, for the headings above a table's columns.
    """

    name: str
    title: str
    unit: Unit
    definition: str
    better: Literal["higher", "lower"] | None = None
    group: str = ""


@dataclass(frozen=True)
class Cell:
    """A mean over seeds.

    Attributes:
        mean: None if no seed has the value.
        low, high: its 95 % interval, of two seeds their values; None below two seeds.
        best: whether no other method shows a better value, to the digits shown.
        count: how many seeds have the value; None where nobody has counted.
        error: of a single seed, the standard error over items; None where it is not known.
    """

    mean: float | None
    low: float | None = None
    high: float | None = None
    best: bool = False
    count: int | None = field(default=None, compare=False)
    error: float | None = field(default=None, compare=False)
