"""One monotone curve over all arms, and what a method adds to it."""

from __future__ import annotations

import numpy as np
import pytest

from cl_forget.comparison.law import Point, covered, curve, explained, residuals


def test_the_curve_pools_what_rises():
    """1, 3, 2 at x = 1, 2, 3 falls nowhere before the end: the first two pool to 2, so 2, 2, 2."""
    fitted = curve(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]), np.array([0.0, 1.5, 9.0]))
    assert fitted == pytest.approx([2.0, 2.0, 2.0])


def arm(name, seed, shift=0.0, xs=(1.0, 2.0, 3.0, 4.0)):
    return [Point(name, seed, x, 1 - 0.2 * x + shift) for x in xs]


def test_a_law_that_holds_leaves_nothing():
    points = [p for seed in range(3) for name in "abc" for p in arm(name, seed)]
    assert explained(points) == {seed: pytest.approx(1.0) for seed in range(3)}
    assert all(
        value == pytest.approx(0.0) for by_seed in residuals(points).values() for value in by_seed.values()
    )


def test_what_a_method_adds_is_seen_against_the_others():
    points = [p for seed in range(3) for name in "ab" for p in arm(name, seed)]
    points += [p for seed in range(3) for p in arm("c", seed, shift=0.1)]
    found = residuals(points)
    assert found["c"] == {seed: pytest.approx(0.1) for seed in range(3)}
    assert max(found["a"].values()) < 0


def test_nothing_is_said_beyond_the_others():
    points = [*arm("a", 0), *arm("b", 0, xs=(10.0, 20.0))]
    assert residuals(points)["b"][0] is None
    assert explained([Point("a", 0, 1.0, 0.5), Point("b", 0, 1.0, 0.5)]) == {0: None}


def test_settings_with_equal_numbers_count_each():
    """b lies on a's curve (1, .8), (3, .4) at 1, .1 above it at 3, where it has two settings: (0 + .1 + .1) / 3."""
    points = [*arm("a", 0, xs=(1.0, 3.0)), Point("b", 0, 1.0, 0.8), *[Point("b", 0, 3.0, 0.5)] * 2]
    assert residuals(points)["b"] == {0: pytest.approx(0.2 / 3)}
    assert covered(points, "b") == (3, 3)
    # a at 3 misses by .1, as b does twice: .03 of the spread of .8, .4, .8, .5, .5 about .6, which is .14.
    assert explained(points) == {0: pytest.approx(1 - 0.03 / 0.14)}


def test_each_seed_has_a_curve_of_its_own():
    """Seed 1 keeps .3 less at every distance, whatever the arm: no arm adds anything, and all is explained."""
    points = [p for seed, shift in ((0, 0.0), (1, -0.3)) for name in "abc" for p in arm(name, seed, shift)]
    assert all(
        value == pytest.approx(0.0) for by_seed in residuals(points).values() for value in by_seed.values()
    )
    assert explained(points) == {0: pytest.approx(1.0), 1: pytest.approx(1.0)}
    # What lies beyond the others of its own seed is left out, though another seed's go further: 2 of b's 8.
    points = [*arm("a", 0, xs=(1.0, 2.0)), *arm("b", 0), *arm("a", 1), *arm("b", 1)]
    assert covered(points, "b") == (6, 8) and covered(points, "a") == (6, 6)
