"""Which fields a search has varied, and where each trial stands along them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cl_forget.comparison.settings import varied, written
from cl_forget.comparison.trials import Trial
from cl_forget.config.arms import COMPOSE

Value = float | str | None


@dataclass(frozen=True)
class Field:
    """One field that trials differ in.

    Attributes:
        name: "<section>.<field>", or "seed".
        levels: its values in order where they are no numbers; empty where they are.
        logarithmic: whether its values span more than a decade and are all positive.
    """

    name: str
    levels: tuple[str, ...] = ()
    logarithmic: bool = False

    def coordinate(self, value: Value) -> float | None:
        """Where a value stands on the field's own axis: its level, its logarithm, or itself."""
        if value is None:
            return None
        if isinstance(value, str):
            return float(self.levels.index(value)) if value in self.levels else None
        return math.log10(value) if self.logarithmic else value


ACTS = " acts"
"""Behind a method's name: the field of a searched composition that is 1 where the method acts in it, else 0."""


def field_values(trial: Trial) -> dict[str, Value]:
    """The fields of a trial's mitigations and those that its sweep has set; what is no number as it is written.

    Of a composition that was searched, each method that acts is a field; ask `value_in` for those that do not.
    """
    found: dict[str, Value] = {}
    for item in trial.mitigations:
        for name, fields in item.items():
            for field, value in fields.items() if isinstance(fields, Mapping) else ():
                found[f"{name}.{field}"] = _plain(value)
    found |= {name: _plain(value) for name, value in varied(trial)}
    if found.pop(COMPOSE, None) is not None:
        found |= {f"{name}{ACTS}": 1.0 for item in trial.mitigations for name in item}
    return found


def value_in(row: Mapping[str, Value], name: str) -> Value:
    """The value of a field in what `field_values` gave of a trial; None where it has none."""
    return row.get(name, 0.0 if name.endswith(ACTS) else None)


Reading = Callable[[Trial], Mapping[str, Value]]
"""`field_values`, or what knows them already."""


def varied_fields(trials: Sequence[Trial], read: Reading = field_values) -> dict[str, list[Value]]:
    """Field -> its value in each trial, for the fields that every trial has and not all agree in; in their order."""
    rows = [read(trial) for trial in trials]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [value_in(row, name) for row in rows] for name in names}
    return {name: values for name, values in columns.items() if None not in values and len(set(values)) > 1}


def field_of(name: str, values: Sequence[Value]) -> Field:
    """The axis of a field that has these values."""
    texts = [value for value in values if isinstance(value, str)]
    if texts:
        return Field(name=name, levels=tuple(dict.fromkeys(texts)))
    return Field(name=name, logarithmic=spans_decades(values))


def spans_decades(values: Sequence[Value]) -> bool:
    """Whether these are positive numbers of which the largest is more than ten times the smallest."""
    known = [value for value in values if isinstance(value, int | float)]
    return bool(known) and min(known) > 0 and max(known) > 10 * min(known)


def ranks(values: Sequence[Value]) -> list[int]:
    """The place of each value among the different ones, from 0; texts in the order in which they come."""
    numbers = {value for value in values if isinstance(value, int | float)}
    texts = dict.fromkeys(value for value in values if isinstance(value, str))
    order = {value: k for k, value in enumerate([*sorted(numbers), *texts])}
    return [order[value] for value in values if value is not None]


def _plain(value: Any) -> Value:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None if value is None else written(value)


def tuned(trials: Sequence[Trial]) -> Iterator[tuple[str, list[Trial]]]:
    """Method -> its finished tuning trials, in order of appearance."""
    for method in dict.fromkeys(trial.method for trial in trials):
        yield (
            method,
            [t for t in trials if t.method == method and t.role == "tune" and t.status == "finished"],
        )
