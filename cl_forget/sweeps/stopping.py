"""What stops trials early: Tune's own schedulers, and the one that it lacks, for several objectives at once."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
    TrialScheduler,
)

from cl_forget.comparison.trials import Trial
from cl_forget.config.sweep import NEVER_POPULATIONS, Sweep
from cl_forget.ground.errors import UserError
from cl_forget.sweeps.rungs import Point, Rungs, milestones, units

OBJECTIVES = ("speciality", "generality")
"""What a judged trial reports beside its score; generality is what `score.generality` says."""


class MoAsha(FIFOScheduler):
    """Asynchronous successive halving on several objectives (MO-ASHA, arXiv:2106.12639), for any Tune trainable.

    Args:
        objectives: names of what is reported, each the larger the better.
        time_attr: the name of the progress that is reported.
        max_t: the progress of a whole training.
        grace_period: progress that every trial is given.
        reduction_factor: of how many trials at a rung one goes on.
        known: what trials of earlier sessions reported (`Rungs`).
    """

    def __init__(
        self,
        objectives: Sequence[str] = OBJECTIVES,
        time_attr: str = "progress",
        max_t: float = 100,
        grace_period: float = 10,
        reduction_factor: float = 3,
        known: Mapping[str, Iterable[tuple[float, Point]]] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.objectives, self.time_attr = tuple(objectives), time_attr
        self.rungs = Rungs(milestones(grace_period, reduction_factor, max_t), reduction_factor, known)
        self._stopped = 0

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Stop the trial, or let it go on; a result that does not say how far the trial is decides nothing."""
        if self.time_attr not in result or any(name not in result for name in self.objectives):
            return str(TrialScheduler.CONTINUE)
        point = tuple(float(result[name]) for name in self.objectives)
        if self.rungs.arrive(trial.trial_id, float(result[self.time_attr]), point):
            return str(TrialScheduler.CONTINUE)
        self._stopped += 1
        return str(TrialScheduler.STOP)

    def debug_string(self) -> str:
        """How many trials have reached each rung."""
        return f"MO-ASHA: {self._stopped} stopped, at the rungs {self.rungs.counts()}"


class Median(MedianStoppingRule):
    """Tune's own, for groups that can end without a number: then nothing ran to its end in them."""

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Keep the last report of a trial."""
        if self._time_attr in result:
            super().on_trial_complete(tune_controller, trial, result)


def scheduler(asked: Sweep, before: Sequence[Trial] = ()) -> TrialScheduler:
    """What judges the trials of a sweep that stops early.

    Args:
        asked: the sweep; its mode names the scheduler.
        before: records of trials that were judged in an earlier session; a resumed `mo-asha` compares with them.
    """
    grace, reduction = asked.asha.grace, asked.asha.reduction
    if asked.mode == "mo-asha":
        return MoAsha(grace_period=grace, reduction_factor=reduction, known=reported(before))
    if asked.mode == "hyperband":
        # Whoever has finished a group's training has won; its other trials only evaluate.
        return HyperBandScheduler(
            "unit", "score", "max", units(reduction), reduction_factor=reduction, stop_last_trials=False
        )
    if asked.mode == "median":
        return Median(
            "progress", "score", "max", grace_period=grace, min_time_slice=sys.maxsize
        )  # never pauses
    return ASHAScheduler(
        "progress", "score", "max", max_t=100, grace_period=grace, reduction_factor=reduction
    )


def reported(trials: Iterable[Trial]) -> dict[str, list[tuple[float, Point]]]:
    """What records keep of the reports of trials that are over, by trial."""
    return {
        trial.id: [
            (float(report["progress"]), tuple(float(report[name]) for name in OBJECTIVES))
            for report in trial.history
            if all(isinstance(report.get(name), int | float) for name in ("progress", *OBJECTIVES))
        ]
        for trial in trials
        if trial.over
    }


def check_own(given: Any) -> None:
    """Refuse a scheduler of the user's that no trial of ours could follow.

    Raises:
        UserError: it changes settings in the middle of a run.
    """
    if isinstance(given, PopulationBasedTraining | PopulationBasedTrainingReplay):
        raise UserError(f"scheduler={type(given).__name__}: {NEVER_POPULATIONS}.")
    if isinstance(given, str) and given.lower() in ("pbt", "pb2", "pbt_replay"):
        raise UserError(f"scheduler={given!r}: {NEVER_POPULATIONS}.")
