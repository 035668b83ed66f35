"""Performance profiles, by hand."""

from __future__ import annotations

import pytest

from cl_forget.comparison.profiles import profiles

FIRST, SECOND, NOBODY = ("digits", 0), ("digits", 1), ("clocks", 0)


def test_profiles_of_three_methods_over_two_problems() -> None:
    values = {
        "a": {FIRST: 0.9, SECOND: 0.5, NOBODY: None},
        "b": {FIRST: 0.8, SECOND: 0.6},
        "c": {FIRST: 0.9, SECOND: None},
    }
    found = {profile.method: profile for profile in profiles(values)}
    # The best are .9 and .6: a is the best once and .1 behind once, b likewise, c never has the second problem.
    for name in ("a", "b"):
        assert found[name].gaps == pytest.approx((0.0, 0.1)) and found[name].shares == (0.5, 1.0)
    assert (found["c"].gaps, found["c"].shares) == ((0.0,), (0.5,))


def test_a_method_that_is_never_the_best_starts_at_nothing() -> None:
    found = profiles({"a": {FIRST: 0.75}, "b": {FIRST: 0.5}})
    assert (found[1].gaps, found[1].shares) == ((0.0, 0.25), (0.0, 1.0))


def test_without_a_problem_there_is_nothing_to_say() -> None:
    assert [profile.shares for profile in profiles({"a": {}, "b": {FIRST: None}})] == [(), ()]
