"""One number for each seed, from trial records: what a verdict is judged on. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cl_forget.claims.claim import (
    AT_EQUAL_SPECIALITY,
    BALANCE,
    FLATNESS,
    HYPERVOLUME,
    OF_CURVES,
    ZERO_BEFORE_TRAINING,
    Claim,
)
from cl_forget.claims.planning import Asked, Needed
from cl_forget.comparison.analysis import hypervolume_share
from cl_forget.comparison.arms import control_of
from cl_forget.comparison.law import Point, explained, residuals
from cl_forget.comparison.measures import PRETRAINED
from cl_forget.comparison.trials import Trial
from cl_forget.comparison.verdicts import Judged, against_each, judge
from cl_forget.evaluation.metrics import mean, retention_at_equal_target
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Fingerprints
from cl_forget.sweeps.planning import planned

BySeed = dict[int, float | None]

EQUAL = 0.9
"""Methods are compared at this share of the way from the pre-trained speciality to the control's."""


class Records:
    """What was run of one world, found again by what the plan asks for.

    Args:
        needed: the world.
        trials: all records, by id.

    Attributes:
        missing: what was asked for since it was last emptied and has not been run: ids, and arms without a choice.
    """

    def __init__(self, needed: Needed, trials: Mapping[str, Trial]) -> None:
        self.needed, self.trials = needed, trials
        sweep = needed.sweep
        assert sweep.report_on is not None
        self.seeds = sweep.report_on.seeds or sweep.seeds
        self.configs = needed.selected(trials.values())
        self.control = control_of(sweep.arms)
        self.missing: set[str] = set()
        self._began: Fingerprints | None = None
        self._names: dict[str, str] = {}  # planning a trial costs more than all that is done with its record

    def selected(self, arm: str) -> dict[int, Trial | None]:
        """Seed -> the finished trial of an arm's selected setting."""
        return {seed: self._trial(arm, self.configs.get(arm), seed) for seed in self.seeds}

    def curve(self, arm: str) -> dict[int, list[Trial] | None]:
        """Seed -> the trials of an arm's curve in the order of its knob; None unless all are finished."""
        config = self.configs.get(arm)
        if config is None:
            self.missing.add(arm)
            return dict.fromkeys(self.seeds)
        points = self.needed.points(arm, config)
        found: dict[int, list[Trial] | None] = {}
        for seed in self.seeds:
            trials = [self._trial(arm, {**config, **point}, seed) for point in points]
            found[seed] = None if None in trials else [trial for trial in trials if trial is not None]
        return found

    def value(self, trial: Trial, measure: str) -> float | None:
        """A number of a trial on test data; flatness is measured after the run, and may still be missing.

        What was measured and has no number, as a loss was not finite, is not missing.
        """
        value = measured(trial, measure)
        if measure in FLATNESS and measure not in trial.test:
            self.missing.add(f"{measure} of {trial.id}")
        return value

    def _trial(self, arm: str, config: dict[str, Any] | None, seed: int) -> Trial | None:
        if config is None:
            self.missing.add(arm)
            return None
        key = json.dumps([arm, config, seed], sort_keys=True)
        if key not in self._names:
            self._names[key] = planned(self.needed.sweep, arm, config, seed, "report").trial.id
        trial = self.trials.get(self._names[key])
        if trial is None or trial.status != "finished":
            if trial is None or not trial.over:
                self.missing.add(self._names[key])
            return None
        if trial.fingerprints is not None:
            self._began = self._began or trial.fingerprints
            if changed := self._began.changes(trial.fingerprints):
                raise UserError(
                    f"the record {trial.id}: {' and '.join(changed)} are not those of the others; run it again."
                )
        return trial


def settle(asked: Asked, records: Records) -> tuple[Judged, str | None]:
    """The verdict on one claim in one world, and the comparator that it rests on where there are several."""
    claim = asked.claim
    if claim.less:
        differences = {arm: difference(claim, records, arm) for arm in claim.less}
        hardest, judged = against_each(differences, claim.margin, claim.rule, claim.fewest)
        return judged, hardest if len(claim.less) > 1 else None
    if claim.kind == "difference":
        values = _of_arm(claim.measure, records, str(claim.more))
    else:
        values = {
            "correlation": _correlation,
            "explained": _explained,
            "residual": _residual,
        }[claim.kind](claim, records, claim.arms or list(asked.sweep.arms))
    return judge(_beyond(values, claim.than), claim.margin, claim.rule, claim.fewest), None


def control(asked: Asked, records: Records, arm: str) -> Judged:
    """What a control gives in the place of `less`, or beside `than` in that of `more`."""
    claim = asked.claim
    if claim.than is None:
        values = difference(claim, records, arm)
    else:
        values = _beyond(_of_arm(claim.measure, records, arm), claim.than)
    return judge(values, claim.margin, claim.rule, claim.fewest)


def _beyond(values: BySeed, than: float | None) -> BySeed:
    return {seed: None if value is None else value - (than or 0.0) for seed, value in values.items()}


def difference(claim: Claim, records: Records, less: str) -> BySeed:
    """Seed -> what `more` has beyond `less`; a share of nothing or less, where it is relative, is no value."""
    assert claim.more is not None
    ours, theirs = (_of_arm(claim.measure, records, arm) for arm in (claim.more, less))
    if claim.more == PRETRAINED:
        ours = _before(claim.measure, records, less)
    if less == PRETRAINED:
        theirs = _before(claim.measure, records, claim.more)
    found: BySeed = {}
    for seed in records.seeds:
        a, b = ours.get(seed), theirs.get(seed)
        if a is None or b is None:
            found[seed] = None
        elif claim.relative:
            found[seed] = (a - b) / b if b > 0 else None
        else:
            found[seed] = a - b
    return found


def _of_arm(measure: str, records: Records, arm: str) -> BySeed:
    if arm == PRETRAINED:
        return {}
    if measure not in OF_CURVES:
        return {s: None if t is None else records.value(t, measure) for s, t in records.selected(arm).items()}
    curves = records.curve(arm)
    if measure == HYPERVOLUME:
        return {seed: None if c is None else hypervolume_share(c) for seed, c in curves.items()}
    assert measure == AT_EQUAL_SPECIALITY
    levels = _levels(records)
    return {seed: None if c is None else _crossing(c, levels.get(seed)) for seed, c in curves.items()}


def _levels(records: Records) -> BySeed:
    """Seed -> the speciality at which retention is compared."""
    found: BySeed = {}
    for seed, trial in records.selected(records.control or "").items():
        start, end = (
            None if trial is None else measured(trial, m) for m in ("speciality_pretrained", "speciality")
        )
        found[seed] = None if start is None or end is None else start + EQUAL * (end - start)
    return found


def _crossing(trials: Sequence[Trial], level: float | None) -> float | None:
    points = [(measured(t, "speciality"), measured(t, "retention")) for t in trials]
    known = [(x, y) for x, y in points if x is not None and y is not None]
    if level is None or len(known) < len(points):
        return None
    return retention_at_equal_target(known, level)


def _before(measure: str, records: Records, arm: str) -> BySeed:
    """The same measure of the pre-trained model, as the trials of an arm note it."""
    found: BySeed = {}
    for seed, trial in records.selected(arm).items():
        if trial is None:
            found[seed] = None
        elif measure.partition(".")[0] in ZERO_BEFORE_TRAINING:
            found[seed] = 0.0
        else:
            found[seed] = 1.0 if measure == "retention" else measured(trial, f"{measure}_pretrained")
    return found


def measured(trial: Trial, measure: str) -> float | None:
    """A number of a trial on test data; `generality_by_suite.emoji` is one of a mapping."""
    if measure in (BALANCE, f"{BALANCE}_pretrained"):
        parts = [measured(trial, measure.replace(BALANCE, name)) for name in ("speciality", "generality")]
        return mean(parts)
    name, dot, item = measure.partition(".")
    value = trial.test.get(name)
    if dot:
        value = value.get(item) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) else None


def points(claim: Claim, records: Records, arms: Sequence[str]) -> list[Point] | None:
    """Every setting of every arm and seed as (against, measure); None where one is missing."""
    assert claim.against is not None
    found = []
    for arm in arms:
        for seed, trials in records.curve(arm).items():
            if trials is None:
                return None
            for trial in trials:
                x, y = records.value(trial, claim.against), records.value(trial, claim.measure)
                if x is None or y is None:
                    return None
                found.append(Point(arm, seed, x, y))
    return found


def _correlation(claim: Claim, records: Records, arms: Sequence[str]) -> BySeed:
    """Seed -> Spearman's rank correlation over all settings of all arms, times the claimed sign."""
    from scipy.stats import spearmanr

    found = points(claim, records, arms)
    if found is None:
        return dict.fromkeys(records.seeds)
    by_seed: BySeed = {}
    for seed in records.seeds:
        mine = [(p.x, p.y) for p in found if p.seed == seed]
        xs, ys = [x for x, _ in mine], [y for _, y in mine]
        varied = len(set(xs)) > 1 and len(set(ys)) > 1
        by_seed[seed] = claim.sign * float(spearmanr(xs, ys).statistic) if varied else None
    return by_seed


def _explained(claim: Claim, records: Records, arms: Sequence[str]) -> BySeed:
    found = points(claim, records, arms)
    return dict.fromkeys(records.seeds) if found is None else dict(explained(found, claim.sign > 0))


def _residual(claim: Claim, records: Records, arms: Sequence[str]) -> BySeed:
    assert claim.more is not None
    found = points(claim, records, list(dict.fromkeys([*arms, claim.more])))
    return (
        dict.fromkeys(records.seeds) if found is None else dict(residuals(found, claim.sign > 0)[claim.more])
    )
