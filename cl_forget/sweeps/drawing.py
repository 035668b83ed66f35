"""How a setting is drawn from a space, field by field; no Ray and no Optuna in here."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from cl_forget.config.arms import COMPOSE
from cl_forget.config.sweep import AND, Range, Sweep
from cl_forget.mitigations.protocol import PLACES, Mitigation


def drawing(sweep: Sweep, arm: str) -> Callable[[Any], dict[str, Any]]:
    """The space of a method in Optuna's define-by-run: asks a trial for each field, and returns what follows of them.

    Of a composition that is searched, who acts comes first, and only their fields follow: each mitigation draws a
    number and the largest act, as many as are drawn for, passing over what does not go with those before it (random
    keys, Bean 1994). So every draw is a composition that runs, and at first each mitigation acts as often as any
    other.
    """
    members, own = sweep.arms[arm], sweep.own(arm).compose

    def draw(trial: Any) -> dict[str, Any]:
        if own is None:
            _fields(trial, sweep.ranges(arm))
            return {}
        count = trial.suggest_int("how many act", 1, min(own.most, len(members)))
        keys = {m.name: trial.suggest_float(f"{m.name} acts", 0.0, 1.0) for m in members}
        acting: list[Mitigation] = []
        for m in sorted(members, key=lambda m: -keys[m.name]):
            if len(acting) < count and sweep.together(arm, [*acting, m]):
                acting.append(m)
        acting.sort(key=lambda m: (PLACES.index(m.place), m.order, m.name))
        _fields(trial, sweep.ranges(arm, acting))
        return {COMPOSE: AND.join(m.name for m in acting)}

    return draw


def _fields(trial: Any, ranges: dict[str, Range]) -> None:
    for field, values in ranges.items():
        if values.values is not None:
            trial.suggest_categorical(field, values.values)
        else:
            trial.suggest_float(field, *values.ends(), log=values.log_uniform is not None)


class Dice:
    """Stands in for Optuna's trial: draws evenly, and keeps what it drew.

    Attributes:
        drawn: name -> value.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.drawn: dict[str, Any] = {}

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """A whole number, both ends included."""
        value = self.drawn[name] = self._random.randint(low, high)
        return value

    def suggest_float(self, name: str, low: float, high: float, log: bool = False) -> float:
        """A number between two, or one whose logarithm is."""
        if log:
            low, high = math.log(low), math.log(high)
        value = self._random.uniform(low, high)
        self.drawn[name] = math.exp(value) if log else value
        return float(self.drawn[name])

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        """One of several values."""
        value = self.drawn[name] = self._random.choice(choices)
        return value


def drawn(sweep: Sweep, arm: str, seed: int) -> dict[str, Any]:
    """A setting of a method, drawn evenly: dotted field -> value, and which methods act in a composition."""
    dice = Dice(seed)
    said = drawing(sweep, arm)(dice)
    return {**said, **{field: dice.drawn[field] for field in sweep.ranges(arm) if field in dice.drawn}}
