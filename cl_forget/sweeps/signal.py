"""What a trial is worth while it still trains: a light measurement every few steps, a full one after each task."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cl_forget.config.sweep import Score
from cl_forget.evaluation.metrics import mean
from cl_forget.ground.records import Row
from cl_forget.run.simulation import Simulation, Watch
from cl_forget.sweeps.work import Stopped


class SignalWatch(Watch):
    """Reports `score` and `progress` (percent of the training).

    The score is w·speciality + (1-w)·generality on validation data, generality as the sweep chooses. Inside a task
    both are taken on a few samples; after a task the row just measured gives them. Speciality is over all tasks of
    the stream, those that are not reached yet included, so that a score at one progress compares with another's at
    the same. For the same reason nothing is reported where one of them has no value.

    Args:
        score: the weights, and how often.
        report: given each measurement; a true answer says that the trial pauses: it saves itself and ends.
    """

    def __init__(self, score: Score, report: Callable[[dict[str, Any]], bool]) -> None:
        self._score, self._report = score, report
        self._pausing = False

    def step(self, simulation: Simulation, record: dict[str, Any]) -> bool:
        """Measure on a few samples, every few steps."""
        if self._pausing:  # the checkpoint that was asked for is on disk
            raise Stopped
        number = record["step"] + 1
        if number % self._score.every:
            return False
        evaluator = simulation.evaluator
        accuracy = evaluator.sampled_accuracy(evaluator.tasks, self._score.samples)
        if self._score.generality == "accuracy":
            generality = evaluator.sampled_accuracy(evaluator.suites, self._score.samples)
        else:
            generality = math.exp(-evaluator.sampled_kl())
        self._tell(simulation, (len(simulation.past) + number / simulation.steps), accuracy, generality)
        return self._pausing

    def row(self, simulation: Simulation, row: Row) -> None:
        """Measure on all validation samples, after each task."""
        if self._pausing:  # what was trained is on disk with its task
            raise Stopped
        if row.after is None:
            return
        tasks = [scores.validation for scores in row.tasks.values()]
        suites = [scores.validation for scores in row.suites.values()]
        speciality = mean(scores.accuracy for scores in tasks)
        if self._score.generality == "accuracy":
            generality = mean(scores.accuracy for scores in suites if scores.perplexity is None)
        else:
            divergence = (suites or tasks)[0].kl_to_base
            generality = None if divergence is None else math.exp(-divergence)
        if speciality is not None and generality is not None:
            self._tell(simulation, len(simulation.past), speciality, generality)
            if self._pausing:
                raise Stopped

    def _tell(self, simulation: Simulation, stages: float, speciality: float, generality: float) -> None:
        score = self._score.speciality * speciality + (1 - self._score.speciality) * generality
        progress = min(99.0, 100.0 * stages / len(simulation.stages))
        self._pausing = self._report(
            {
                "score": score,
                "speciality": speciality,
                "generality": generality,
                "progress": progress,
                "passes_so_far": simulation.cost.passes,
            }
        )
