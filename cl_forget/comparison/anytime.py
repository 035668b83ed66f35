"""A search as it went: what each trial found in the order in which they ended, and what that had cost by then.

Only records that say when a trial ended have a place in an order; none is made up for the others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from cl_forget.comparison.analysis import hypervolume_share
from cl_forget.comparison.trials import Trial
from cl_forget.evaluation.metrics import pareto_front


@dataclass(frozen=True)
class Step:
    """One trial of the search, at its end.

    Attributes:
        trial: the record.
        number: its place among all trials in the order in which they ended, from 1.
        seconds: between the beginning of the sweep's first trial and its end, pauses of the sweep included.
    """

    trial: Trial
    number: int
    seconds: float


def ended_at(trial: Trial) -> float | None:
    """When the trial was over, seconds since 1970; None where that is not recorded."""
    return trial.attempts[-1].ended if trial.over and trial.attempts else None


def unrecorded(trials: Sequence[Trial]) -> int:
    """How many of the trials that are over do not say when."""
    return sum(trial.over and ended_at(trial) is None for trial in trials)


def in_order(trials: Sequence[Trial]) -> list[Step]:
    """The trials that say when they were over, in this order; by id where two were at the same instant."""
    begun = min((attempt.started for trial in trials for attempt in trial.attempts), default=0.0)
    over = sorted((end, trial.id, trial) for trial in trials if (end := ended_at(trial)) is not None)
    return [Step(trial, number, end - begun) for number, (end, _, trial) in enumerate(over, start=1)]


def best_so_far(steps: Sequence[Step], values: Sequence[float | None]) -> list[float | None]:
    """For each step, of which there is a value each, the largest that its method had found by then, if any."""
    best: dict[str, float] = {}
    found: list[float | None] = []
    for step, now in zip(steps, values, strict=True):
        method = step.trial.method
        if now is not None:
            best[method] = max(now, best.get(method, now))
        found.append(best.get(method))
    return found


def _front(trials: Sequence[Trial]) -> list[Trial]:
    """Those that no other one beats on test data: what the others dominate, these do, too."""
    points = [(t.test.get("speciality"), t.test.get("generality")) for t in trials]
    return [trials[k] for k in pareto_front(np.array(points, np.float64).reshape(-1, 2))]


def _beaten(trial: Trial, front: Sequence[Trial]) -> bool:
    """Whether one of the front is nowhere worse and somewhere better; not where a number is missing."""
    own = trial.test.get("speciality"), trial.test.get("generality")
    if None in own:
        return False
    points = ((one.test["speciality"], one.test["generality"]) for one in front)
    return any(x >= own[0] and y >= own[1] and (x, y) != own for x, y in points)


def _mean(shares: Collection[float | None]) -> float | None:
    """None where one of them is not known."""
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if len(known) == len(shares) else None


@dataclass(frozen=True)
class Reached:
    """How far a method had come when one of its trials was over.

    Attributes:
        step: that trial.
        passes: made for the method's trials by then; what was taken over counts where it was made.
        seconds: that the method's trials took by then, all workers together.
        hypervolume: share of the ideal that its trials so far dominate, mean over its seeds; 0 for a seed without a
            finished trial yet. None where there is no ideal to compare with.
    """

    step: Step
    passes: int
    seconds: float
    hypervolume: float | None


def anytime(steps: Sequence[Step]) -> list[Reached]:
    """What each method's tuning trials had reached, and for how much, after each of them.

    Args:
        steps: from `in_order`.
    """
    found: list[Reached] = []
    tuning = [step for step in steps if step.trial.role == "tune"]
    for method in dict.fromkeys(step.trial.method for step in tuning):
        own = [step for step in tuning if step.trial.method == method]
        seeds: dict[int, list[Trial]] = {step.trial.seed: [] for step in own}  # the best of each, as `_front`
        shares: dict[int, float | None] = dict.fromkeys(seeds, 0.0)
        passes, seconds, mean = 0, 0.0, _mean(shares.values())
        for step in own:
            trial = step.trial
            passes += trial.own_passes
            seconds += trial.seconds or 0.0
            if trial.status == "finished" and not _beaten(trial, seeds[trial.seed]):
                front = _front([*seeds[trial.seed], trial])
                seeds[trial.seed], shares[trial.seed] = front, hypervolume_share(front)
                mean = _mean(shares.values())
            found.append(Reached(step, passes, seconds, mean))
    return found
