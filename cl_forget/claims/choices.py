"""What each arm of a world chose, and where that is an end of its grid: part of every comparison of arms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cl_forget.claims.planning import Needed, Plan
from cl_forget.comparison.trials import Trial

LOWEST, HIGHEST = "↓", "↑"


def choices(plan: Plan, trials: Mapping[str, Trial]) -> dict[str, dict[str, str]]:
    """World -> arm -> the fields of the setting that it chose, the ends of its grid marked.

    Arms without a choice, and those whose settings are not all over, are left out.

    Args:
        plan: the claims.
        trials: the records by id.
    """
    found: dict[str, dict[str, str]] = {}
    for key, needed in plan.needed.items():
        world = next(one.world for one in plan.asked if one.key == key)
        for arm, config in needed.selected(trials.values()).items():
            fields = [_field(name, value, needed, arm) for name, value in sorted(config.items())]
            if said := ", ".join(filter(None, fields)):
                found.setdefault(world, {})[arm] = said
    return {world: dict(sorted(arms.items())) for world, arms in found.items()}


def _field(name: str, value: Any, needed: Needed, arm: str) -> str:
    of_arm = needed.sweep.ranges(arm)
    values = of_arm[name].values or [] if name in of_arm else []
    if len(values) < 2:
        return ""
    numbers = [one for one in values if isinstance(one, int | float)]
    end = ""
    if len(numbers) == len(values):
        end = f" {LOWEST}" if value == min(numbers) else f" {HIGHEST}" if value == max(numbers) else ""
    return f"{name} {f'{value:g}' if isinstance(value, float) else value}{end}"


def sentences(chosen: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """World -> what its arms chose, in one sentence."""
    return {
        world: f"Chosen in the world {world} ({LOWEST} and {HIGHEST}: the lowest and the highest of its grid): "
        + "; ".join(f"{arm}: {said}" for arm, said in arms.items())
        + "."
        for world, arms in chosen.items()
    }
