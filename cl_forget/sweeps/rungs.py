"""Successive halving on several objectives: who goes on at a rung. Pure functions of what was measured, without Ray.

MO-ASHA (Schmucker, Donini, Zafar, Salinas, Archambeau 2021, arXiv:2106.12639): the points at a rung are ordered by
non-dominated sorting, and inside a front by an epsilon-net (Clarkson 2006): a point far from those before it comes
first. The first 1/`reduction` of the order goes on. Of the two forms of asynchronous halving this is the one that
stops, as in Tune's own `ASHAScheduler`: a trial is judged once, when it arrives, among those that were there before.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, ...]
"""One number per objective, the larger the better; NaN is worse than everything."""


def milestones(grace: float, reduction: float, whole: float = 100.0) -> list[float]:
    """Where trials are judged: `grace`, and each time `reduction` times as far, up to `whole / reduction`.

    A rung beyond that is left out: the trials that it stops have paid for most of their training, and a trial that
    is stopped has no final value.
    """
    found = [float(grace)]
    while found[-1] * reduction <= whole / reduction:
        found.append(found[-1] * reduction)
    return found


def latest(grace: float, reduction: float, whole: float = 100.0) -> float:
    """Up to where a trial that nobody has judged yet is judged: beyond, most of its training is paid for.

    That is `whole / reduction`, as for rungs, or twice the grace, within which whoever reports once per grace is
    judged; of what a long grace leaves, half.
    """
    return max(whole / reduction, min(2 * grace, (grace + whole) / 2))


def first_judgement(every: int, steps: int, tasks: int, grace: float) -> float:
    """Where in its training, in percent, a trial first reports at its grace or after it.

    Args:
        every: steps between two reports inside a task; there is another one at its end.
        steps: of each task.
        tasks: how many.
        grace: percent of the training that every trial gets.
    """
    reports = (
        100.0 * (task + number / steps) / tasks
        for task in range(tasks)
        for number in itertools.chain(range(every, steps, every), (steps,))
    )
    return next((at for at in reports if at >= grace), 100.0)


def units(reduction: float) -> int:
    """Parts of a training after which `hyperband` may pause a trial: with its brackets, two or three halvings."""
    return math.ceil(reduction ** (3 if reduction < 3 else 2))


def ordered(points: Sequence[Point], count: int | None = None) -> list[int]:
    """Positions of the points, the best first: front after front, and in each the epsilon-net's order.

    Args:
        points: in any order.
        count: how many of them are wanted; all by default.
    """
    array = _array(points)
    left = np.arange(len(array))
    order: list[int] = []
    wanted = len(points) if count is None else min(count, len(points))
    while len(order) < wanted:
        inside = front(array[left])
        first = net(array[left[inside]], wanted - len(order))
        order += [int(left[i]) for i in np.flatnonzero(inside)[first]]
        left = left[~inside]
    return order


def front(array: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(points, objectives) -> which of them no other one beats: none is as good everywhere and better somewhere."""
    kept = np.ones(len(array), np.bool_)
    # In descending order of the sum a point can only be beaten by one before it, and so by one of the front.
    sums = np.where(np.isfinite(array), array, -1e300).sum(axis=1)
    found = np.empty_like(array)
    size = 0
    for i in np.argsort(-sums, kind="stable"):
        before = found[:size]
        if bool(((before >= array[i]).all(axis=1) & (before > array[i]).any(axis=1)).any()):
            kept[i] = False
        else:
            found[size] = array[i]
            size += 1
    return kept


def net(array: NDArray[np.float64], count: int | None = None) -> NDArray[np.int64]:
    """(points, objectives) -> their order: the best of the first objective, then each time the one farthest away.

    Distances are Euclidean, each objective in units of the range that the points have in it, so that no objective
    counts for more because its numbers spread more. The farthest is the one whose nearest earlier point is farthest;
    of equal ones the first.
    """
    count = len(array) if count is None else min(count, len(array))
    if not np.isfinite(array).all():  # a front of points that lack a number: none is nearer or better
        return np.arange(count)
    spread = array.max(axis=0) - array.min(axis=0)
    scaled = (array - array.min(axis=0)) / np.where(spread > 0, spread, 1.0)
    order = [int(np.argmax(array[:, 0]))]
    distance = np.full(len(array), np.inf)
    distance[order[0]] = -1.0
    while len(order) < count:
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[order[-1]], axis=1))
        distance[order[-1]] = -1.0
        order.append(int(np.argmax(distance)))
    return np.array(order, np.int64)


def goes_on(others: Sequence[Point], newcomer: Point, reduction: float) -> bool:
    """Whether a trial that arrives at a rung is among the first 1/`reduction` there, itself included.

    The share is rounded up, so that the first to arrive goes on. Points that lack a number come last.
    """
    points = [*others, newcomer]
    kept = math.ceil(len(points) / reduction - 1e-9)
    return len(others) in ordered(points, kept)


class Rungs:
    """What was measured at each rung so far.

    Args:
        at: the progress of each rung, rising.
        reduction: one of how many goes on.
        known: what trials of earlier sessions have reported, name -> (progress, point) in order; they are compared
            with, as if they had just arrived.
    """

    def __init__(
        self,
        at: Sequence[float],
        reduction: float,
        known: Mapping[str, Iterable[tuple[float, Point]]] | None = None,
    ) -> None:
        self._at, self._reduction = list(at), reduction
        self._latest = latest(self._at[0], reduction)
        self._points: list[dict[str, Point]] = [{} for _ in at]
        for trial, reports in (known or {}).items():
            for progress, point in reports:
                self._place(trial, progress, point)

    def arrive(self, trial: str, progress: float, point: Point) -> bool:
        """Note what a trial reports; whether it goes on.

        It is judged where it reaches a rung for the first time, and only at the highest one that it has reached. One
        whose first report at a rung comes too late (`latest`) goes on: to stop it would lose its final value and
        save next to nothing.
        """
        rung = self._place(trial, progress, point)
        if rung is None:
            return True
        others = [other for name, other in self._points[rung].items() if name != trial]
        return goes_on(others, point, self._reduction)

    def _place(self, trial: str, progress: float, point: Point) -> int | None:
        """The rung that a trial has just reached; None where it is between rungs, or too late for any."""
        reached = [number for number, at in enumerate(self._at) if progress >= at]
        if not reached or trial in self._points[reached[-1]]:
            return None
        if progress > self._latest and not any(trial in points for points in self._points):
            return None
        self._points[reached[-1]][trial] = point
        return reached[-1]

    def counts(self) -> list[int]:
        """How many trials have reached each rung."""
        return [len(points) for points in self._points]


def _array(points: Sequence[Point]) -> NDArray[np.float64]:
    if not points:
        return np.empty((0, 1))
    array = np.array(points, np.float64)
    broken = np.isnan(array).any(axis=1)
    array[broken] = -np.inf
    return array
