"""Means over seeds and differences between arms, with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict

BySeed = Mapping[int, float | None]
"""Seed -> a value, None where it is missing."""


class Estimate(BaseModel):
    """A mean over seeds with its confidence interval.

    Attributes:
        mean: None where it cannot be given.
        low, high: ends of the interval; None below two values, when it is unbounded.
        count: how many values are known.
    """

    model_config = ConfigDict(frozen=True)

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = 0

    def shown(self) -> Estimate:
        """What is shown of it: the interval, or, of two values, these themselves.

        With two seeds the 95 % interval is 12.7 times the distance between them; the two values are shown instead.
        """
        if self.count != 2 or self.mean is None or self.high is None:
            return self
        from scipy.special import stdtrit

        # With two values the interval is mean ± t(1) · |a - b| / 2, whatever they are.
        half = (self.high - self.mean) / float(stdtrit(1, 0.975))
        return self.model_copy(update={"low": self.mean - half, "high": self.mean + half})


def mean_interval(values: Iterable[float | None], level: float = 0.95) -> Estimate:
    """Mean over seeds with Student's t interval: mean ± t(n - 1) · s / √n; what is missing is left out."""
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    known = known[np.isfinite(known)]
    count = len(known)
    if count == 0:
        return Estimate()
    centre = float(known.mean())
    if count == 1:
        return Estimate(mean=centre, count=1)
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, 0.5 + level / 2) * known.std(ddof=1) / np.sqrt(count))
    return Estimate(mean=centre, low=centre - half, high=centre + half, count=count)


def estimate(by_seed: BySeed) -> Estimate:
    """`mean_interval` over all the seeds; missing, with the count of what is known, unless every seed has a value."""
    known = sum(value is not None for value in by_seed.values())
    return mean_interval(by_seed.values()) if known == len(by_seed) else Estimate(count=known)


def estimates(by_seed: Mapping[int, Mapping[str, float | None]]) -> dict[str, Estimate]:
    """`mean_interval` of every quantity over the seeds that have it; `Estimate.count` says how many.

    Args:
        by_seed: seed -> quantity -> value.
    """
    names = dict.fromkeys(name for values in by_seed.values() for name in values)
    return {name: mean_interval(values.get(name) for values in by_seed.values()) for name in names}


def differences(
    first: Mapping[int, Mapping[str, float | None]],
    second: Mapping[int, Mapping[str, float | None]],
    names: Iterable[str],
) -> dict[str, Estimate]:
    """`paired_difference` of each named quantity.

    Args:
        first, second: seed -> quantity -> value.
        names: of the quantities.
    """

    def of(name: str, by_seed: Mapping[int, Mapping[str, float | None]]) -> BySeed:
        return {seed: values.get(name) for seed, values in by_seed.items()}

    return {name: paired_difference(of(name, first), of(name, second)) for name in names}


def paired_difference(first: BySeed, second: BySeed, level: float = 0.95) -> Estimate:
    """`mean_interval` of first - second over the seeds both have, each pair sharing data order and base.

    Args:
        first, second: seed -> value.
        level: of confidence.
    """
    differences = []
    for seed in sorted(first.keys() & second.keys()):
        a, b = first[seed], second[seed]
        differences.append(None if a is None or b is None else a - b)
    return mean_interval(differences, level)
