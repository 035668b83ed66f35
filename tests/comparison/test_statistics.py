"""Means over seeds and paired differences, against numbers worked by hand."""

from __future__ import annotations

import math

import pytest

from cl_forget.comparison.statistics import Estimate, estimate, mean_interval, paired_difference


def test_mean_interval():
    # 1, 2, 3: s = 1, t(2, .975) = 4.302653, half width 4.302653 / sqrt(3)
    interval = mean_interval([1, None, 2, 3])
    assert (interval.mean, interval.count) == (2.0, 3)
    assert interval.high - interval.mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert interval.mean - interval.low == pytest.approx(interval.high - interval.mean)
    assert mean_interval([0.4]) == Estimate(mean=0.4, count=1)
    assert mean_interval([None]) == Estimate()


def test_paired_difference_pairs_by_seed():
    first = {0: 0.9, 1: 0.7, 2: 0.8, 3: None}
    second = {2: 0.6, 1: 0.6, 0: 0.6, 3: 0.1, 4: 0.2}
    # .3, .1, .2 over seeds 0, 1, 2: mean .2, s .1
    interval = paired_difference(first, second)
    assert (interval.mean, interval.count) == (pytest.approx(0.2), 3)
    assert interval.high == pytest.approx(0.2 + 4.302653 * 0.1 / math.sqrt(3))


def test_an_estimate_over_all_seeds_is_missing_where_one_is() -> None:
    assert estimate({0: 1.0, 1: 3.0}) == mean_interval([1.0, 3.0])
    assert estimate({0: 1.0, 1: None}) == Estimate(count=1)
    assert estimate({}) == Estimate()
