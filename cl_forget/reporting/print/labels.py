"""Putting labels beside their points so that nothing overlaps. All lengths are pixels, y upwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Box = tuple[float, float, float, float]
"""left, bottom, right, top"""

_DISTANCES = (5, 8, 12, 18, 27, 40, 58, 84)
_ANGLES = 16
_LEADER_POINTS = 16
# Costs: per square point of overlap, per label a leader line crosses, per point of distance, outside.
_OVERLAP, _CROSSING, _DISTANCE, _OUTSIDE = 4.0, 60.0, 1.0, 1e5
# A label that hugs another label's point is read as that point's: what this costs, and how near that is.
_MISTAKEN, _HUGGING = 25.0, 14.0


@dataclass(frozen=True)
class Place:
    """Where a label went.

    Attributes:
        box: the label's own box.
        cost: of the place; a few units right beside the point with nothing near.
    """

    box: Box
    cost: float

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


def place_labels(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    bounds: Box,
    unit: float = 1.0,
) -> list[Place]:
    """A place for each label: near its anchor and not nearer to another one, inside `bounds`, on no obstacle,
    no label and no leader line.

    Labels are placed one after the other and then, twice, each again among all the others.

    Args:
        anchors: the points that are labelled; list them among the obstacles too.
        sizes: width and height of each label.
        obstacles: what labels keep clear of.
        bounds: what labels must stay inside.
        unit: pixels per point of type, the scale of all distances.
    """
    fixed = _array(obstacles)
    placed: dict[int, Place] = {}
    for _ in range(3):
        for k, (anchor, size) in enumerate(zip(anchors, sizes, strict=True)):
            labels = _array([place.box for i, place in placed.items() if i != k])
            leaders = [_leaders(anchors[i], _array([place.centre])) for i, place in placed.items() if i != k]
            lines = np.concatenate([_squares(leader[0]) for leader in leaders] or [_array([])])
            rivals = np.array([a for a in anchors if a != anchor]).reshape(-1, 2)
            taken = np.concatenate([fixed, labels, lines])
            placed[k] = _best(anchor, size, taken, labels, rivals, bounds, unit)
    return [placed[k] for k in range(len(anchors))]


def _best(
    anchor: tuple[float, float],
    size: tuple[float, float],
    taken: Array,
    labels: Array,
    rivals: Array,
    bounds: Box,
    unit: float,
) -> Place:
    distance = np.repeat(np.array(_DISTANCES) * unit, _ANGLES)
    angle = np.tile(2 * np.pi * np.arange(_ANGLES) / _ANGLES, len(_DISTANCES))
    half = np.array(size) / 2
    direction = np.column_stack([np.cos(angle), np.sin(angle)])
    centres = np.array(anchor) + direction * (distance[:, None] + half)
    boxes = np.column_stack([centres - half, centres + half])  # (candidates, 4)
    taken = _within(taken, boxes.min(axis=0)[:2], boxes.max(axis=0)[2:])
    inner = np.clip(boxes, np.tile(bounds[:2], 2), np.tile(bounds[2:], 2))
    outside = np.abs(boxes - inner).sum(axis=1) > 0
    on_leader = _leaders(anchor, centres)[:, :, None, :]  # (candidates, points, 1, 2)
    inside = np.all(on_leader > labels[:, :2], axis=3) & np.all(on_leader < labels[:, 2:], axis=3)
    crossings = np.any(inside, axis=1).sum(axis=1)
    cost = (
        _OVERLAP * _overlap(boxes, taken) / unit**2
        + _CROSSING * crossings
        + _OUTSIDE * outside
        + _MISTAKEN * _mistaken(boxes, np.array(anchor), rivals, _HUGGING * unit)
        + _DISTANCE * distance / unit
        + (1 - direction[:, 0])  # ties go to the right-hand side, where people look for a label first
    )
    k = int(np.argmin(cost))
    left, bottom, right, top = boxes[k].tolist()
    return Place((left, bottom, right, top), float(cost[k]))


def _array(boxes: Sequence[Sequence[float]]) -> Array:
    return np.array(boxes, dtype=np.float64).reshape(-1, len(boxes[0]) if len(boxes) else 4)


def _within(boxes: Array, low: Array, high: Array) -> Array:
    """The boxes that touch the rectangle from `low` to `high`."""
    return boxes[(boxes[:, 2:] > low).all(axis=1) & (boxes[:, :2] < high).all(axis=1)]


def _overlap(boxes: Array, others: Array) -> Array:
    """(boxes,) total area that each box shares with the others."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    return np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)


def _mistaken(boxes: Array, anchor: Array, rivals: Array, near: float) -> Array:
    """(boxes,) whether another point is near the box, and not farther from it than the label's own point."""
    points = np.concatenate([anchor[None], rivals])
    gaps = np.maximum(boxes[:, None, :2] - points, points - boxes[:, None, 2:]).clip(min=0)
    distances = np.hypot(gaps[..., 0], gaps[..., 1])  # (boxes, points), the label's own point first
    others = distances[:, 1:]
    return ((others < near) & (others <= distances[:, :1])).any(axis=1)


def _leaders(anchor: tuple[float, float], centres: Array) -> Array:
    """(centres, points, 2) along the line from the anchor to each centre, both ends left out."""
    along = np.linspace(0, 1, _LEADER_POINTS + 2)[1:-1, None]
    return np.array(anchor) + along * (centres[:, None, :] - np.array(anchor))


def _squares(points: Array) -> Array:
    return np.column_stack([points - 1.5, points + 1.5])
