"""Verdicts on tables worked by hand, and how often they are wrong where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import verdicts as benchmark

from cl_forget.comparison.verdicts import Judged, against_each, holm, judge, overall, verdict


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


def test_a_wide_difference_is_found():
    generator = np.random.default_rng(0)
    sets = generator.normal(5.0, 1.0, (200, 5))
    assert np.mean([verdict(values, 1.0) == "supported" for values in sets]) > 0.95
