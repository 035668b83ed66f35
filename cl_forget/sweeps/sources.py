"""What the configuration of a Tune trial means: a group of a grid, or a point of a space."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cl_forget.comparison.trials import Trial
from cl_forget.config.sweep import COMPOSE, SECTIONS, Score, Sweep
from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.evaluation.metrics import mean
from cl_forget.ground.errors import UserError
from cl_forget.run.simulation import Watch
from cl_forget.sweeps.planning import Group, planned_on, share
from cl_forget.sweeps.signal import SignalWatch
from cl_forget.sweeps.trainable import Report

TOGETHER = 500
"""Groups that travel in one piece."""


@dataclass
class Grid:
    """Groups planned in advance; the configuration is `{"group": <its number>}`.

    To a worker it travels in pieces, of which that one unfolds those that it works on: all 100,000 trials of a large
    sweep would take each worker several seconds before its first one.

    Attributes:
        groups: what there is to do.
        score: how a group is judged.
        judged: whether it is judged while it trains.
        units: parts of the training that a scheduler counts in.
    """

    groups: list[Group]
    score: Score = field(default_factory=Score)
    judged: bool = False
    units: int = 0
    _folded: list[bytes] = field(default_factory=list, repr=False)

    def group(self, config: dict[str, Any]) -> Group:
        """The group of that number."""
        number: int = config["group"]
        if not self._folded:
            return self.groups[number]
        piece, place = divmod(number, TOGETHER)
        found: list[Group] = pickle.loads(self._folded[piece])
        return found[place]

    def __getstate__(self) -> dict[str, Any]:
        from ray import cloudpickle  # which takes methods along that a script of the user's defines

        starts = range(0, len(self.groups), TOGETHER)
        folded = self._folded or [cloudpickle.dumps(self.groups[at : at + TOGETHER]) for at in starts]
        return {**self.__dict__, "groups": [], "_folded": folded}

    def watch(self, report: Report) -> Watch | None:
        """Measures the score during training, where somebody asks for it."""
        return SignalWatch(self.score, report) if self.judged else None

    def summary(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """The best score in the group: its trials are one training seen at several strengths."""
        scores = [score_of(trial, self.score) for trial in trials]
        found = [score for score in scores if score is not None]
        return {"score": max(found), "progress": 100.0} if found else {"score": math.nan}


GIVER = "giver"
"""Field of a point: the configuration of an earlier one, whose fine-tuning it takes over as far as it is the same."""

MEASURED = ("score", *(name for name in DEFINITIONS if "_by_" not in name))
"""What a report of a point always holds."""


@dataclass
class Space:
    """Points of a space; the configuration is `{<dotted field>: <value>}` and, with several methods, "method".

    Of a composition that is searched it says which mitigations act, `{"compose": "l2_sp + wise_ft"}`.

    Attributes:
        sweep: names the methods, the tuning seeds and everything the configuration leaves alone.
        judged: whether the first seed is judged while it trains.
        seeds: the seeds of a point; those of the sweep by default.
        units: parts of the training that a scheduler counts in.
    """

    sweep: Sweep
    judged: bool = False
    seeds: list[int] | None = None
    units: int = 0

    def group(self, config: dict[str, Any]) -> Group:
        """The point on every seed."""
        fields = dict(config)
        giver = fields.pop(GIVER, None)
        arms = list(self.sweep.arms)
        arm = fields.pop("method", arms[-1] if len(self.sweep.methods) == 1 else None)
        if arm not in arms:
            raise UserError(f"the configuration names no method of the sweep ('method': {arm!r}).")
        own = {COMPOSE, *(m.name for m in self.sweep.arms[arm]), *SECTIONS}
        fields = {name: value for name, value in fields.items() if name.partition(".")[0] in own}
        group = planned_on(self.sweep, arm, fields, self.seeds or self.sweep.tuning_seeds)
        if giver:
            share(group, before=self.group(giver))
        return group

    def watch(self, report: Report) -> Watch | None:
        """Measures the score during training, where somebody asks for it."""
        return SignalWatch(self.sweep.score, report) if self.judged else None

    def summary(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """Means of the validation metrics over the seeds so far; NaN where a seed has none or did not finish."""
        missing = dict.fromkeys(MEASURED, math.nan)
        if not all(trial.status == "finished" for trial in trials):
            return missing
        names = [name for name, value in trials[0].validation.items() if isinstance(value, int | float)]
        found = {name: mean(trial.validation.get(name) for trial in trials) for name in names}
        found["score"] = mean(score_of(trial, self.sweep.score) for trial in trials)
        found["passes"] = float(sum(trial.passes for trial in trials))
        found["passes_made"] = float(sum(trial.own_passes for trial in trials))
        known = {name: value for name, value in found.items() if value is not None}
        return {"progress": 100.0, **missing, **known}


def score_of(trial: Trial, score: Score) -> float | None:
    """The scalar of a finished trial, on validation data; None where a part is missing."""
    if trial.status != "finished":
        return None
    speciality = trial.validation.get("speciality")
    if score.generality == "accuracy":
        generality = trial.validation.get("generality")
    else:
        divergence = trial.validation.get("kl_to_base")
        generality = None if divergence is None else math.exp(-divergence)
    if speciality is None or generality is None:
        return None
    return score.speciality * speciality + (1 - score.speciality) * generality
