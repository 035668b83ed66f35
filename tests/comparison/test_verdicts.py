"""Verdicts on tables worked by hand, and how often they are wrong where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import verdicts as benchmark
from scipy.special import stdtr
from statsmodels.stats.weightstats import ttost_paired

from cl_forget.comparison.verdicts import (
    Judged,
    against_each,
    holm,
    judge,
    overall,
    per_row,
    together,
    verdict,
)


def by_seed(*values):
    return dict(enumerate(values))


def test_worked_by_hand():
    """Differences 4, 5, 6, 5, 5: mean 5, s = .7071, t(4) = 2.7764, half width 2.7764 · .7071 / √5 = .8780."""
    found = judge(by_seed(4.0, 5.0, 6.0, 5.0, 5.0), margin=1.0)
    assert found.verdict == "supported"
    assert found.effect == pytest.approx(5.0)
    assert found.low == pytest.approx(5 - 0.8780, abs=1e-4)
    assert found.high == pytest.approx(5 + 0.8780, abs=1e-4)
    assert found.p == pytest.approx(2 / 2**5)  # all of one sign: the most extreme of 32, and its mirror image
    assert found.low < found.bootstrap_low < found.effect < found.bootstrap_high < found.high


@pytest.mark.parametrize(
    ("values", "margin", "expected"),
    [
        ((4, 5, 6, 5, 5), 5.5, "undecided"),  # clear of 0, not beyond the margin
        ((-4, -5, -6, -5, -5), 1.0, "contradicted"),
        ((0.1, -0.1, 0.05, -0.05, 0.0), 1.0, "equivalent"),
        ((0.1, -0.1, 0.05, -0.05, 0.0), 0.0, "undecided"),  # without a margin nothing is equivalent
        ((10, -8, 9, -7, 2), 1.0, "undecided"),
        ((2, 2, 2, 2, 2), 1.0, "supported"),  # no spread at all
        ((0, 0, 0, 0, 0), 1.0, "equivalent"),
        ((1, 1, 1, 1, 1), 1.0, "undecided"),  # exactly the margin is neither beyond nor within it
    ],
)
def test_each_verdict(values, margin, expected):
    assert judge(by_seed(*map(float, values)), margin).verdict == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((-0.1, 0.1, 0.0, 0.05, -0.05), "supported"),
        ((3, 4, 3, 4, 3), "supported"),  # a gain is no loss
        ((-5, -6, -5, -6, -5), "contradicted"),
        ((-3, 2, -4, 1, 0), "undecided"),
    ],
)
def test_keeping_asks_for_no_loss(values, expected):
    assert judge(by_seed(*map(float, values)), 1.0, "keeps").verdict == expected


@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_decides_nothing(sign):
    """Five values of 1e-16 are five zeros, and .52 - .5 is .02 and 2e-17 more."""
    for rule in ("more", "keeps"):
        found = judge(by_seed(*[sign * 1e-16] * 5), 0.0, rule)
        assert (found.verdict, found.p_t, found.p) == ("undecided", 1.0, 1.0)
    for one, other in ((0.52, 0.5), (0.27, 0.25), (0.12, 0.1), (0.42, 0.4)):
        at = by_seed(*[sign * (one - other)] * 5)
        assert judge(at, 0.02).verdict == "undecided"
        assert judge(at, 0.02, "keeps").verdict == ("supported" if sign > 0 else "undecided")
    assert judge(by_seed(*[sign * 1e-9] * 5), 0.0).verdict == ("supported" if sign > 0 else "contradicted")


def test_missing_is_missing():
    found = judge(by_seed(5.0, None, 5.0, 5.0, 5.0, 5.0), 1.0)
    assert (found.verdict, found.effect, found.reason) == ("undecided", None, "no value for seed 1")
    assert judge(by_seed(5.0, 5.1, 5.0), 1.0).reason == "3 of at least 5 seeds"
    assert judge({}, 1.0).verdict == "undecided"


def test_against_each_names_the_hardest():
    clear, close = by_seed(5.0, 6.0, 5.0, 6.0, 5.0), by_seed(0.5, -0.4, 0.3, -0.2, 0.1)
    assert against_each({"A": clear, "B": close}, 1.0)[0] == "B"
    assert against_each({"A": clear, "B": close}, 1.0)[1].verdict != "supported"
    assert against_each({"A": clear}, 1.0)[1].verdict == "supported"
    unknown = by_seed(5.0, None, 5.0, 5.0, 5.0)
    assert against_each({"A": clear, "B": unknown}, 1.0)[1].verdict == "undecided"


def test_supported_against_each_and_not_only_against_the_smallest_mean():
    """A: mean .03, s = .000707; B: mean .05, s = .2574, half width 2.7764 · .2574 / √5 = .3196."""
    close, noisy = by_seed(0.030, 0.031, 0.029, 0.030, 0.030), by_seed(-0.20, 0.35, -0.15, 0.30, -0.05)
    assert against_each({"A": close}, 0.01)[1].verdict == "supported"
    hardest, found = against_each({"A": close, "B": noisy}, 0.01)
    assert (hardest, found.verdict) == ("B", "undecided")
    assert (found.low, found.high) == pytest.approx((0.05 - 0.3196, 0.05 + 0.3196), abs=1e-4)
    assert found.p_t == pytest.approx(2 * (1 - student(0.05 / (0.2574 / 5**0.5))), abs=1e-4)  # that of B
    # One that reaches lower carries "supported", whichever mean is smaller.
    wide = by_seed(0.02, 0.06, 0.04, 0.03, 0.05)  # mean .04, s = .01581: from .0204
    assert against_each({"A": close, "wide": wide}, 0.01)[0] == "wide"


def test_contradicted_and_equivalent_against_each():
    """At the level divided by the number of comparators; p is multiplied with it."""
    better, same, worse = (by_seed(*(m + d for d in (0, 1, -1, 0.5, -0.5))) for m in (20.0, 0.0, -20.0))
    level = by_seed(0.1, -0.1, 0.05, -0.05, 0.0)
    hardest, found = against_each({"better": better, "worse": worse, "level": level}, 1.0)
    assert (hardest, found.verdict) == ("worse", "contradicted")
    assert found.p_t == pytest.approx(3 * judge(worse, 1.0).p_t)
    hardest, found = against_each({"better": better, "level": level}, 1.0)
    assert (hardest, found.verdict) == ("level", "equivalent")
    assert found.p_t == found.p_equivalence == pytest.approx(2 * judge(level, 1.0).p_equivalence)
    # Equivalent to one says nothing as long as another may be worse than the margin.
    hardest, found = against_each({"level": level, "same": same}, 0.5)
    assert (hardest, found.verdict) == ("same", "undecided") and judge(level, 0.5).verdict == "equivalent"
    kept = against_each({"better": better, "level": level}, 1.0, "keeps")
    assert kept[0] == "level" and kept[1].verdict == "supported"
    assert against_each({"level": level, "same": same}, 0.5, "keeps")[1].verdict == "undecided"


def test_p_is_that_of_the_test_behind_the_verdict():
    """Differences 1, 2, 3, 2, 2: mean 2, standard error .3162; t = 2/.3162 against 0, 3/.3162 against -1."""
    values = by_seed(1.0, 2.0, 3.0, 2.0, 2.0)
    assert judge(values, 1.0).p_t == pytest.approx(2 * (1 - student(2 / 0.316228)), rel=1e-4)
    assert judge(values, 1.0, "keeps").p_t == pytest.approx(2 * (1 - student(3 / 0.316228)), rel=1e-4)
    assert judge(values, 1.0, "keeps").p == pytest.approx(2 / 2**5)
    lost = by_seed(-1.0, -2.0, -3.0, -2.0, -2.0)  # against -1: t = -1/.3162, and no loss of 3 is ruled out
    assert judge(lost, 1.0, "keeps").p_t == pytest.approx(2 * (1 - student(1 / 0.316228)), rel=1e-4)
    level = judge(by_seed(0.1, -0.1, 0.05, -0.05, 0.0), 1.0)  # s = .0791, standard error .0354
    tost, _, _ = ttost_paired(np.array([0.1, -0.1, 0.05, -0.05, 0.0]), np.zeros(5), -1.0, 1.0)
    assert level.verdict == "equivalent" and level.p_t == level.p_equivalence == pytest.approx(tost)
    assert level.p == pytest.approx(1 / 2**5)  # of each side alone
    assert judge(by_seed(0.1, 0.1, -0.1, 0.1, -0.05), 0.0).p_equivalence is None


@pytest.mark.parametrize("rule", ["more", "keeps"])
def test_p_and_interval_say_the_same(rule):
    """Without a margin for the effect: p < .05 where the verdict is decided, for any number of comparators."""
    generator = np.random.default_rng(0)
    for count in (1, 3):
        for mean in (-2.0, 0.0, 2.0):
            for differences in generator.normal(mean, 1.0, (40, count, 5)):
                of_each = {str(k): by_seed(*values) for k, values in enumerate(differences)}
                found = against_each(of_each, 0.0, rule)[1]
                assert (found.verdict != "undecided") == (found.p_t < 0.05), differences


def test_holding_after_holm():
    """p = .01 and .04 of three: .03 and .08."""
    judged = [
        Judged(verdict=v, p_t=p) for v, p in (("supported", 0.01), ("supported", 0.04), ("undecided", 0.5))
    ]
    assert [one.holds for one in holm(judged)] == [True, False, False]
    assert not judged[0].holds  # nothing was adjusted


def test_rows_without_a_p_value_are_counted_beside_those_with_one():
    judged = [Judged(verdict="supported", p_t=0.01), Judged(verdict="undecided", p_t=0.5)]
    said = "Verdicts are per row: 1 of 1 decided rows, marked ✓, also hold after Holm over all 2 rows"
    unknown = Judged(verdict="undecided", reason="no value for seed 1")
    assert per_row(holm(judged)) == f"{said}."
    one, two = (per_row(holm([*judged, *[unknown] * count])) for count in (1, 2))
    assert one == f"{said} that have a p value. 1 row more has none and is undecided."
    assert two == f"{said} that have a p value. 2 rows more have none and are undecided."


def student(t):
    """Distribution function of Student's t with four degrees of freedom."""
    return stdtr(4, t)


def test_holm_by_hand():
    """p = .01, .04, .03: sorted .01·3, .03·2, then .04·1, which may not fall below .06."""
    judged = [Judged(verdict="undecided", p=p, p_t=p) for p in (0.01, 0.04, 0.03)]
    found = holm([*judged, Judged(verdict="undecided", reason="nothing was run")])
    assert [one.p_holm for one in found[:3]] == pytest.approx([0.03, 0.06, 0.06])
    assert found[3].p_holm is None


def test_worlds_have_to_agree():
    assert overall(["supported", "supported"]) == "supported"
    assert overall(["supported", "contradicted"]) == "undecided"
    assert overall([]) == "undecided"


def test_false_verdicts_are_rare():
    """1,000 data sets of five seeds for each truth; `python benchmarks/verdicts.py` shows the whole table."""
    for found in benchmark.table(count=1000, noises=("normal",)):
        assert found.wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000), found


def test_false_verdicts_against_several_are_rare():
    """The smaller of two means alone is supported in one of eight data sets where the noisy one makes that false."""
    for found in benchmark.several(count=1000):
        assert found.wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000), found
    generator = np.random.default_rng(0)
    close, noisy = generator.normal(1.5, 0.2, (500, 5)), generator.normal(0.0, 3.0, (500, 5))
    smallest = [min(pair, key=np.mean) for pair in zip(close, noisy, strict=True)]
    assert np.mean([verdict(values, 1.0) == "supported" for values in smallest]) > 0.1
    pairs = zip(close, noisy, strict=True)
    assert np.mean([together(pair, 1.0) == "supported" for pair in pairs]) < 0.05


def test_a_wide_difference_is_found():
    generator = np.random.default_rng(0)
    sets = generator.normal(5.0, 1.0, (200, 5))
    assert np.mean([verdict(values, 1.0) == "supported" for values in sets]) > 0.95
