"""Runs what a plan asks for: in processes of this machine, or as Ray Tune trials."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.claims.flatness import gone, measure, wanted
from cl_forget.claims.order import slices
from cl_forget.claims.planning import Needed, Plan
from cl_forget.claims.records import load_records
from cl_forget.claims.reuse import Reuse
from cl_forget.comparison.trials import Trial, load_trials
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import remove_leftovers
from cl_forget.sweeps.folder import SweepState, only_driver
from cl_forget.sweeps.live import LogView
from cl_forget.sweeps.planning import Group, Planned, share
from cl_forget.sweeps.pool import Queue, Wave, work_through

if TYPE_CHECKING:
    from cl_forget.sweeps.cluster import Resources

NAME = "claims"


def run(
    plan: Plan,
    folder: Path,
    kept: list[Path],
    jobs: int = 1,
    cluster: Resources | None = None,
    until: float = float("inf"),
    tell: Callable[[str], None] = lambda line: None,
    reuse: Sequence[Path] = (),
    report: bool = True,
) -> bool:
    """Run every trial of a plan that is not over; what is over in kept records counts.

    Without Ray the claims that need least come first, each with its tuning and then its report.

    Args:
        plan: of all claims.
        folder: of the runs; whatever it holds stays.
        kept: files of kept records.
        jobs: processes of this machine side by side, each with one thread; no Ray is needed.
        cluster: a Ray cluster to run on instead, and what a trial takes of it.
        until: `time.time()` from which on nothing more is begun, without Ray.
        tell: given a line now and then.
        reuse: places whose runs count (`Reuse`); they are looked at again before every claim, and with Ray before
            the report.
        report: whether what tuning has chosen is run, too, without Ray. What is averaged should come from one
            machine; tuning may come from another, as nothing is averaged over it.

    Returns:
        Whether everything was begun.

    Raises:
        UserError: somebody else works in the folder, or it cannot be written.
    """
    try:
        (folder / "trials").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --output.") from None

    def flatten(trials: Sequence[Trial]) -> None:
        measure(wanted(plan, trials, folder), folder, jobs, tell)

    with only_driver(folder), LogView(folder):
        remove_leftovers(folder)
        for name, trial in load_records(None, kept).items():
            if not (folder / "trials" / name / "trial.json").exists():
                trial.save(folder)
        source = Reuse(plan, reuse, tell)
        trials = _taken_over(source, folder)
        for name in gone(plan, list(trials.values()), folder):
            (folder / "trials" / name / "trial.json").unlink()
            tell(
                f"{trials.pop(name).id}: a claim reads its flatness, and its weights are gone; it is run again"
            )
        if cluster is not None:
            _with_ray(plan, folder, cluster, source, tell)
            flatten(list(_taken_over(source, folder).values()))
            return True
        flatten(list(trials.values()))
        waves = _waves(plan, folder, trials, source, report)
        begun = work_through([Queue(folder, waves)], jobs, until, tell)
        trials = _taken_over(source, folder)
        if begun:
            flatten(list(trials.values()))
        return begun


def _taken_over(source: Reuse, folder: Path) -> dict[str, Trial]:
    """Every record of the folder by id, after what is new elsewhere was brought in, checkpoints and all."""
    known = {trial.id: trial for trial in load_trials(folder)}
    for name, (trial, place) in source.look(known).items():
        shutil.copytree(place, folder / "trials" / name, dirs_exist_ok=True)
        trial.save(folder)
        known[name] = trial
    return known


def _made_here(several: Iterable[Planned], folder: Path, source: Reuse) -> list[Planned]:
    """Without the trials that somebody else makes and that are not over in the folder."""
    known = {trial.id for trial in load_trials(folder) if trial.over}
    return [one for one in several if one.trial.id in known or one.trial.id not in source.coming]


def _waves(plan: Plan, folder: Path, trials: dict[str, Trial], source: Reuse, report: bool) -> Iterable[Wave]:
    """Claim after claim: the settings to choose among, then, once these are over, the chosen ones.

    Without a report nothing waits for anything: all settings to choose among at once.
    """
    before: dict[str, dict[str, Planned]] = {}

    def groups(several: Iterable[Planned]) -> list[Group]:
        here = _made_here(several, folder, source)
        firsts = {one.training_keys[0] for one in here}
        givers = [one for first in firsts for one in before.get(first, {}).values()]
        found = share(here, before=givers)
        for one in here:
            before.setdefault(one.training_keys[0], {}).setdefault(one.trial.id, one)
        return found

    def tuning(needed: Needed) -> Wave:
        return lambda: groups(needed.tuning())

    def reporting(needed: Needed) -> Wave:
        return lambda: groups(needed.reporting(_taken_over(source, folder).values()))

    if not report:
        yield lambda: groups(plan.tuning())
        return
    for piece in slices(plan, trials, source.coming):
        yield tuning(piece.needed)
        yield reporting(piece.needed)


def _with_ray(
    plan: Plan, folder: Path, cluster: Resources, source: Reuse, tell: Callable[[str], None]
) -> None:
    from cl_forget.sweeps.cluster import ray_runtime
    from cl_forget.sweeps.runner import Driver

    sweep = next(iter(plan.needed.values())).sweep
    with ray_runtime(cluster) as runtime:
        driver = Driver(
            sweep, folder, SweepState(name=NAME, mode="curve"), runtime, tell, address=str(folder)
        )
        driver.work_through(_made_here(plan.tuning(), folder, source))
        reporting = plan.reporting(list(_taken_over(source, folder).values()))
        driver.work_through(_made_here(reporting, folder, source))
