"""How flat the loss lies around tuned models, for claims about it: measured once, kept with the trial's numbers."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from cl_forget.claims.claim import FLATNESS
from cl_forget.claims.planning import Plan
from cl_forget.comparison.trials import Trial, load_trial
from cl_forget.ground.errors import UserError
from cl_forget.ground.progress import into, stretch
from cl_forget.run.additions import registered
from cl_forget.sweeps.pool import begin

POINTS = 5
"""Points per side of the plane of losses."""


def wanted(plan: Plan, trials: Sequence[Trial], folder: Path) -> list[str]:
    """The trials that a claim about flatness reads, that are finished, and whose flatness is not known yet."""
    arms: dict[str, set[str]] = {}
    for one in plan.asked:
        if one.claim.flatness:
            arms.setdefault(one.key, set()).update(one.arms)
    known = {trial.id: trial for trial in trials}
    names = [
        report.trial.id
        for key, of_world in arms.items()
        for report in plan.needed[key].reporting(trials)
        if report.trial.method in of_world
    ]
    return [
        name
        for name in dict.fromkeys(names)
        if name in known and known[name].status == "finished" and FLATNESS[0] not in known[name].test
        and (folder / "trials" / name / "result.json").exists()
    ]  # fmt: skip


def planes(plan: Plan) -> bool:
    """Whether a claim reads more than the SAM gap, which is had for a twentieth of the work."""
    measures = {name for one in plan.asked for name in (one.claim.measure, one.claim.against)}
    return bool(measures & set(FLATNESS[1:]))


def measure(
    names: Sequence[str], folder: Path, jobs: int, tell: Callable[[str], None], whole: bool = True
) -> None:
    """Measure these trials in processes side by side; one that cannot be measured is told of and left.

    Args:
        names: ids of the trials.
        folder: that holds their runs.
        jobs: processes.
        tell: given a line for each.
        whole: whether all of `FLATNESS` is measured, or the SAM gap alone.
    """
    if not names:
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, initializer=begin, initargs=(registered(),)) as pool:
        futures = {pool.submit(_one, folder, name, whole): name for name in names}
        for future in as_completed(futures):
            try:
                tell(f"flatness of {futures[future]}: {future.result()}")
            except UserError as error:
                tell(f"flatness of {futures[future]}: {error}")


def _one(folder: Path, name: str, whole: bool) -> str:
    """Measure one trial and note it in its record; what was found, in words.

    A measure that has no number is noted as None, so that it is not measured again.
    """
    from cl_forget.run.flatness import gap, landscape

    place = folder / "trials" / name
    into(folder)
    with stretch(0, f"measuring the flatness of {name}"):
        found: dict[str, Any] = (
            landscape(place, points=POINTS)["tuned"] if whole else {FLATNESS[0]: gap(place)}
        )
    trial = load_trial(folder, name)
    assert trial is not None
    numbers = {measure: found[measure] for measure in FLATNESS if measure in found}
    trial.model_copy(update={"test": {**trial.test, **numbers}}).save(folder)
    return ", ".join(f"{measure} {_said(value)}" for measure, value in numbers.items())


def _said(value: float | None) -> str:
    return "has no number, as the loss is not finite or has no slope" if value is None else f"{value:.4g}"
