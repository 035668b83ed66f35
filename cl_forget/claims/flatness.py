"""How flat the loss lies around tuned models, for claims about it: measured once, kept with the trial's numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cl_forget.claims.claim import FLATNESS
from cl_forget.claims.planning import Plan
from cl_forget.comparison.trials import Trial, load_trial
from cl_forget.ground.errors import UserError
from cl_forget.ground.progress import into, stretch
from cl_forget.sweeps.pool import crew

POINTS = 5
"""Points per side of the plane of losses."""


def wanted(plan: Plan, trials: Sequence[Trial], folder: Path) -> dict[str, set[str]]:
    """Id of a finished trial -> the measures of flatness that a claim reads of it and its record does not hold."""
    return {name: lacking for name, lacking in _lacking(plan, trials).items() if _has_weights(folder, name)}


def gone(plan: Plan, trials: Sequence[Trial], folder: Path) -> set[str]:
    """The trials that have to be run again: a claim reads their flatness, and their record is all that is left."""
    return {name for name in _lacking(plan, trials) if not _has_weights(folder, name)}


def _lacking(plan: Plan, trials: Sequence[Trial]) -> dict[str, set[str]]:
    read: dict[str, dict[str, set[str]]] = {}  # of a world, by arm
    for one in plan.asked:
        for arm in one.arms if one.claim.flatness else ():
            read.setdefault(one.key, {}).setdefault(arm, set()).update(one.claim.flatness)
    known = {trial.id: trial for trial in trials}
    found: dict[str, set[str]] = {}
    for key, of_arms in read.items():
        for report in plan.needed[key].reporting(trials):
            name, trial = report.trial.id, known.get(report.trial.id)
            if trial is not None and trial.status == "finished":
                found.setdefault(name, set()).update(of_arms.get(trial.method, set()) - set(trial.test))
    return {name: lacking for name, lacking in found.items() if lacking}


def _has_weights(folder: Path, name: str) -> bool:
    return (folder / "trials" / name / "result.json").exists()


def measure(lacking: Mapping[str, set[str]], folder: Path, jobs: int, tell: Callable[[str], None]) -> None:
    """Measure trials in processes side by side; one that cannot be measured is told of and left.

    Args:
        lacking: id of a trial -> what is to be measured of it.
        folder: that holds their runs.
        jobs: processes.
        tell: given a line for each.
    """
    if not lacking:
        return
    names = list(lacking)
    with crew(jobs) as workers:
        for number, future in workers.each(_one, [(folder, name, lacking[name]) for name in names]):
            try:
                said = workers.result(future)
            except UserError as error:
                said = str(error)
            tell(f"flatness of {names[number]}: {said}")


def _one(folder: Path, name: str, lacking: set[str]) -> str:
    """Measure one trial and note it in its record; what was found, in words.

    The SAM gap alone is had for a twentieth of the work. A measure that has no number is noted as None, so that it
    is not measured again, and what the record holds already stays.
    """
    from cl_forget.run.flatness import gap, landscape

    place = folder / "trials" / name
    into(folder)
    with stretch(0, f"measuring the flatness of {name}"):
        found: dict[str, Any] = (
            {FLATNESS[0]: gap(place)}
            if lacking == {FLATNESS[0]}
            else landscape(place, points=POINTS)["tuned"]
        )
    trial = load_trial(folder, name)
    assert trial is not None
    numbers = {
        measure: found[measure] for measure in FLATNESS if measure in found and measure not in trial.test
    }
    trial.model_copy(update={"test": {**trial.test, **numbers}}).save(folder)
    return ", ".join(f"{measure} {_said(value)}" for measure, value in numbers.items())


def _said(value: float | None) -> str:
    return "has no number, as the loss is not finite or has no slope" if value is None else f"{value:.4g}"
