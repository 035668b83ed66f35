"""Does the method matter beyond how far it moves? Retention against a distance, one monotone curve over all arms.

A distance is ‖θ-θ0‖ or KL to base. The curve falls, or rises where that is claimed; it is an isotonic regression, so
the scale of the distance plays no part. What an arm adds is its residual from the curve through all *other* arms: a
curve that it had a part in would follow it. Each seed has curves of its own, of that seed's runs: with one curve for
all seeds they would share its error, and an interval over them would not know of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """One setting of one arm on one seed: x how far it moved, y what is left (retention)."""

    arm: str
    seed: int
    x: float
    y: float


def curve(x: Array, y: Array, at: Array, rising: bool = False) -> Array:
    """The falling (or rising) curve through (x, y) by least squares, read at `at`; level beyond its ends.

    Args:
        x, y: (points,) at least one.
        at: (positions,).
    """
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(increasing=rising, out_of_bounds="clip").fit(x, y)
    read: Array = np.asarray(fitted.predict(at), dtype=np.float64)
    return read


def residuals(points: Sequence[Point], rising: bool = False) -> Mapping[str, Mapping[int, float | None]]:
    """Arm -> seed -> mean of y minus the curve through all other arms; None where they have no points.

    Points of the arm that lie beyond the distances of all others are left out: nothing says what is expected there.
    """
    found: dict[str, dict[int, float | None]] = {arm: {} for arm in dict.fromkeys(p.arm for p in points)}
    for seed, here in _by_seed(points).items():
        for arm, by_arm in found.items():
            own = [p.y - y for p, y in _expected(here, arm, rising)]
            by_arm[seed] = float(np.mean(own)) if own else None
    return found


def explained(points: Sequence[Point], rising: bool = False) -> Mapping[int, float | None]:
    """Seed -> R² of y, every arm predicted by the curve through all other arms.

    It can be below 0: then a constant would have said more. None where y does not vary.
    """
    found: dict[int, float | None] = {}
    for seed, here in _by_seed(points).items():
        expected = [
            pair for arm in dict.fromkeys(p.arm for p in here) for pair in _expected(here, arm, rising)
        ]
        y = np.array([p.y for p, _ in expected])
        spread = float(((y - y.mean()) ** 2).sum()) if len(y) else 0.0
        missed = float(sum((p.y - known) ** 2 for p, known in expected))
        found[seed] = 1 - missed / spread if spread > 0 else None
    return found


def covered(points: Sequence[Point], arm: str) -> tuple[int, int]:
    """How many points of an arm lie within the others' distances of their seed, and how many it has."""
    within = sum(len(_within(here, arm)) for here in _by_seed(points).values())
    return within, sum(p.arm == arm for p in points)


def _by_seed(points: Sequence[Point]) -> dict[int, list[Point]]:
    found: dict[int, list[Point]] = {seed: [] for seed in sorted({p.seed for p in points})}
    for point in points:
        found[point.seed].append(point)
    return found


def _within(points: Sequence[Point], arm: str) -> list[Point]:
    xs = [p.x for p in points if p.arm != arm]
    return [p for p in points if p.arm == arm and min(xs) <= p.x <= max(xs)] if xs else []


def _expected(points: Sequence[Point], arm: str, rising: bool) -> list[tuple[Point, float]]:
    """The points of an arm within the others' distances, each with what the others' curve says there.

    Two settings may have the same numbers, as where one stops before it differs from the other; both count.
    """
    own = _within(points, arm)
    if not own:
        return []
    others = [p for p in points if p.arm != arm]
    x, y = np.array([p.x for p in others]), np.array([p.y for p in others])
    return list(zip(own, curve(x, y, np.array([p.x for p in own]), rising).tolist(), strict=True))
