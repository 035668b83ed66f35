"""Figures of several plots with choices of their own, as pure data: what a sweep's page shows of the search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from cl_forget.comparison.measures import Cell
from cl_forget.reporting.specification import Figure, Kind


@dataclass(frozen=True)
class Choice:
    """Something the reader of a figure may choose.

    Attributes:
        name: how the figure's script calls it.
        label: before the choices.
        options: value -> its name for people; the first one is shown first. Empty where they depend on another
            choice.
    """

    name: str
    label: str
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Panels(Figure):
    """A figure of several plots. Without a panel nothing is drawn, and its notes say why.

    Attributes:
        panels: name of a plot -> the heading above it.
        choices: what the reader may choose.
        layout: how the plots stand: "small" many beside each other, "pair" two, "wide" each in a line of its own.
    """

    panels: dict[str, str] = field(default_factory=dict)
    choices: tuple[Choice, ...] = ()
    layout: ClassVar[Literal["small", "pair", "wide"]] = "small"


@dataclass(frozen=True, kw_only=True)
class Shares(Panels):
    """What each field explains of each objective; data: `study`, `measure`, `field`, `share`.

    Attributes:
        methods: the studies that are a method's, and not of all of them.
    """

    kind = "shares"

    methods: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Slices(Panels):
    """One method's trials along each field that was varied.

    Data: `run`, `method`, `seed`, a column per field (None where a trial has none), a column per measure.

    Attributes:
        axes: method -> its fields, each with `name`, `levels` and `logarithmic` as `varied.Field`.
    """

    kind: ClassVar[Kind] = "slices"

    axes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pairs(Slices):
    """One method's trials over two fields: a surface through them, and their ranks.

    Data as of `Slices`, and `rank:<measure>`: 1 for the method's best trial.

    Attributes:
        surfaces: each with `method`, `x`, `y` (fields), `measure`, and the grid `at_x`, `at_y`, `heights`.
    """

    kind = "pairs"
    layout = "pair"

    surfaces: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class History(Panels):
    """Each trial in the order in which they ended.

    Data: `run`, `method`, `seed`, `number`, `seconds`, `status`, a column per measure and `best:<measure>`.
    """

    kind = "history"
    layout = "wide"


@dataclass(frozen=True, kw_only=True)
class Anytime(Panels):
    """What each method had reached for how much; data: `run`, `method`, `passes`, `seconds`, `hypervolume`."""

    kind = "anytime"
    layout = "pair"


@dataclass(frozen=True, kw_only=True)
class Lanes(Panels):
    """Trials over workers; data: `run`, `method`, `seed`, `status`, `lane`, `start`, `end` (None: not known).

    Attributes:
        lanes: how many.
        sessions: (from, to) of the times in which somebody worked.
    """

    kind = "lanes"
    layout = "wide"

    lanes: int = 0
    sessions: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Profiles(Panels):
    """Performance profiles; data: `method`, `measure`, `gap`, `share`."""

    kind = "profiles"


@dataclass(frozen=True, kw_only=True)
class Law(Panels):
    """What is left against how far a model moved; data: `run`, `method`, `seed`, `setting`, a column per measure.

    Attributes:
        y: what is left.
        curves: distance -> ([x], [y]) of the curve through all points.
        explained: distance -> R² over seeds.
        residuals: distance -> method -> its mean distance from the curve through all others.
    """

    kind = "law"
    layout = "pair"

    y: str
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    explained: Mapping[str, Cell] = field(default_factory=dict)
    residuals: Mapping[str, Mapping[str, Cell]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ledger(Figure):
    """Verdicts on claims; data: `claim`, `source`, `world`, `compared`, `effect`, `seeds`, `verdict`."""

    kind = "ledger"
