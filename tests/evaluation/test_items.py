"""Intervals against published numbers, against scipy, and by what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from cl_forget.evaluation.items import Items, difference, interval, of_mean


def paired(both: int, first: int, second: int, neither: int) -> tuple[Items, Items]:
    one = [True] * (both + first) + [False] * (second + neither)
    other = [True] * both + [False] * first + [True] * second + [False] * neither
    return Items(right=np.array(one)), Items(right=np.array(other))


@pytest.mark.parametrize(("right", "count"), [(0, 16), (1, 22), (8, 16), (16, 16), (990, 1000)])
def test_wilsons_interval_is_scipys(right: int, count: int) -> None:
    found = interval(Items(right=np.arange(count) < right))
    known = binomtest(right, count).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-12)


@pytest.mark.parametrize(  # Newcombe 1998, Statist. Med. 17:2635-2650, table III, method 10
    ("table", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((20, 12, 2, 16), 0.0562, 0.3290),
        ((0, 12, 2, 36), 0.0569, 0.3404),
        ((54, 0, 0, 0), -0.0664, 0.0664),
        ((53, 1, 0, 0), -0.0488, 0.0977),
    ],
)
def test_paired_differences_are_newcombes(table: tuple[int, int, int, int], low: float, high: float) -> None:
    found = difference(*paired(*table))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1.5e-3)


def test_nothing_right_on_few_samples_is_no_certainty() -> None:
    none = Items(right=np.zeros(16, bool))
    assert interval(none).high > 0.15
    assert difference(none, none).low < -0.1 < 0.1 < difference(none, none).high


def test_means_over_data_sets_and_their_coverage() -> None:
    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(300):
        sets = [Items(right=generator.random(60) < p) for p in (0.5, 0.9)]
        ends = of_mean([s.value for s in sets], [interval(s) for s in sets])
        inside += ends.low <= 0.7 <= ends.high
    assert 0.92 < inside / 300 < 0.99


def test_fluency_is_resampled_in_pairs() -> None:
    generator = np.random.default_rng(2)
    losses, tokens = generator.normal(3, 1, 80), generator.integers(3, 20, 80)
    one, other = Items(losses=losses, tokens=tokens), Items(losses=losses + 0.5, tokens=tokens)
    assert one.value == pytest.approx(math.exp(-float((losses * tokens).sum() / tokens.sum())))
    ends = difference(one, other)
    assert 0 < ends.low < one.value - other.value < ends.high
    assert interval(one).low < one.value < interval(one).high
    assert difference(one, one).low == difference(one, one).high == 0.0
