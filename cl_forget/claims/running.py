"""Runs what a plan asks for: in processes of this machine, or as Ray Tune trials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cl_forget.claims.flatness import measure, wanted
from cl_forget.claims.planning import Plan
from cl_forget.claims.records import load_records
from cl_forget.comparison.trials import load_trials
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import remove_leftovers
from cl_forget.sweeps.folder import SweepState, only_driver
from cl_forget.sweeps.planning import share
from cl_forget.sweeps.pool import Queue, Wave, work_through

NAME = "claims"


def run(
    plan: Plan,
    folder: Path,
    kept: list[Path],
    jobs: int = 1,
    address: str | None = None,
    until: float = float("inf"),
    tell: Callable[[str], None] = lambda line: None,
) -> bool:
    """Run every trial of a plan that is not over; what is over in kept records counts.

    Args:
        plan: of all claims.
        folder: of the runs; whatever it holds stays.
        kept: files of kept records.
        jobs: processes of this machine side by side, each with one thread; no Ray is needed.
        address: a Ray cluster to run on instead.
        until: `time.time()` from which on nothing more is begun, without Ray.
        tell: given a line now and then.

    Returns:
        Whether everything was begun.

    Raises:
        UserError: somebody else works in the folder, or it cannot be written.
    """
    try:
        (folder / "trials").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --output.") from None

    with only_driver(folder):
        remove_leftovers(folder)
        for name, trial in load_records(None, kept).items():
            if not (folder / "trials" / name / "trial.json").exists():
                trial.save(folder)
        if address is not None:
            _with_ray(plan, folder, address, tell)
            measure(wanted(plan, load_trials(folder), folder), folder, jobs, tell)
            return True
        tuning = plan.tuning()
        waves: list[Wave] = [
            lambda: share(tuning),
            lambda: share(plan.reporting(load_trials(folder)), before=tuning),
        ]
        begun = work_through([Queue(folder, waves)], jobs, until, tell)
        if begun:
            measure(wanted(plan, load_trials(folder), folder), folder, jobs, tell)
        return begun


def _with_ray(plan: Plan, folder: Path, address: str, tell: Callable[[str], None]) -> None:
    from cl_forget.sweeps.cluster import Resources, ray_runtime
    from cl_forget.sweeps.runner import Driver

    sweep = next(iter(plan.needed.values())).sweep
    with ray_runtime(Resources(address)) as runtime:
        driver = Driver(
            sweep, folder, SweepState(name=NAME, mode="curve"), runtime, tell, address=str(folder)
        )
        driver.work_through(plan.tuning())
        driver.work_through(plan.reporting(load_trials(folder)))
