"""How much of what came out is owed to each setting: Optuna's fANOVA over the trials of a sweep.

fANOVA (Hutter et al. 2014, arXiv:1401.3480) fits a forest to the trials and splits the variance that it predicts over
the whole space into what each field explains alone and what fields explain together. It is taken and not PED-ANOVA,
Optuna's default, because that asks what leads into the best tenth: of the 16 to 60 trials that a method usually has
these are a few, and a trade-off is read from end to end. Mean decrease impurity cannot tell a field from its part in
interactions. A field counts by the rank of its values, so that every value that was tried weighs the same, on
whatever scale it was chosen.

The seed is a field like any other: what it explains is chance, and a knob that explains no more cannot be told from
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cl_forget.comparison.trials import Trial
from cl_forget.comparison.varied import Reading, Value, field_values, ranks, tuned, varied_fields

ALL = "all methods"
"""The study of every method's trials together."""

FEWEST = 10
"""Trials below which nothing is said: a forest of so few says more of itself than of the settings."""

MOST = 100
"""Trials that a study reads at most, drawn at random and always the same; fANOVA takes time with their square."""

TREES = 1600
"""Trees times trials of a study, about; at least 16 trees and at most 64, Optuna's own number."""

POSITION = "knob, weak to strong"
"""The field that methods with different knobs share: the rank of a value among its method's own, from 0 to 1."""


@dataclass(frozen=True)
class Importance:
    """What each field of one study explains of one objective.

    Attributes:
        of: the method, or `ALL`.
        objective: name of the metric.
        trials: how many finished trials were there.
        shares: field -> share of the variance that it explains alone; empty where nothing can be said.
        together: the share that fields explain only together, chance that the forest took for it included.
        statement: why nothing is said; "" where something is.
    """

    of: str
    objective: str
    trials: int
    shares: Mapping[str, float] = field(default_factory=dict)
    together: float = 0.0
    statement: str = ""


def importances(
    trials: Sequence[Trial], objectives: Sequence[str], read: Reading = field_values
) -> list[Importance]:
    """Every method's study, then that of all methods together, each for every objective.

    Args:
        trials: the records of a sweep; finished tuning trials are read, their test metrics.
        objectives: names of metrics.
        read: the fields of a trial.
    """
    methods = dict(tuned(trials))
    found = [
        _study(method, own, fields, objective)
        for method, own in methods.items()
        for fields in [_with_seed(own, varied_fields(own, read))]
        for objective in objectives
    ]
    if len(methods) > 1:
        everything, fields = _together(methods, read)
        found += [_study(ALL, everything, fields, objective) for objective in objectives]
    return found


def _with_seed(trials: Sequence[Trial], fields: Mapping[str, list[Value]]) -> dict[str, list[Value]]:
    seeds: list[Value] = [float(trial.seed) for trial in trials]
    return {**fields, "seed": seeds} if len(set(seeds)) > 1 else dict(fields)


def _together(
    methods: Mapping[str, Sequence[Trial]], read: Reading
) -> tuple[list[Trial], dict[str, list[Value]]]:
    """Every method's trials with the fields that all have; where there are knobs, only those that were turned."""
    turned = {
        method: own
        for method, own in methods.items()
        if len({t.value for t in own if t.value is not None}) > 1
    }
    chosen = turned if len(turned) > 1 else methods
    trials = [trial for own in chosen.values() for trial in own]
    fields: dict[str, list[Value]] = {"method": [trial.method for trial in trials]}
    if chosen is turned:
        fields[POSITION] = [place for own in chosen.values() for place in _positions(own)]
    return trials, _with_seed(trials, {**fields, **varied_fields(trials, read)})


def _positions(trials: Sequence[Trial]) -> list[Value]:
    places = ranks([trial.value for trial in trials])
    if len(places) < len(trials):
        return [0.0] * len(trials)
    last = max(places)
    return [place / last for place in places]


def _study(of: str, trials: Sequence[Trial], fields: Mapping[str, list[Value]], objective: str) -> Importance:
    values: list[Any] = [trial.test.get(objective) for trial in trials]
    known = [k for k, value in enumerate(values) if value is not None]
    count = len(known)
    if count > MOST:
        known = sorted(np.random.default_rng(0).permutation(known)[:MOST].tolist())
    target = [float(values[k]) for k in known]
    columns = {name: [column[k] for k in known] for name, column in fields.items()}
    columns = {name: column for name, column in columns.items() if len(set(column)) > 1}

    def silent(why: str) -> Importance:
        return Importance(of, objective, count, statement=why)

    if count < FEWEST:
        return silent(f"{count} finished {'trial is' if count == 1 else 'trials are'} too few")
    if len(columns) < 2:
        only = next(iter(columns), None)
        return silent(f"only {only} was varied" if only else "nothing was varied")
    if len(set(target)) == 1:
        return silent("every trial came to the same")
    shares = variance_shares(columns, target)
    return Importance(of, objective, count, shares, max(0.0, 1.0 - sum(shares.values())))


def variance_shares(fields: Mapping[str, Sequence[Value]], target: Sequence[float]) -> dict[str, float]:
    """Field -> the share of the target's variance that it explains alone, largest first; they sum to at most 1.

    Args:
        fields: field -> its value in each trial; at least two different values each, none missing.
        target: what came out of each trial; not all the same.
    """
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator

    columns = {name: ranks(values) for name, values in fields.items()}
    # Half a rank beyond the ends, so that the outermost values weigh as much as those between.
    spaces: dict[str, BaseDistribution] = {
        name: FloatDistribution(-0.5, max(places) + 0.5) for name, places in columns.items()
    }
    said = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study()
        for k, value in enumerate(target):
            places = {name: float(column[k]) for name, column in columns.items()}
            study.add_trial(optuna.trial.create_trial(params=places, distributions=spaces, value=value))
        evaluator = FanovaImportanceEvaluator(n_trees=min(64, max(16, TREES // len(target))), seed=0)
        found = evaluator.evaluate(study)
    finally:
        optuna.logging.set_verbosity(said)
    return {name: float(share) for name, share in found.items()}
