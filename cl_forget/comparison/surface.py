"""An objective over two fields: linear between the settings that were tried, and nothing beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STEPS = 24
"""Points of a surface along each axis."""


@dataclass(frozen=True)
class Surface:
    """A surface on a grid.

    Attributes:
        x, y: coordinates along the axes, rising.
        z: row of y -> column of x -> height; None outside of what was tried.
    """

    x: list[float]
    y: list[float]
    z: list[list[float | None]]


def surface(x: Sequence[float], y: Sequence[float], z: Sequence[float], steps: int = STEPS) -> Surface | None:
    """The surface through points; the mean of those at the same place.

    None where the places lie on one line, or are fewer than three: there is nothing between them.

    Args:
        x, y: coordinates of each point on the axes as they are drawn.
        z: its height.
        steps: points of the grid along each axis.
    """
    from scipy.interpolate import LinearNDInterpolator
    from scipy.spatial import Delaunay, QhullError

    places, which = np.unique(np.column_stack([x, y]), axis=0, return_inverse=True)
    if len(places) < 3:
        return None
    heights = np.bincount(which.ravel(), weights=np.asarray(z, float)) / np.bincount(which.ravel())
    low, span = places.min(axis=0), np.ptp(places, axis=0)
    if not span.all():
        return None
    try:
        triangles = Delaunay((places - low) / span)  # neither axis is longer than the other
    except QhullError:
        return None
    line = np.linspace(0.0, 1.0, steps)
    found = LinearNDInterpolator(triangles, heights)(*np.meshgrid(line, line))
    return Surface(
        x=(low[0] + span[0] * line).tolist(),
        y=(low[1] + span[1] * line).tolist(),
        z=[[None if np.isnan(height) else float(height) for height in row] for row in found],
    )
