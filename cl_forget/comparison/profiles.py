"""Performance profiles: how often each method is at most so much worse than the best of all, over many problems.

Dolan and Moré (2002), "Benchmarking optimization software with performance profiles", with differences for ratios,
because accuracies are differences to people. A problem is one stream with one seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Problem = tuple[str, int]
"""A stream, named by its tasks, and a seed."""


@dataclass(frozen=True)
class Profile:
    """One method's profile of one objective.

    Attributes:
        method: whose.
        gaps: distances from the best of all methods, rising; starts at 0.
        shares: the share of all problems in which the method is at most so far from the best.
    """

    method: str
    gaps: tuple[float, ...]
    shares: tuple[float, ...]


def profiles(values: Mapping[str, Mapping[Problem, float | None]]) -> list[Profile]:
    """A profile for each method.

    Args:
        values: method -> problem -> what it reached; larger is better. A problem that a method lacks counts as one in
            which it is never near the best; a problem that nobody has is none.
    """
    problems: dict[Problem, float] = {}
    for by_problem in values.values():
        for problem, value in by_problem.items():
            if value is not None:
                problems[problem] = max(value, problems.get(problem, value))
    found = []
    for method, by_problem in values.items():
        own = sorted(
            best - value
            for problem, best in problems.items()
            if (value := by_problem.get(problem)) is not None
        )
        gaps = sorted({0.0, *own})
        shares = [sum(gap <= at for gap in own) / len(problems) for at in gaps] if problems else []
        found.append(Profile(method, tuple(gaps[: len(shares)]), tuple(shares)))
    return found


def problems_of(values: Mapping[str, Mapping[Problem, float | None]]) -> Sequence[Problem]:
    """The problems that at least one method has a value of, in their order."""
    return list(
        dict.fromkeys(
            problem
            for by_problem in values.values()
            for problem, value in by_problem.items()
            if value is not None
        )
    )
