"""What differences over seeds say of a claim that was written down before: pure functions, no records in here.

A claim names a difference that it says is positive, a margin below which a difference does not matter, and its seeds.
Every quantity here is a list with one number for each seed, so pairs share their data order and their base model.

    supported      the interval lies above 0 and the effect is larger than the margin
    contradicted   the same on the other side
    equivalent     two one-sided tests (TOST) place the effect within the margin on both sides
    undecided      anything else

"Keeps" claims ask for no loss instead of a gain: supported where the interval lies above -margin, contradicted where
it lies below, else undecided.

A claim that has to hold against each of several comparators is supported where it is against every one of them; an
intersection-union test keeps its level without a correction. It is contradicted where it is against one of them, and
equivalent where it is to one, both at the level divided by their number; equivalent also asks that one-sided tests
place every effect above -margin.

Every p value is that of the test behind the verdict, so p < .05 and the interval say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cl_forget.comparison.statistics import BySeed, Estimate, mean_interval

Verdict = Literal["supported", "contradicted", "equivalent", "undecided"]
Rule = Literal["more", "keeps"]

FEWEST = 5
"""Seeds below which nothing is decided."""

HOLDS = "✓"
"""Marks a verdict that holds after Holm."""

ALPHA = 0.05
RESAMPLES = 9_999

Array = NDArray[np.float64]
Above = Callable[[Array], float]
"""p of a one-sided test that a mean over seeds is above 0."""


class Judged(BaseModel):
    """A verdict with what it rests on. Effects are in the unit of the measure.

    Attributes:
        verdict: one of the four.
        effect: mean over seeds; None where a seed has no value.
        low, high: 95 % interval, Student's t.
        bootstrap_low, bootstrap_high: 95 % interval, seeds drawn with replacement (percentiles).
        p: exact sign-flip permutation test of what the verdict says, as for `p_t`. With n seeds it cannot be below
            2^(1 - n), or for "equivalent", whose tests are one-sided, 2^(-n).
        p_t: t test of what the verdict says: "equivalent" by TOST, else two-sided against 0, for "keeps" against
            -margin. With several comparators it is the largest p that one is above, or that the one shown is below
            or within, times their number.
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

    @property
    def holds(self) -> bool:
        """Whether it is decided, and still is after Holm over all that were judged together."""
        return self.verdict != "undecided" and self.p_t_holm is not None and self.p_t_holm < ALPHA


def judge(values: BySeed, margin: float, rule: Rule = "more", fewest: int = FEWEST) -> Judged:
    """The verdict on the mean of one number per seed, which the claim says is above 0.

    Args:
        values: seed -> the difference; None where it could not be computed, which leaves the claim undecided.
        margin: the smallest effect that matters, in the unit of the values.
        rule: "more" asks for a gain, "keeps" for no loss beyond the margin.
        fewest: seeds below which the claim stays undecided.
    """
    return against_each({"": values}, margin, rule, fewest)[1]


def verdict(values: Array, margin: float, rule: Rule = "more", comparators: int = 1) -> Verdict:
    """The verdict alone; `judge` explains it and gives the arguments.

    Args:
        values: (seeds,) at least two, all finite.
        comparators: of how many differences this is one, for the level of "contradicted" and "equivalent".
    """
    ours, strict = mean_interval(values), mean_interval(values, 1 - ALPHA / comparators)
    effect, low, high = ours.mean, ours.low, strict.high
    assert effect is not None and low is not None and high is not None
    least = _rounding(values)
    if rule == "keeps":
        above, below = low + margin > least, high + margin < -least
        return "supported" if above else "contradicted" if below else "undecided"
    if low > least and effect - margin > least:
        return "supported"
    if high < -least and effect + margin < -least:
        return "contradicted"
    if margin > 0 and _within(values, [values], margin, _t_above) < ALPHA / comparators:
        return "equivalent"
    return "undecided"


def against_each(
    values: Mapping[str, BySeed], margin: float, rule: Rule = "more", fewest: int = FEWEST
) -> tuple[str, Judged]:
    """The verdict on a claim that has to hold against every comparator, and the comparator that it rests on.

    That is, of those with this verdict, the one whose interval reaches lowest, and its effect and interval are shown.
    One that lacks a seed comes first, and leaves the claim undecided.

    Args:
        values: comparator -> seed -> difference from it; at least one.
    """
    for name, by_seed in values.items():
        if (unknown := _unknown(by_seed, margin, rule, fewest)) is not None:
            return name, unknown
    arrays = {
        name: np.array([by_seed[seed] for seed in sorted(by_seed)], dtype=np.float64)
        for name, by_seed in values.items()
    }
    several = list(arrays.values())
    given = {name: verdict(array, margin, rule, len(several)) for name, array in arrays.items()}
    found = together(several, margin, rule)
    reach = {name: mean_interval(array).low or 0.0 for name, array in arrays.items() if given[name] == found}
    hardest = min(reach, key=reach.__getitem__)
    shown = arrays[hardest]
    effect, ends = mean_interval(shown), _bootstrap(shown)

    def p(above: Above) -> float:
        if found == "equivalent":
            return _within(shown, several, margin, above)
        return _beside(shown, several, -margin if rule == "keeps" else 0.0, above)

    return hardest, Judged(
        verdict=found,
        effect=effect.mean,
        low=effect.low,
        high=effect.high,
        bootstrap_low=ends[0],
        bootstrap_high=ends[1],
        p=p(_flips_above),
        p_t=p(_t_above),
        p_equivalence=_within(shown, several, margin, _t_above) if rule == "more" and margin > 0 else None,
        margin=margin,
        rule=rule,
        seeds=effect.count,
    )


def together(several: Sequence[Array], margin: float, rule: Rule = "more") -> Verdict:
    """The verdict alone on a claim that has to hold against each.

    Args:
        several: for each comparator (seeds,) differences from it, as for `verdict`.
    """
    given = {verdict(values, margin, rule, len(several)) for values in several}
    if "contradicted" in given:
        return "contradicted"
    if given == {"supported"}:
        return "supported"
    within = "equivalent" in given and max(_t_above(values + margin) for values in several) < ALPHA
    return "equivalent" if within else "undecided"


def holm(judged: Sequence[Judged]) -> list[Judged]:
    """The same with `p_holm` and `p_t_holm`: p values adjusted over all of them (Holm 1979), in the same order."""
    found = [one.model_dump() for one in judged]
    for name in ("p", "p_t"):
        places = [place for place, one in enumerate(judged) if getattr(one, name) is not None]
        for place, value in zip(places, _holm([getattr(judged[k], name) for k in places]), strict=True):
            found[place][f"{name}_holm"] = value
    return [Judged(**fields) for fields in found]


def per_row(judged: Sequence[Judged]) -> str:
    """What reading many verdicts at once has to know, in a sentence or two; after `holm`."""
    rows = [one for one in judged if one.p_t_holm is not None]
    decided = sum(one.verdict != "undecided" for one in rows)
    holding = sum(one.holds for one in rows)
    said = (
        f"Verdicts are per row: {holding} of {decided} decided rows, marked {HOLDS}, also hold after Holm over all "
        f"{len(rows)} rows"
    )
    if without := len(judged) - len(rows):
        more = "1 row more has none and is" if without == 1 else f"{without} rows more have none and are"
        return f"{said} that have a p value. {more} undecided."
    return f"{said}."


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Of several worlds together: what all of them say; undecided where they differ."""
    return verdicts[0] if verdicts and len(set(verdicts)) == 1 else "undecided"


def _holm(values: Sequence[float]) -> list[float]:
    from statsmodels.stats.multitest import multipletests

    return [float(value) for value in multipletests(values, method="holm")[1]] if values else []


def _unknown(values: BySeed, margin: float, rule: Rule, fewest: int) -> Judged | None:
    """Why nothing can be decided; None where something can."""
    known = {seed: value for seed, value in values.items() if value is not None and np.isfinite(value)}
    shown = Estimate()
    if len(known) < len(values):
        reason = f"no value for seed {', '.join(str(seed) for seed in values if seed not in known)}"
    elif len(known) < fewest:
        shown, reason = mean_interval(known.values()), f"{len(known)} of at least {fewest} seeds"
    else:
        return None
    return Judged(
        verdict="undecided",
        effect=shown.mean,
        low=shown.low,
        high=shown.high,
        margin=margin,
        rule=rule,
        seeds=len(known),
        reason=reason,
    )


def _bootstrap(values: Array) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    means = values[generator.integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, (ALPHA / 2, 1 - ALPHA / 2))
    return float(low), float(high)


def _beside(shown: Array, several: Sequence[Array], line: float, above: Above) -> float:
    """Two-sided p: that all means lie above a line, or that the one that is shown lies below it."""
    all_above = max(above(values - line) for values in several)
    below = len(several) * above(line - shown)
    return min(1.0, 2 * min(all_above, below))


def _within(shown: Array, several: Sequence[Array], margin: float, above: Above) -> float:
    """p of TOST for the one that is shown, and that all others lie above -margin."""
    all_above = max(above(values + margin) for values in several)
    tost = len(several) * max(above(shown + margin), above(margin - shown))
    return min(1.0, max(all_above, tost))


def _rounding(values: Array) -> float:
    """What rounding may add to values of this size; a difference up to it is none."""
    return 1e-12 * max(1.0, float(np.abs(values).max()))


def _flips_above(values: Array) -> float:
    """By flipping signs: exact up to 13 seeds, else from 9,999 random flips."""
    if np.abs(values).max() <= _rounding(values):
        return 1.0
    from scipy.stats import permutation_test

    options: dict[str, Any] = {"permutation_type": "samples", "n_resamples": RESAMPLES, "rng": 0}
    return float(permutation_test((values,), np.mean, alternative="greater", **options).pvalue)


def _t_above(values: Array) -> float:
    """By Student's t. Values that differ by rounding alone are equal, and so are a mean and 0."""
    if np.ptp(values) <= _rounding(values):
        return 0.0 if values.mean() > _rounding(values) else 1.0
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(values, 0.0, alternative="greater").pvalue)
