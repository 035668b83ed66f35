"""The surface through trials, by hand."""

from __future__ import annotations

import pytest

from cl_forget.comparison.surface import surface


def test_it_is_linear_between_the_points_and_nothing_beyond_them() -> None:
    # Two trials at the origin, 0 and 2, count as one of 1; beyond the line from (1, 0) to (0, 1) nothing was tried.
    found = surface([0, 1, 0, 0], [0, 0, 10, 0], [0, 1, 2, 2], steps=3)
    assert found is not None
    assert (found.x, found.y) == ([0.0, 0.5, 1.0], [0.0, 5.0, 10.0])
    assert found.z[0] == pytest.approx([1.0, 1.0, 1.0])
    assert found.z[1][:2] == pytest.approx([1.5, 1.5]) and found.z[1][2] is None
    assert found.z[2][0] == pytest.approx(2.0) and found.z[2][1:] == [None, None]


@pytest.mark.parametrize(
    ("x", "y"), [([0, 1], [0, 1]), ([0, 1, 2], [0, 1, 2]), ([0, 1, 2], [5, 5, 5]), ([0, 0, 0], [1, 2, 3])]
)
def test_there_is_none_through_a_line(x: list[float], y: list[float]) -> None:
    assert surface(x, y, [1.0] * len(x)) is None
