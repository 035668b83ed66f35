"""What differences over seeds say of a claim that was written down before: pure functions, no records in here.

A claim names a difference that it says is positive, a margin below which a difference does not matter, and its seeds.
Every quantity here is a list with one number for each seed, so pairs share their data order and their base model.

    supported      the interval lies above 0 and the effect is larger than the margin
    contradicted   the same on the other side
    equivalent     two one-sided tests (TOST) place the effect within the margin on both sides
    undecided      anything else

"Keeps" claims ask for no loss instead of a gain: supported where the interval lies above -margin, contradicted where
it lies below, else undecided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cl_forget.comparison.statistics import BySeed, mean_interval

Verdict = Literal["supported", "contradicted", "equivalent", "undecided"]
Rule = Literal["more", "keeps"]

FEWEST = 5
"""Seeds below which nothing is decided."""

ALPHA = 0.05
RESAMPLES = 9_999


class Judged(BaseModel):
    """A verdict with what it rests on. Effects are in the unit of the measure.

    Attributes:
        verdict: one of the four.
        effect: mean over seeds; None where a seed has no value.
        low, high: 95 % interval, Student's t.
        bootstrap_low, bootstrap_high: 95 % interval, seeds drawn with replacement (percentiles).
        p: exact two-sided sign-flip permutation test of no effect; with n seeds it cannot be below 2^(1 - n).
        p_t: two-sided paired t test of no effect.
        p_equivalence: TOST within the margin; None for a margin of 0 and for "keeps".
        p_holm, p_t_holm: `p` and `p_t` after Holm over all that were judged together; None until `holm`.
        margin, rule: as the claim has them.
        seeds: how many have a value.
        reason: why nothing could be computed; None where it was.
    """

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    p: float | None = None
    p_t: float | None = None
    p_equivalence: float | None = None
    p_holm: float | None = None
    p_t_holm: float | None = None
    margin: float = 0.0
    rule: Rule = "more"
    seeds: int = 0
    reason: str | None = None


def judge(
    values: BySeed, margin: float, rule: Rule = "more", comparators: int = 1, fewest: int = FEWEST
) -> Judged:
    """The verdict on the mean of one number per seed, which the claim says is above 0.

    Args:
        values: seed -> the difference; None where it could not be computed, which leaves the claim undecided.
        margin: the smallest effect that matters, in the unit of the values.
        rule: "more" asks for a gain, "keeps" for no loss beyond the margin.
        comparators: of how many differences this is the smallest (`against_each`). A claim that has to hold
            against each needs no correction to be supported; to be contradicted or equivalent it does.
        fewest: seeds below which the claim stays undecided.
    """
    known = {seed: value for seed, value in values.items() if value is not None and np.isfinite(value)}
    base = {"margin": margin, "rule": rule, "seeds": len(known)}
    if len(known) < len(values):
        missing = ", ".join(str(seed) for seed in values if seed not in known)
        return Judged(verdict="undecided", reason=f"no value for seed {missing}", **base)
    if len(known) < fewest:
        reason = f"{len(known)} of at least {fewest} seeds"
        estimate = mean_interval(known.values())
        return Judged(
            verdict="undecided",
            reason=reason,
            effect=estimate.mean,
            low=estimate.low,
            high=estimate.high,
            **base,
        )
    array = np.array([known[seed] for seed in sorted(known)], dtype=np.float64)
    estimate = mean_interval(array)
    ends = _bootstrap(array)
    return Judged(
        verdict=verdict(array, margin, rule, comparators),
        effect=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        bootstrap_low=ends[0],
        bootstrap_high=ends[1],
        p=_sign_flip(array),
        p_t=_t_test(array),
        p_equivalence=_equivalence(array, margin) if rule == "more" and margin > 0 else None,
        **base,
    )


def verdict(values: NDArray[np.float64], margin: float, rule: Rule = "more", comparators: int = 1) -> Verdict:
    """The verdict alone; `judge` explains it and gives the arguments.

    Args:
        values: (seeds,) at least two, all finite.
    """
    ours, strict = mean_interval(values), mean_interval(values, 1 - ALPHA / comparators)
    effect, low, high = ours.mean, ours.low, strict.high
    assert effect is not None and low is not None and high is not None
    if rule == "keeps":
        return "supported" if low > -margin else "contradicted" if high < -margin else "undecided"
    if low > 0 and effect > margin:
        return "supported"
    if high < 0 and effect < -margin:
        return "contradicted"
    if margin > 0 and _equivalence(values, margin) < ALPHA / comparators:
        return "equivalent"
    return "undecided"


def against_each(
    values: Mapping[str, BySeed], margin: float, rule: Rule = "more", fewest: int = FEWEST
) -> tuple[str, Judged]:
    """The verdict on a claim that has to hold against every comparator: that on the hardest one, and its name.

    Supported against the hardest is supported against all (an intersection-union test keeps its level without a
    correction); the other verdicts are taken at the level divided by their number.

    Args:
        values: comparator -> seed -> difference from it; at least one.
    """

    def mean(name: str) -> float:
        known = [value for value in values[name].values() if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values[name]) else float("-inf")

    hardest = min(values, key=mean)
    return hardest, judge(values[hardest], margin, rule, len(values), fewest)


def holm(judged: Sequence[Judged]) -> list[Judged]:
    """The same with `p_holm` and `p_t_holm`: p values adjusted over all of them (Holm 1979), in the same order."""
    found = [one.model_dump() for one in judged]
    for name in ("p", "p_t"):
        places = [place for place, one in enumerate(judged) if getattr(one, name) is not None]
        for place, value in zip(places, _holm([getattr(judged[k], name) for k in places]), strict=True):
            found[place][f"{name}_holm"] = value
    return [Judged(**fields) for fields in found]


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Of several worlds together: what all of them say; undecided where they differ."""
    return verdicts[0] if verdicts and len(set(verdicts)) == 1 else "undecided"


def _holm(values: Sequence[float]) -> list[float]:
    from statsmodels.stats.multitest import multipletests

    return [float(value) for value in multipletests(values, method="holm")[1]] if values else []


def _bootstrap(values: NDArray[np.float64]) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    means = values[generator.integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, (ALPHA / 2, 1 - ALPHA / 2))
    return float(low), float(high)


def _sign_flip(values: NDArray[np.float64]) -> float:
    """Exact up to 13 seeds, else from 9,999 random flips."""
    from scipy.stats import permutation_test

    options: dict[str, Any] = {"permutation_type": "samples", "n_resamples": RESAMPLES, "rng": 0}
    return float(permutation_test((values,), np.mean, **options).pvalue)


def _t_test(values: NDArray[np.float64]) -> float:
    if np.ptp(values) == 0:
        return 1.0 if values[0] == 0 else 0.0
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(values, 0.0).pvalue)


def _equivalence(values: NDArray[np.float64], margin: float) -> float:
    """p of TOST: the larger of the two one-sided ones."""
    if np.ptp(values) == 0:
        return 0.0 if abs(values[0]) < margin else 1.0
    from statsmodels.stats.weightstats import ttost_paired

    return float(ttost_paired(values, np.zeros_like(values), -margin, margin)[0])
