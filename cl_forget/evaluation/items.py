"""How sure a number is that was measured on so many samples: intervals, paired where two models saw the same.

Their level is 95 % unless another is asked for, as where several are decided on at once.

Accuracies: Wilson's interval, and Newcombe's method 10 for the difference of two models on the same samples
(Newcombe 1998, Statist. Med. 17:2635-2650); both are honest at 0 % and 100 % and on a handful of samples, where a
bootstrap says that there is no doubt. Means over data sets: MOVER, the deviations of the ends added in squares (Zou
2008, Am. J. Epidemiol. 168:212-224). Fluency, exp(-mean loss per token): a bootstrap over samples, seeded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

LEVEL = 0.95
Z = 1.959963984540054
"""Of that level."""
RESAMPLES = 2000


class Interval(BaseModel):
    """The ends of an interval."""

    model_config = ConfigDict(frozen=True)

    low: float
    high: float


@dataclass(frozen=True)
class Items:
    """What a model did with each sample of a data set.

    Attributes:
        right: (samples,) whether the answer is right; None where only fluency is measured.
        losses: (samples,) mean loss per token, nats; None where accuracy is measured.
        tokens: (samples,) how many tokens that is over.
        predicted: (samples,) the class that was predicted; None where answers are free.
        said: (samples,) the free answers, None where one was not spelt out; None where classes are predicted.
    """

    right: NDArray[np.bool_] | None = None
    losses: NDArray[np.float64] | None = None
    tokens: NDArray[np.int64] | None = None
    predicted: NDArray[np.int64] | None = None
    said: Sequence[str | None] | None = None

    @property
    def value(self) -> float:
        """The accuracy, or exp(-mean loss per token)."""
        if self.right is not None:
            return float(self.right.mean())
        assert self.losses is not None and self.tokens is not None
        return math.exp(-float((self.losses * self.tokens).sum() / self.tokens.sum()))


def interval(items: Items, level: float = LEVEL) -> Interval:
    """Of one model on one data set."""
    if items.right is None:
        return _ends(_resampled(items), level)
    return _wilson(items.right, _quantile(level))


def difference(one: Items, other: Items, level: float = LEVEL) -> Interval:
    """Of `one` minus `other`, two models on the same samples."""
    if one.right is None or other.right is None:
        return _ends(_resampled(one) - _resampled(other), level)
    return _newcombe(one.right, other.right, _quantile(level))


def rise(before: Items, after: Items, level: float = LEVEL) -> Interval:
    """Of the rise of the logarithm of the perplexity, nats: two models on the same samples, both without answers."""
    return _ends(_mean_losses(after) - _mean_losses(before), level)


def of_mean(values: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """Of the mean of values that were measured on different samples."""
    mean, count = sum(values) / len(values), len(values)
    below = math.sqrt(sum((v - i.low) ** 2 for v, i in zip(values, intervals, strict=True))) / count
    above = math.sqrt(sum((i.high - v) ** 2 for v, i in zip(values, intervals, strict=True))) / count
    return Interval(low=mean - below, high=mean + above)


def _quantile(level: float) -> float:
    """The normal deviate of a two-sided level."""
    return Z if level == LEVEL else NormalDist().inv_cdf((1 + level) / 2)


def _wilson(right: NDArray[np.bool_], z: float) -> Interval:
    n, p = len(right), float(right.mean())
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return Interval(low=max(0.0, min(p, centre - half)), high=min(1.0, max(p, centre + half)))


def _newcombe(one: NDArray[np.bool_], other: NDArray[np.bool_], z: float) -> Interval:
    n = len(one)
    both, first, second = (int(x.sum()) for x in (one & other, one & ~other, ~one & other))
    neither = n - both - first - second
    p1, p2, i1, i2 = float(one.mean()), float(other.mean()), _wilson(one, z), _wilson(other, z)
    spread = (both + first) * (second + neither) * (both + second) * (first + neither)
    agreement = both * neither - first * second
    corrected = max(agreement - n / 2, 0.0) if agreement > 0 else float(agreement)
    phi = 0.0 if spread == 0 else corrected / math.sqrt(spread)

    def end(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a**2 - 2 * phi * a * b + b**2))

    delta = (first - second) / n
    return Interval(low=delta - end(p1 - i1.low, i2.high - p2), high=delta + end(i1.high - p1, p2 - i2.low))


def _resampled(items: Items) -> NDArray[np.float64]:
    """(RESAMPLES,) values on samples drawn with replacement, the same draws for every model."""
    return np.array([math.exp(-loss) for loss in _mean_losses(items)])


def _mean_losses(items: Items) -> NDArray[np.float64]:
    """(RESAMPLES,) mean losses per token, nats, on these samples."""
    assert items.losses is not None and items.tokens is not None
    count = len(items.losses)
    generator = np.random.default_rng(0)
    sums = items.losses * items.tokens
    found = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        chosen = generator.integers(0, count, count)
        found[number] = sums[chosen].sum() / items.tokens[chosen].sum()
    return found


def _ends(values: NDArray[np.float64], level: float) -> Interval:
    tail = 0.025 if level == LEVEL else (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(low=float(low), high=float(high))
