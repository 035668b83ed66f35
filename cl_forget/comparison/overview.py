"""How the trials of a sweep stand: what a look at it shows, of however many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cl_forget.comparison.trials import OVER, Status, Trial

BROKEN: tuple[Status, ...] = ("failed", "diverged", "out_of_memory")
LAST = 3
"""Broken trials that are named."""


class Standing(NamedTuple):
    """What a look needs of one trial.

    Attributes:
        id, method, status, seed: as in `Trial`.
        speciality, generality: on validation data; None where they were not measured.
    """

    id: str
    method: str
    status: Status
    seed: int
    speciality: float | None
    generality: float | None

    @property
    def over(self) -> bool:
        """Whether nothing more is done for it."""
        return self.status in OVER


def standing(trial: Trial) -> Standing:
    """What a look needs of a record."""
    measured = trial.validation
    return Standing(
        trial.id,
        trial.method,
        trial.status,
        trial.seed,
        measured.get("speciality"),
        measured.get("generality"),
    )


class Overview(NamedTuple):
    """What all of them come to.

    Attributes:
        counts: status -> trials.
        front: the best trade-offs (`best`).
        open: the ids of those that are not over.
        broken: the last few that failed, diverged or ran out of memory, in order of id.
    """

    counts: Mapping[Status, int]
    front: Sequence[Standing]
    open: frozenset[str]
    broken: Sequence[str]

    @property
    def trials(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    @property
    def over(self) -> int:
        """Those for which nothing more is done."""
        return self.trials - len(self.open)


def overview(trials: Sequence[Standing]) -> Overview:
    """What these trials come to; they are in order of id."""
    return Overview(
        Counter(trial.status for trial in trials),
        best(trials),
        frozenset(trial.id for trial in trials if not trial.over),
        [trial.id for trial in trials if trial.status in BROKEN][-LAST:],
    )


def combined(one: Overview, other: Overview) -> Overview:
    """What the trials of both come to."""
    return Overview(
        Counter(one.counts) + Counter(other.counts),
        best(sorted([*one.front, *other.front])),
        one.open | other.open,
        sorted([*one.broken, *other.broken])[-LAST:],
    )


def best(trials: Sequence[Standing]) -> list[Standing]:
    """The finished trials whose validation speciality and generality no other one beats, most special first.

    Of those that are equal, the first. Takes n·log n steps, so that a hundred thousand trials are no matter.
    """
    first: dict[tuple[float, float], Standing] = {}
    for trial in trials:
        point = _point(trial) if trial.status == "finished" else None
        if point is not None:
            first.setdefault(point, trial)
    front, highest = [], float("-inf")
    for point in sorted(first, reverse=True):
        if point[1] > highest:
            front.append(first[point])
            highest = point[1]
    return front


def _point(trial: Standing) -> tuple[float, float] | None:
    return None if trial.speciality is None else (trial.speciality, trial.generality or 0.0)
